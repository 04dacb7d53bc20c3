"""Logs of fuzzing are added up."""

from __future__ import annotations

from fuzz_tally import HEAD, tally

LOG = """\
#2 INITED cov: 4
Done 2621 runs in 1214 second(s)
artifact_prefix='./'; Test unit written to ./slow-unit-0e6f
Test unit written to ./crash-12ab
Done 400 runs in 586 second(s)
"""


def test_a_row_tells_runs_minutes_executions_and_findings() -> None:
    first = tally([LOG])
    assert first == [*HEAD, "| 2 | 30 | 3,021 | 1 |"]
    assert tally(["Done 7 runs in 60 second(s)\n"], first) == [*first, "| 1 | 1 | 7 | 0 |"]
