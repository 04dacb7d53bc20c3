"""The table of fuzzing in docs/robustness.md, from logs of tests/fuzz/fuzz.py.

python tools/fuzz_tally.py docs/robustness.md LOG [LOG ...]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from marked import parts, write_table

HEAD = ["| runs | minutes | executions | findings |", "| --- | --- | --- | --- |"]

DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)

GOING = re.compile(r"^#(\d+)\t.* exec/s: (\d+)", re.MULTILINE)
"""The state of a run, which is all that one tells which a finding ends."""

FOUND = re.compile(r"Test unit written to \S*(?:crash|timeout|oom)-")


def tally(texts: Iterable[str], before: Sequence[str] = ()) -> list[str]:
    """Return the table of what logs tell, below the rows that are there before."""
    runs = executions = seconds = findings = 0
    for text in texts:
        done = DONE.findall(text) or _as_far_as_it_came(text)
        for made, spent in done:
            runs, executions, seconds = runs + 1, executions + int(made), seconds + int(spent)
        findings += len(FOUND.findall(text))
    rows = [line for line in before if line.startswith("| ") and line not in HEAD]
    row = f"| {runs} | {seconds / 60:.0f} | {executions:,} | {findings} |"
    return [*HEAD, *rows, row]


def _as_far_as_it_came(text: str) -> list[tuple[str, str]]:
    """Return the executions and the seconds of a run that a finding has ended."""
    states = [(made, pace) for made, pace in GOING.findall(text) if int(pace)]
    return [(made, str(int(made) // int(pace))) for made, pace in states[-1:]]


def main() -> None:
    """Add a row for the logs."""
    page = Path(sys.argv[1])
    texts = [Path(name).read_text(errors="replace") for name in sys.argv[2:]]
    known = parts(page, "fuzzing")[1].splitlines()
    write_table(tally(texts, known), page, "fuzzing")


if __name__ == "__main__":
    main()
