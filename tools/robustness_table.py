"""docs/robustness.md from the matrix of bad inputs: every case is run, and its end told.

python tools/robustness_table.py docs/robustness.md
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from marked import parts, write_table  # noqa: E402
from robustness.matrix import Case, Outcome, run  # noqa: E402
from robustness.tables import every_case  # noqa: E402

HEAD = """\
# Robustness

What a command does with files and options that are bad, by design or by accident.
`tools/robustness_table.py` writes this page by running the matrix of `tests/robustness`, which
the test suite runs, too.

The contract: a command ends with exit code 0 to 3, says why in one sentence without control
characters, leaves nothing half-written, and nothing among the temporary files. Exit code 70 is an
exception that nobody raised on purpose; `--debug` shows it. Signals (SIGINT, SIGTERM, SIGHUP),
limits of time and memory, closed streams and an unusable TMPDIR are tested in
`tests/robustness/test_stopping.py`; a disk that fails at any write, and stages that are stopped, in
`test_faults.py`; results and TMPDIR on a mounted disk of 1 MB in `test_full_disk.py`; failed runs,
interrupted streams and memory that stays flat in `test_serving.py`;
`python -m robustness.kills 200` kills as many conversions at random moments. What fuzzing has found
stands in `tests/fuzz/crashers`. The [threat model](security.md) says what is not defended.

## Long runs

`python -m robustness.soak` does each in one process, on a network of three layers (conversions: on
one of convolutions as well, with 8 to 40 samples): memory after a tenth of the work against the
most from then on, which may be 5 % more.

<!-- soaks -->
<!-- /soaks -->

## Fuzzing

Minutes on the clock of `tests/fuzz/fuzz.py` (a row for each time that `tools/fuzz_tally.py` was
given logs) and files tried. An execution takes some 16 ms of a processor; before the first row it
took 0.6 s, and 147 minutes gave some thousands. No crash inside onnxruntime was found. The findings
of the third row: an attribute that refers to a call outside of functions (mended), and a file that
takes 0.03 s, on which the fuzzer was stopped from outside for a minute.

<!-- fuzzing -->
<!-- /fuzzing -->

## Matrix
"""

KEPT = ("soaks", "fuzzing")
"""Parts of the page that other scripts write."""


def page(outcomes: Iterable[tuple[Case, Outcome]]) -> str:
    """Return the page: for each kind the number of cases, and a table of them."""
    kinds: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)
    for case, outcome in outcomes:
        kinds[case.kind].append((case, outcome))
    total = sum(map(len, kinds.values()))
    parts = [HEAD, f"{total} cases:\n", "| kind | cases | exit codes |\n| --- | --- | --- |"]
    for kind, rows in kinds.items():
        codes = sorted({outcome.code for _, outcome in rows})
        parts.append(f"| {kind} | {len(rows)} | {', '.join(map(str, codes))} |")
    for kind, rows in kinds.items():
        parts.append(f"\n## {kind[0].upper()}{kind[1:]}\n\n| case | exit code |\n| --- | --- |")
        parts += [f"| {_cell(case.name)} | {outcome.code} |" for case, outcome in rows]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Run the matrix and write the page; refuse where a case breaks the contract."""
    warnings.simplefilter("error")
    found = []
    for case in every_case():
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(case, Path(folder))
        if outcome.faults:
            sys.exit(f"{case}: {outcome.faults}")
        found.append((case, outcome))
    path = Path(sys.argv[1])
    kept = {name: parts(path, name)[1].splitlines() for name in KEPT}
    path.write_text(page(found))
    for name, lines in kept.items():
        write_table(lines, path, name)


if __name__ == "__main__":
    main()
