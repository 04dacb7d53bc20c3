"""Charts of a page with a row for each layer, drawn by matplotlib: bars and boxes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onnx2snn.display.axes import (
    WIDTH,
    Chart,
    add_axes,
    finished,
    round_ticks,
    set_log_axis,
    set_x_ticks,
)
from onnx2snn.display.numbers import shortened
from onnx2snn.display.svg import SERIES, TEXT, add_title, blank_figure, page_style, printable

ROW = 22
"""Height of a row."""
NAMES = 150
"""Width of the column of names."""
NAME_LENGTH = 22
"""Most characters of a name there; the page shows the whole name where a reader points at it."""


def _row_axes(figure: Figure, names: Sequence[str], right: float, bottom: float) -> Axes:
    """Add axes with a row for each name, the first at the top."""
    axes = add_axes(figure, NAMES, 0, right, bottom)
    # row i is centred on y = i, and y grows downwards
    axes.set_ylim(len(names) - 0.5, -0.5)
    whole = [printable(name) for name in names]
    short = [shortened(name, NAME_LENGTH) for name in whole]
    axes.set_yticks(range(len(names)), short)
    for label, name in zip(axes.get_yticklabels(), whole, strict=True):
        add_title(label, name)
    axes.set_xticks([])
    return axes


def _add_bottom_label(figure: Figure, label: str, y: float) -> None:
    """Add a label at the right, `y` above the lower edge."""
    width, height = figure.get_size_inches() * figure.dpi
    figure.text(1 - 4 / width, y / height, printable(label), ha="right")


@page_style
def bar_chart(name: str, title: str, rows: Sequence[tuple[str, float]], label: str) -> Chart:
    """Draw a bar for each row, from zero.

    Args:
        name: The chart's name.
        title: The heading.
        rows: Names and values, which are fractions.
        label: The values' meaning.

    Returns:
        The chart; its description gives every value.
    """
    names = [row for row, _ in rows]
    values = [value for _, value in rows]
    words = [f"{value:.1%}" for value in values]
    figure = blank_figure(WIDTH, len(rows) * ROW + 22)
    axes = _row_axes(figure, names, right=50, bottom=22)
    longest = max(values, default=0.0)
    axes.set_xlim(0, longest or 1.0)
    thickness = 1 - 8 / ROW
    bars = axes.barh(range(len(rows)), values, thickness, color=SERIES[0])
    axes.bar_label(bars, words, padding=5)
    _add_bottom_label(figure, label, y=6)
    about = [f"{row} {value}" for row, value in zip(names, words, strict=True)]
    return finished(figure, name, title, "; ".join(about))


@page_style
def box_chart(
    name: str,
    title: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    label: str,
) -> Chart:
    """Draw a box for each row over a logarithmic axis.

    Args:
        name: The chart's name.
        title: The heading.
        rows: Names, each with minimum, quartiles and maximum of positive values.
        label: The values' meaning.

    Returns:
        The chart; its description gives every median.
    """
    names = [row for row, _ in rows]
    boxes = [five for _, five in rows]
    figure = blank_figure(WIDTH, len(rows) * ROW + 36)
    axes = _row_axes(figure, names, right=14, bottom=36)
    low = min(five[0] for five in boxes)
    high = max(five[-1] for five in boxes)
    set_log_axis(axes, low, high, log_base=10)
    ticks = round_ticks(low, high, log_base=10, most=4)
    words = [f"{value:.3g}" for value in ticks]
    set_x_ticks(axes, ticks, words)
    for place, five in enumerate(boxes):
        _draw_box(axes, place, five)
    _add_bottom_label(figure, label, y=4)
    about = [f"{row} median {five[2]:.3g}" for row, five in rows]
    return finished(figure, name, title, "; ".join(about))


def _draw_box(axes: Axes, place: int, five: Sequence[float]) -> None:
    lowest, first, median, third, highest = five
    colour = SERIES[0]
    rightwards = [[0.0], [highest - lowest]]
    axes.errorbar(
        [lowest],
        [place],
        xerr=rightwards,
        color=colour,
        capsize=4,
        linewidth=1.5,
        fmt="none",
    )
    # the edge keeps a box visible whose quartiles are one value
    thickness = 12 / ROW
    axes.barh(place, third - first, thickness, left=first, color=colour, linewidth=1)
    half = 7 / ROW
    ends = [place - half, place + half]
    axes.plot([median, median], ends, color=TEXT, linewidth=2)
