"""Every bad input of the matrix keeps the contract of docs/robustness.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustness.matrix import Case, run
from robustness.tables import every_case

CASES = list(every_case())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_input_ends_in_one_sentence(case: Case, tmp_path: Path) -> None:
    outcome = run(case, tmp_path)
    assert not outcome.faults, f"{case}: {outcome.faults}"


def test_no_two_cases_are_called_alike() -> None:
    names = [str(case) for case in CASES]
    assert len(set(names)) == len(names)
