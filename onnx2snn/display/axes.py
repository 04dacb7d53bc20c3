"""Axes of charts: their place in a figure, their ticks, and the finished chart.

All measures are units of the SVG's view box, which is WIDTH wide for every chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from onnx2snn.display.svg import RULE, inline_svg

WIDTH = 420
ROUND_STEPS = (1, 2, 5, 10)
"""Distances of equidistant ticks, times a power of ten."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart; `name` is the one that tests and scripts find it by."""

    name: str
    title: str
    svg: str


def finished(figure: Figure, name: str, title: str, about: str) -> Chart:
    """Return the chart that a figure is; `about` says in words what it shows."""
    return Chart(name, title, inline_svg(figure, title, about))


def round_ticks(low: float, high: float, log_base: int = 0, most: int = 6) -> list[float]:
    """Return round values from `low` to `high`, about `most` of them.

    They are equidistant where `log_base` is 0, else powers of it; less than two decades also have
    2 and 5 times these.
    """
    if log_base:
        ticks = _logarithmic_ticks(low, high, log_base, most)
    else:
        locator = MaxNLocator(most, steps=ROUND_STEPS)
        ticks = _within(locator.tick_values(low, high), low, high)
    return ticks or [low]


def _logarithmic_ticks(low: float, high: float, log_base: int, most: int) -> list[float]:
    steps = [1.0]
    two_decades = low * 100
    if log_base == 10 and high < two_decades:
        steps = [1.0, 2.0, 5.0]
    locator = LogLocator(log_base, steps, numticks=most)
    ticks = _within(locator.tick_values(low, high), low, high)
    # the locator takes `most` for a hint
    every = math.ceil(len(ticks) / most)
    return ticks[:: max(every, 1)]


def _within(values: Iterable[float], low: float, high: float) -> list[float]:
    """Return the values from `low` to `high`; rounding loses none at an end."""
    least = low - 1e-9 * abs(low)
    largest = high + 1e-9 * abs(high)
    inside = (value for value in values if least <= value <= largest)
    return [float(value) for value in inside]


def add_axes(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Add axes without frame and ticks, with these margins in units of the view box."""
    width, height = figure.get_size_inches() * figure.dpi
    inner_width = width - left - right
    inner_height = height - top - bottom
    # matplotlib takes left, bottom, width and height as fractions of the figure
    box = (
        left / width,
        bottom / height,
        inner_width / width,
        inner_height / height,
    )
    axes = figure.add_axes(box)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False, pad=6)
    axes.set_axisbelow(True)  # lines of the grid
    return axes


def set_log_axis(axes: Axes, low: float, high: float, log_base: int) -> None:
    """Let a logarithmic x axis hold these values; where they are one, it is in the middle."""
    axes.set_xscale("log", base=log_base)
    if low == high:
        low /= log_base
        high *= log_base
    axes.set_xlim(low, high)
    axes.xaxis.set_minor_locator(NullLocator())


def set_x_ticks(axes: Axes, ticks: Sequence[float], words: Sequence[str]) -> None:
    """Let the x axis have these ticks, each with its words and a line of the grid."""
    axes.set_xticks(ticks, words)
    axes.xaxis.grid(True, color=RULE, linewidth=1)
