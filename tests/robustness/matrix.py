"""The matrix of bad inputs: what each case is, how it is run, and what has to hold.

A case makes files in a folder and returns the arguments of a command. Whatever it is, the command
has to end with an exit code of the contract (0 to 3), say why in one sentence without control
characters, leave nothing half-written and nothing in the folder for temporary files.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from onnx2snn.cli.commands import main
from onnx2snn.protos import destination, reading

Arguments = list[str]

Make = Callable[[Path], Arguments]
"""Makes the files of a case in a folder and returns the arguments of the command."""

REFUSED = (1, 2, 3)
ANY = (0, 1, 2, 3)

MOST_SECONDS = 30.0

LONGEST = 5000
"""Characters that a line may have."""

OUT = "out.onnx"
"""The file that commands write; no command may leave anything else beside what the case made."""

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters with which a name could steer a terminal; line breaks and tabs are looked at apart."""


@dataclass(frozen=True)
class Case:
    """A bad input; `kind` is that of docs/robustness.md, `says` what the sentence has to hold."""

    kind: str
    name: str
    make: Make
    codes: tuple[int, ...] = REFUSED
    says: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True)
class Outcome:
    """How a case ended; `faults` is empty where it kept the contract."""

    code: int
    sentence: str
    seconds: float
    faults: tuple[str, ...]


def run(case: Case, folder: Path) -> Outcome:
    """Run a case in an empty folder."""
    work, spare = folder / "work", folder / "tmp"
    work.mkdir()
    spare.mkdir()
    arguments = case.make(work)
    before = _files(work)
    errors = StringIO()
    start = time.monotonic()
    with ExitStack() as patches:
        patches.enter_context(patch.object(tempfile, "tempdir", str(spare)))
        for module in (destination, reading):
            patches.enter_context(patch.object(module, "PATIENCE", 0.2))
        patches.enter_context(redirect_stderr(errors))
        patches.enter_context(redirect_stdout(StringIO()))
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(left.code or 0)
    seconds = time.monotonic() - start
    said = errors.getvalue()
    faults = list(_faults(case, code, said, seconds))
    written = _files(work) - before
    if code != 0 and written:
        faults.append(f"left {sorted(written)}")
    if _files(spare):
        faults.append(f"left {sorted(_files(spare))} among the temporary files")
    return Outcome(code, _sentence(said), seconds, tuple(faults))


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _sentence(said: str) -> str:
    lines = [line for line in said.split("\n") if line.startswith("error: ")]
    return lines[-1].removeprefix("error: ") if lines else ""


def _faults(case: Case, code: int, said: str, seconds: float) -> Iterable[str]:
    if code not in case.codes:
        yield f"exit code {code}: {said[-300:]}"
    if "Traceback" in said:
        yield "a traceback"
    if CONTROL.search(said):
        yield f"control characters: {said[:200]!r}"
    if any(len(line) > LONGEST for line in said.split("\n")):
        yield "a line without end"
    lines = [line for line in said.split("\n") if line.startswith("error: ")]
    if code != 0 and len(lines) != 1:
        yield f"{len(lines)} sentences: {said[-300:]}"
    if code != 0 and case.says and not re.search(case.says, said):
        yield f"does not say '{case.says}': {said[-300:]}"
    if seconds > MOST_SECONDS:
        yield f"took {seconds:.0f} s"
