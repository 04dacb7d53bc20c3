"""Charts as inline SVG, by pure functions: data in, markup out. No scripts, no fonts, nothing to fetch.

Colours are the page's CSS variables `--c0`, `--c1`..., told apart by dash and marker as well; text is HTML-escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.display.terminal import quantity

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 46
ROW = 22
NAME = 150


@dataclass(frozen=True)
class Axis:
    """Values on a line of `length` pixels from `start`; `log`: 2 or 10 for a logarithmic one, 0 for a linear one."""

    low: float
    high: float
    start: float
    length: float
    log: int = 0

    def at(self, value: float) -> float:
        """The place of a value, in pixels."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round(
            self.start + self.length * ((value - low) / (high - low) if high > low else 0.5), 2
        )

    def ticks(self, most: int = 6) -> list[float]:
        """Round values, at most about `most` of them."""
        if self.log:
            low, high = (math.log(v, self.log) for v in (self.low, self.high))
            powers = np.arange(math.floor(low), math.ceil(high) + 1.0)
            steps = (1.0, 2.0, 5.0) if self.log == 10 and high - low < 2 else (1.0,)
            values = np.sort(np.outer(self.log**powers, steps).ravel())
            inside = values[(values >= self.low * 0.999) & (values <= self.high * 1.001)]
            return (
                inside[:: max(1, math.ceil(len(inside) / most))].tolist()
                if len(inside)
                else [self.low]
            )
        step = 10.0 ** math.floor(math.log10(max(self.high - self.low, 1e-12) / most))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= most)
        return [
            float(v)
            for v in np.arange(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)
            * step
        ]


