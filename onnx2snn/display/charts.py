"""Line charts of a page, drawn by matplotlib.

Series differ in dash and marker as well as in colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from onnx2snn.display.axes import (
    WIDTH,
    Chart,
    add_axes,
    finished,
    round_ticks,
    set_log_axis,
    set_x_ticks,
)
from onnx2snn.display.numbers import quantity
from onnx2snn.display.svg import (
    RULE,
    SERIES,
    TEXT,
    add_class,
    add_title,
    blank_figure,
    page_style,
    printable,
)

HEIGHT = 270
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 46
"""Margins around the plane."""

MARKERS = ("o", "s", "o")
MARKER_SIZES = (9.0, 8.0, 9.0)
DASH = (0, (3.5, 2))
REFERENCE_DASH = (0, (4, 8 / 3))


@dataclass(frozen=True)
class Series:
    """Points of one kind in a line chart.

    `colour` is an index of `SERIES`. `line` joins the points, `marks` marks each, `labels` says
    in words what each mark is, `spread` gives each a low and a high end. A series without a name
    stands in no legend.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    marks: bool = False
    line: bool = True
    spread: Sequence[tuple[float, float] | None] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Plane:
    """The axes of a line chart: x is logarithmic to `log_base`, y is a fraction if `percent`."""

    x_label: str
    y_label: str
    log_base: int
    x_unit: str = ""
    percent: bool = True


@page_style
def line_chart(
    name: str,
    title: str,
    series: Sequence[Series],
    plane: Plane,
    reference: tuple[str, float] | None = None,
) -> Chart:
    """Draw series over a logarithmic axis.

    Args:
        name: The chart's name.
        title: The heading.
        series: What is drawn, in this order.
        plane: Labels and scales of the axes.
        reference: A level with its name.

    Returns:
        The chart; its description gives the first and the last value of each named series.
    """
    figure = blank_figure(WIDTH, HEIGHT)
    axes = add_axes(figure, LEFT, TOP, RIGHT, BOTTOM)
    _set_x_plane(axes, series, plane)
    _set_y_plane(axes, series, plane, reference)
    if reference is not None:
        _draw_reference(axes, *reference)
    for one in series:
        _draw_series(axes, one)
    named = [one for one in series if one.name]
    _add_legend(axes, named)
    about = "; ".join(_course(one) for one in named)
    return finished(figure, name, title, about)


def _course(series: Series) -> str:
    """Return the course of a series in words."""
    first, last = series.y[0], series.y[-1]
    return f"{series.name} from {first:.4g} to {last:.4g}"


# --- the plane ---


def _set_x_plane(axes: Axes, series: Sequence[Series], plane: Plane) -> None:
    xs = [x for one in series for x in one.x]
    low, high = min(xs), max(xs)
    set_log_axis(axes, low, high, plane.log_base)
    ticks = round_ticks(low, high, plane.log_base)
    if plane.x_unit:
        words = [quantity(value, plane.x_unit) for value in ticks]
    else:
        words = [f"{value:g}" for value in ticks]
    set_x_ticks(axes, ticks, words)
    axes.set_xlabel(printable(plane.x_label), labelpad=5)


def _set_y_plane(
    axes: Axes,
    series: Sequence[Series],
    plane: Plane,
    reference: tuple[str, float] | None,
) -> None:
    values = _y_values(series)
    if reference is not None:
        values.append(reference[1])
    low, high = _with_room(min(values), max(values))
    axes.set_ylim(low, high)
    ticks = round_ticks(low, high, most=5)
    if plane.percent:
        words = [f"{100 * value:g} %" for value in ticks]
    else:
        words = [f"{value:.3g}" for value in ticks]
    axes.set_yticks(ticks, words)
    axes.yaxis.grid(True, color=RULE, linewidth=1)
    axes.set_ylabel(printable(plane.y_label))
    # labels stand in one place, however wide the words of the ticks are
    inner_width = WIDTH - LEFT - RIGHT
    axes.yaxis.set_label_coords((12 - LEFT) / inner_width, 0.5)


def _y_values(series: Sequence[Series]) -> list[float]:
    """Return all values that must be visible."""
    values: list[float] = []
    for one in series:
        values += one.y
        for ends in one.spread:
            values += ends or ()
    return values


def _with_room(low: float, high: float) -> tuple[float, float]:
    """Return a range that is somewhat wider, but for zero, below which it does not go."""
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    if low >= 0:
        return max(low - room, 0.0), high + room
    return low - room, high + room


# --- lines and marks ---


def _draw_reference(axes: Axes, name: str, level: float) -> None:
    axes.axhline(level, color=TEXT, linewidth=1.5, linestyle=REFERENCE_DASH)
    note = axes.annotate(
        printable(name),
        (0, level),
        xycoords=("axes fraction", "data"),
        xytext=(5, 5),
        textcoords="offset points",
    )
    add_class(note, "strong")


def _draw_series(axes: Axes, series: Series) -> None:
    colour = SERIES[series.colour]
    if series.line and len(series.x) > 1:
        dash = DASH if series.colour % 2 else "-"
        axes.plot(series.x, series.y, color=colour, linewidth=2, linestyle=dash)
    for x, ends in zip(series.x, series.spread, strict=False):
        if ends is not None:
            _draw_spread(axes, x, ends, colour)
    if series.marks:
        _draw_marks(axes, series)


def _draw_spread(axes: Axes, x: float, ends: tuple[float, float], colour: str) -> None:
    low, high = ends
    # from the low end upwards: an interval need not hold the value it belongs to
    upwards = [[0.0], [high - low]]
    axes.errorbar([x], [low], upwards, color=colour, capsize=4, linewidth=1.5, fmt="none")


def _draw_marks(axes: Axes, series: Series) -> None:
    for index, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        mark = _mark(series.colour, [x], [y])
        if series.labels:
            add_title(mark, printable(series.labels[index]))
        axes.add_line(mark)


def _mark(colour: int, x: Sequence[float], y: Sequence[float], name: str = "") -> Line2D:
    """Return a mark: circles and squares in turn, so that not only the colour tells."""
    return Line2D(
        x,
        y,
        color=SERIES[colour],
        marker=MARKERS[colour],
        markersize=MARKER_SIZES[colour],
        markeredgewidth=0,
        linestyle="none",
        label=printable(name),
    )


def _add_legend(axes: Axes, named: Sequence[Series]) -> None:
    handles = [_mark(one.colour, [], [], one.name) for one in named]
    if not handles:
        return
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(handles),
        frameon=False,
        borderpad=0,
        borderaxespad=0.6,
        columnspacing=1.2,
        handlelength=1,
        handletextpad=0.4,
    )
