"""The terminal: tables, warnings and progress bars while a command works; all of it on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.segment import Segment, Segments
from rich.text import Text

from onnx2snn.aliases import Progress, silent_progress
from onnx2snn.errors import printable
from onnx2snn.protos.time_left import Pace, telling

PIPED_WIDTH = 10_000
"""Characters of a line that goes to a file or a pipe: nothing is wrapped there."""


SECONDS_BETWEEN_LINES = 30.0
"""How often long work says how far it is where stderr is no terminal."""

MOST_ROWS = (30, 20, 15, 10, 7, 5, 3, 2, 1)
"""Rows that a table is tried with, where all of them are too many."""


class _Stderr(Console):
    """A console on stderr; where nobody reads it, BrokenPipeError tells so."""

    def __init__(self) -> None:
        """Leave names as they are: they may hold brackets and colons."""
        super().__init__(stderr=True, highlight=False, markup=False, emoji=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PIPED_WIDTH

    def render_str(self, text: str, **options: Any) -> Text:
        """Write control characters out: texts hold names that come from files of others."""
        lines = [printable(line) for line in text.split("\n")]
        return super().render_str("\n".join(lines), **options)

    def on_broken_pipe(self) -> None:
        """Go on with the exception, where the library would leave the process."""
        raise


def show(parts: Sequence[RenderableType]) -> None:
    """Print tables and lines."""
    console = _Stderr()
    for part in parts:
        console.print(part)


def show_within(make: Callable[[int | None], Sequence[RenderableType]], lines: int) -> None:
    """Print tables and lines with as many rows as fit into a number of lines.

    Args:
        make: Returns them with at most so many rows each (None: all of them).
        lines: More are not printed, however narrow the terminal is.
    """
    console = _Stderr()
    for most in (None, *MOST_ROWS):
        rendered: list[list[Segment]] = []
        for part in make(most):
            rendered += console.render_lines(part, pad=False, new_lines=True)
        if len(rendered) <= lines:
            break
    for line in rendered[:lines]:
        console.print(Segments(line), end="")


def warn(texts: Sequence[str]) -> None:
    """Print warnings, a line each."""
    for text in texts:
        print(f"warning: {printable(text)}", file=sys.stderr)  # noqa: T201


class _WorkBars:
    """Bars of one command: one for each kind of work, shown from the first report on."""

    def __init__(self) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("of about {task.fields[estimate]}"),
            console=_Stderr(),
        )
        self.tasks: dict[str, TaskID] = {}
        self.said = time.monotonic()

    def report(self, work: str, done: int, total: int) -> None:
        """Move the bar of this kind of work; the signature is that of `Progress`."""
        if not self.tasks:
            self.bars.start()
        if work not in self.tasks:
            self.tasks[work] = self.bars.add_task(work, total=total, estimate="?")
        place = self.bars.task_ids.index(self.tasks[work])
        elapsed = self.bars.tasks[place].elapsed or 0.0
        seconds = 0.0
        if done:
            # the rest is taken to go as fast as the part that is done
            seconds = elapsed * total / done
        self.bars.update(self.tasks[work], completed=done, total=total, estimate=f"{seconds:.0f} s")
        if not self.bars.console.is_terminal:
            self._say(f"{work}: {done} of {total}, {elapsed:.0f} s of about {seconds:.0f} s")

    def _say(self, line: str) -> None:
        """Print a line where bars are drawn at the end only, if the last one is some time ago."""
        now = time.monotonic()
        if now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            print(printable(line), file=sys.stderr, flush=True)  # noqa: T201

    def stop(self) -> None:
        """Leave the bars as they stand."""
        if self.tasks:
            self.bars.stop()


def _note(text: str) -> None:
    print(f"note: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201


def _within_time(show: Progress) -> Progress:
    """Return a callback that refuses work (UsageError) for which there is not enough time."""
    paces: dict[str, Pace] = {}

    def report(work: str, done: int, total: int) -> None:
        show(work, done, total)
        if work not in paces:
            # told after the first part of it: that one's time is not known
            paces[work] = Pace(work)
            return
        paces[work].require(done - 1, total)

    return report


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """Yield a callback that shows a bar for each kind of work, with its estimated total time."""
    if quiet:
        yield _within_time(silent_progress)
        return
    bars = _WorkBars()
    try:
        with telling(_note):
            yield _within_time(bars.report)
    finally:
        bars.stop()
