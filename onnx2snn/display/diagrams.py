"""Diagrams of a page, drawn by matplotlib: the spikes of a layer, and the parts of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from onnx2snn.aliases import Array
from onnx2snn.display.axes import WIDTH, Chart, add_axes, finished, round_ticks
from onnx2snn.display.numbers import shortened
from onnx2snn.display.svg import (
    BACK,
    RULE,
    SERIES,
    SOFT,
    add_class,
    blank_figure,
    page_style,
    printable,
)

PLOT_HEIGHT = 240
"""Most height of a raster, unless its neurons need more to be told apart."""
ROW_HEIGHTS = (2.0, 8.0)
"""Least and most height of a neuron's row."""
LINE = 17
"""Height of a line of text in a box."""
MARGIN = 9
"""Space above and below the lines of a box."""
GAP = 20
"""Space between boxes."""
LINE_LENGTH = 58
"""Most characters of such a line."""


@page_style
def raster_chart(name: str, title: str, spikes: Array) -> Chart:
    """Draw a stroke for each spike, thin and in another colour for those of -1.

    Args:
        name: The chart's name.
        title: The heading.
        spikes: Heights of spikes [T, neurons].

    Returns:
        The chart; its description counts the spikes.
    """
    steps, neurons = spikes.shape
    least, most = ROW_HEIGHTS
    row = max(least, min(most, PLOT_HEIGHT / neurons))
    figure = blank_figure(WIDTH, neurons * row + 40)
    axes = add_axes(figure, left=30, top=4, right=10, bottom=36)
    axes.set_xlim(0.5, steps + 0.5)
    axes.set_ylim(neurons, 0)

    stroke = max(1.0, 0.7 * (WIDTH - 40) / steps)
    _add_strokes(axes, spikes > 0, "spike", SERIES[0], stroke)
    _add_strokes(axes, spikes < 0, "spike below", SERIES[1], 0.4 * stroke)

    ticks = [tick for tick in round_ticks(1, steps, most=8) if tick == round(tick)]
    words = [f"{value:g}" for value in ticks]
    axes.set_xticks(ticks, words)
    axes.set_xlabel("time-step", labelpad=2)
    axes.set_yticks([])
    axes.set_ylabel("neuron", labelpad=8)
    sent = int(np.count_nonzero(spikes))
    about = f"{sent} spikes of {neurons} neurons in {steps} steps"
    return finished(figure, name, title, about)


def _add_strokes(axes: Axes, sent: Array, name: str, colour: str, width: float) -> None:
    """Add one path with a stroke for each spike; a path for each would make large pages."""
    if not sent.any():
        return
    step, neuron = np.nonzero(sent)
    # each stroke goes from its top to its end, within the row of its neuron
    tops = np.stack([step + 1.0, neuron + 0.1], axis=1)
    ends = np.stack([step + 1.0, neuron + 0.9], axis=1)
    points = np.stack([tops, ends], axis=1)
    codes = np.tile([Path.MOVETO, Path.LINETO], len(step))
    path = Path(points.reshape(-1, 2), codes)
    strokes = PathPatch(path, fill=False, edgecolor=colour, linewidth=width)
    add_class(strokes, name)
    axes.add_patch(strokes)


@page_style
def flow_chart(name: str, title: str, parts: Sequence[tuple[str, Sequence[str]]]) -> Chart:
    """Draw boxes below each other, joined by arrows.

    Args:
        name: The chart's name.
        title: The heading.
        parts: For each box a heading and lines.

    Returns:
        The chart; its description holds all the lines.
    """
    heights = [MARGIN + LINE * (1 + len(lines)) for _, lines in parts]
    height = sum(heights) + GAP * (len(parts) - 1) + 10
    figure = blank_figure(WIDTH, height)
    axes = add_axes(figure, left=0, top=0, right=0, bottom=0)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()

    y = 4.0
    for (heading, lines), tall in zip(parts, heights, strict=True):
        _add_box(axes, y, tall)
        _add_words(axes, y + 19, heading, lines)
        y += tall + GAP
        if y < height:
            _add_arrow(axes, y - GAP, y)
    about = [f"{heading}: {', '.join(lines)}" for heading, lines in parts]
    return finished(figure, name, title, "; ".join(about))


def _add_words(axes: Axes, y: float, heading: str, lines: Sequence[str]) -> None:
    left = 32
    strong = axes.text(left, y, printable(heading))
    add_class(strong, "strong")
    for words in lines:
        y += LINE
        shown = shortened(printable(words), LINE_LENGTH)
        axes.text(left, y, shown)


def _add_box(axes: Axes, y: float, tall: float) -> None:
    box = FancyBboxPatch(
        (20, y),
        WIDTH - 40,
        tall,
        boxstyle="round,pad=0,rounding_size=6",
        facecolor=BACK,
        edgecolor=RULE,
    )
    axes.add_patch(box)


def _add_arrow(axes: Axes, start: float, end: float) -> None:
    arrow = {
        "arrowstyle": "->",
        "color": SOFT,
        "linewidth": 1.5,
        "shrinkA": 0,
        "shrinkB": 2,
    }
    middle = WIDTH / 2
    axes.annotate("", (middle, end), (middle, start), arrowprops=arrow)
