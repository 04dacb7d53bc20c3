"""All cases of the matrix, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator

from robustness import ann_cases, data_cases, file_cases, size_cases, snn_cases
from robustness.matrix import Case


def every_case() -> Iterator[Case]:
    yield from ann_cases.cases()
    yield from snn_cases.cases()
    yield from file_cases.cases()
    yield from data_cases.cases()
    yield from size_cases.cases()