@dataclass(frozen=True)
class Series:
    """Points of one kind: joined by a line, marked, or both; `spread` gives each a low and a high end.

    What has no name stands in no legend.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    marks: bool = False
    line: bool = True
    spread: Sequence[tuple[float, float] | None] = ()
    labels: Sequence[str] = ()


def chart(name: str, title: str, about: str, width: float, height: float, body: str) -> str:
    """A figure; `about` says in words what it shows, for those who do not see it."""
    return (
        f'<figure class="chart" data-chart="{escape(name)}"><svg role="img" viewBox="0 0 {width:g} {height:g}" '
        f'aria-label="{escape(title)}: {escape(about)}"><title>{escape(title)}</title>{body}</svg>'
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def text(x: float, y: float, words: str, anchor: str = "start", extra: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def lines(
    name: str,
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log_x: int,
    x_unit: str = "",
    percent: bool = True,
    reference: tuple[str, float] | None = None,
) -> str:
    """Series over a logarithmic axis; `reference` is a level with a name."""
    xs = [v for s in series for v in s.x]
    ys = [v for s in series for v in s.y] + [
        v for s in series for ends in s.spread if ends for v in ends
    ]
    ys += [reference[1]] if reference else []
    room = 0.06 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 0.5
    across = Axis(min(xs), max(xs), LEFT, WIDTH - LEFT - RIGHT, log_x)
    low, high = min(ys) - room, max(ys) + room
    up = Axis(
        max(low, 0.0) if min(ys) >= 0 else low, high, HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM)
    )
    body = [_grid(across, up, x_unit, percent)]
    body.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "middle"))
    body.append(
        text(
            0,
            0,
            y_label,
            "middle",
            f'transform="translate(12 {(HEIGHT - BOTTOM) / 2:g}) rotate(-90)"',
        )
    )
    if reference:
        y = up.at(reference[1])
        body.append(
            f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:g}" y2="{y:g}"/>'
        )
        body.append(text(LEFT + 5, y - 5, reference[0], extra='class="strong"'))
    body += [_drawn(s, across, up) for s in series] + [_legend(series)]
    about = "; ".join(f"{s.name} from {s.y[0]:.4g} to {s.y[-1]:.4g}" for s in series if s.name)
    return chart(name, title, about, WIDTH, HEIGHT, "".join(body))


def _grid(across: Axis, up: Axis, x_unit: str, percent: bool) -> str:
    parts = []
    for value in across.ticks():
        x = across.at(value)
        words = quantity(value, x_unit) if x_unit else f"{value:g}"
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(text(x, HEIGHT - BOTTOM + 16, words, "middle"))
    for value in up.ticks(5):
        y = up.at(value)
        words = f"{100 * value:g} %" if percent else f"{value:.3g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(text(LEFT - 6, y + 4, words, "end"))
    return "".join(parts)


def _drawn(series: Series, across: Axis, up: Axis) -> str:
    points = [(across.at(x), up.at(y)) for x, y in zip(series.x, series.y, strict=True)]
    parts = []
    if series.line and len(points) > 1:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        dash = ' stroke-dasharray="7 4"' if series.colour % 2 else ""
        parts.append(f'<polyline class="c{series.colour}"{dash} points="{path}"/>')
    for (x, _), ends in zip(points, series.spread, strict=False):
        if ends:
            low, high = up.at(ends[0]), up.at(ends[1])
            parts.append(
                f'<path class="spread c{series.colour}" d="M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"/>'
            )
    for index, (x, y) in enumerate(points if series.marks else ()):
        words = f"<title>{escape(series.labels[index])}</title>" if series.labels else ""
        parts.append(_mark(series.colour, x, y, words))
    return "".join(parts)


def _mark(colour: int, x: float, y: float, words: str = "") -> str:
    """Circles and squares in turn, so that not only the colour tells."""
    if colour % 2:
        return f'<rect class="c{colour} full" x="{x - 4:g}" y="{y - 4:g}" width="8" height="8">{words}</rect>'
    return f'<circle class="c{colour} full" cx="{x:g}" cy="{y:g}" r="4.5">{words}</circle>'


def _legend(series: Sequence[Series]) -> str:
    parts, x = [], float(LEFT)
    for one in (s for s in series if s.name):
        parts.append(_mark(one.colour, x + 6, 12))
        parts.append(text(x + 16, 16, one.name))
        x += 34 + 6.3 * len(one.name)
    return "".join(parts)


def bars(name: str, title: str, rows: Sequence[tuple[str, float]], label: str) -> str:
    """A bar a row, from 0; values are fractions."""
    top = max((value for _, value in rows), default=0.0) or 1.0
    axis = Axis(0, top, NAME, WIDTH - NAME - 50)
    parts = []
    for index, (row, value) in enumerate(rows):
        y = index * ROW
        parts.append(_row_name(row, y))
        width = axis.at(value) - NAME
        parts.append(
            f'<rect class="c0" x="{NAME}" y="{y + 4}" width="{width:g}" height="{ROW - 8}"/>'
        )
        parts.append(text(NAME + width + 5, y + 15, f"{value:.1%}"))
    height = len(rows) * ROW + 22
    parts.append(text(WIDTH - 4, height - 6, label, "end"))
    about = "; ".join(f"{row} {value:.1%}" for row, value in rows)
    return chart(name, title, about, WIDTH, height, "".join(parts))


def boxes(name: str, title: str, rows: Sequence[tuple[str, Sequence[float]]], label: str) -> str:
    """A box a row over a logarithmic axis: minimum, quartiles and maximum of positive values."""
    low, high = (bound(value for _, five in rows for value in five) for bound in (min, max))
    axis = Axis(low, high, NAME + 6, WIDTH - NAME - 20, 10)
    height = len(rows) * ROW + 36
    parts = []
    for value in axis.ticks(4):
        x = axis.at(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height - 34}"/>')
        parts.append(text(x, height - 20, f"{value:.3g}", "middle"))
    for index, (row, five) in enumerate(rows):
        y = index * ROW
        a, b, middle, c, d = (axis.at(value) for value in five)
        parts.append(_row_name(row, y))
        parts.append(f'<path class="spread c0" d="M{a} {y + 11}H{d}M{a} {y + 7}v8M{d} {y + 7}v8"/>')
        parts.append(
            f'<rect class="c0" x="{b}" y="{y + 5}" width="{max(c - b, 1):g}" height="12"/>'
        )
        parts.append(f'<path class="median" d="M{middle} {y + 4}v14"/>')
    parts.append(text(WIDTH - 4, height - 4, label, "end"))
    about = "; ".join(f"{row} median {five[2]:.3g}" for row, five in rows)
    return chart(name, title, about, WIDTH, height, "".join(parts))


def raster(name: str, title: str, spikes: Array) -> str:
    """Spikes [T, neurons]: a stroke each, those of -1 thin and in another colour."""
    steps, neurons = spikes.shape
    across = Axis(0.5, steps + 0.5, 30, WIDTH - 40)
    row = max(2.0, min(8.0, 240 / neurons))
    height = neurons * row + 40
    wide = max(1.0, 0.7 * (WIDTH - 40) / steps)
    parts = []
    for kind, sent, share in (("spike", spikes > 0, 1.0), ("spike below", spikes < 0, 0.4)):
        strokes = (
            f"M{across.at(t + 1):g} {i * row + 4:.4g}v{row * 0.8:.3g}"
            for t, i in np.argwhere(sent).tolist()
        )
        if path := "".join(strokes):
            parts.append(f'<path class="{kind}" stroke-width="{wide * share:.2g}" d="{path}"/>')
    ticks = [value for value in Axis(1, steps, 0, 1).ticks(8) if value >= 1]
    parts += [text(across.at(value), height - 20, f"{value:g}", "middle") for value in ticks]
    parts.append(text(WIDTH / 2, height - 4, "time-step", "middle"))
    parts.append(
        text(
            0, 0, "neuron", "middle", f'transform="translate(14 {neurons * row / 2:g}) rotate(-90)"'
        )
    )
    about = f"{int(np.count_nonzero(spikes))} spikes of {neurons} neurons in {steps} steps"
    return chart(name, title, about, WIDTH, height, "".join(parts))


def flow(name: str, title: str, parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Boxes below each other, joined by arrows; a heading and lines in each."""
    body, y = [], 4.0
    for index, (heading, details) in enumerate(parts):
        tall = 26 + 17 * len(details)
        if index:
            body.append(f'<path class="arrow" d="M{WIDTH / 2} {y}v16m-5 -7l5 7l5 -7"/>')
            y += 20
        body.append(
            f'<rect class="part" x="20" y="{y:g}" width="{WIDTH - 40}" height="{tall}" rx="6"/>'
        )
        body.append(text(32, y + 19, heading, extra='class="strong"'))
        body += [
            text(32, y + 36 + 17 * line, shortened(words, 58)) for line, words in enumerate(details)
        ]
        y += tall
    about = "; ".join(f"{heading}: {', '.join(details)}" for heading, details in parts)
    return chart(name, title, about, WIDTH, y + 6, "".join(body))


def shortened(words: str, most: int) -> str:
    """A long text without its middle."""
    if len(words) <= most:
        return words
    return f"{words[: most // 2 - 1]}…{words[-(most - most // 2) :]}"


def _row_name(name: str, y: float) -> str:
    """A row's name left of its bar, whole when pointed at."""
    label = f'<text x="{NAME - 6}" y="{y + 15:g}" text-anchor="end"><title>{escape(name)}</title>'
    return f"{label}{escape(shortened(name, 22))}</text>"
