"""Long runs in one process, whose memory has to stay flat and which may leak no file:

    python -m robustness.soak [--share F] [--only WORD] [--into ../docs/robustness.md]

in the folder of tests. A tenth of each run warms up; from then on memory may grow by 5 % at most.
--share 0.001 does a thousandth of the work, --only what has WORD in its name; --into puts the
table into a page, where it keeps the rows of what was not done again.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tools"))

from helpers.networks import inputs_for, mlp, resnet
from marked import parts, write_table

from onnx2snn import SpikingSession, convert
from robustness.snn_cases import OPTIONS, spiking

GROWTH = 0.05
"""The share by which memory may grow after the warm-up."""

LOOKS = 200
"""Times that memory is looked at while a run goes on."""

HEAD = [
    "| run | count | warm, MB | most after, MB | growth | files before, after | CPU seconds |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]


@dataclass(frozen=True)
class Soaked:
    """What a process held after the warm-up, at most from then on, and at the end."""

    name: str
    count: int
    warm: int
    most: int
    files: tuple[int, int]
    seconds: float

    @property
    def growth(self) -> float:
        """The share of memory that came after the warm-up."""
        return self.most / self.warm - 1.0

    @property
    def flat(self) -> bool:
        """Whether nothing leaked."""
        return self.growth <= GROWTH and self.files[0] == self.files[1]

    def row(self) -> str:
        """Return the line of the table."""
        cells = [self.name, f"{self.count:,}", _megabytes(self.warm), _megabytes(self.most)]
        cells += [f"{100 * self.growth:+.1f} %", f"{self.files[0]}, {self.files[1]}"]
        return f"| {' | '.join([*cells, f'{self.seconds:,.0f}'])} |"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


def held() -> tuple[int, int]:
    """Return the bytes of memory and the number of files that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages, len(list(Path("/proc/self/fd").iterdir()))


def conversions() -> Iterator[object]:
    """Convert small networks without end, into both codings, with 8 to 40 samples."""
    networks = {"mlp": mlp(), "resnet": resnet()}
    works = cycle(product(networks, OPTIONS, range(8, 41)))
    for name, coding, samples in works:
        yield convert(networks[name], inputs_for(name, samples), **OPTIONS[coding])


def runs(coding: str) -> Iterator[object]:
    """Run a session without end, at batches of 1 to 16."""
    session = SpikingSession(spiking(coding), threads=1)
    inputs = inputs_for("mlp", 16)
    for size in cycle(range(1, 17)):
        yield session.run(None, {"input": inputs[:size]}, timesteps=2)


def frames() -> Iterator[object]:
    """Stream frames through a session without end."""
    session = SpikingSession(spiking("differential"), threads=1)
    inputs = inputs_for("mlp", 64)
    feeds = ({"input": inputs[number : number + 1]} for number in cycle(range(64)))
    yield from session.stream(feeds, timesteps=2)


SOAKS: dict[str, tuple[int, Callable[[], Iterator[object]]]] = {
    "session runs, rate": (200_000, lambda: runs("rate")),
    "session runs, differential": (200_000, lambda: runs("differential")),
    "frames of a stream": (100_000, frames),
    "conversions, both codings": (2_000, conversions),
}
"""How many of what."""


def soaked(name: str, count: int, work: Iterator[object]) -> Soaked:
    """Do some work so many times, a tenth of it before memory is first looked at."""
    began = time.process_time()
    warming = max(count // 10, 1)
    _drop(islice(work, warming))
    warm, files = held()
    most, done = warm, warming
    while done < count:
        part = min(max(count // LOOKS, 1), count - done)
        _drop(islice(work, part))
        done += part
        most = max(most, held()[0])
    return Soaked(name, count, warm, most, (files, held()[1]), time.process_time() - began)


def _drop(results: Iterator[object]) -> None:
    for _ in results:
        pass


def main() -> None:
    """Soak, print the table, and end with 1 where something leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    flat = True
    for name, (count, work) in SOAKS.items():
        if given.only not in name:
            continue
        found = soaked(name, max(int(given.share * count), 10), work())
        flat = flat and found.flat
        print(found.row(), flush=True)  # noqa: T201
        if given.into is not None:
            _enter(found, given.into)
    sys.exit(not flat)


def _enter(found: Soaked, page: Path) -> None:
    """Put a row into the page's table, in the place of an older one."""
    older = parts(page, "soaks")[1].splitlines()
    rows = {line.split("|")[1].strip(): line for line in older if line not in HEAD}
    rows[found.name] = found.row()
    write_table([*HEAD, *rows.values()], page, "soaks")


if __name__ == "__main__":
    main()
