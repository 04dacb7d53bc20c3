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


ENDED = """\
#64\tNEW    cov: 4 ft: 4 corp: 1/54b lim: 4 exec/s: 0 rss: 240Mb L: 4/4 MS: 1 Custom-
#900\tREDUCE cov: 4 ft: 4 corp: 1/54b lim: 4 exec/s: 30 rss: 240Mb L: 4/4 MS: 1 Custom-
SUMMARY: libFuzzer: fuzz target exited
artifact_prefix='./'; Test unit written to ./crash-12ab
"""


def test_a_run_that_a_finding_ends_counts_as_far_as_it_came() -> None:
    assert tally([ENDED]) == [*HEAD, "| 1 | 0 | 900 | 1 |"]
    assert tally([ENDED, ENDED, LOG])[-1] == "| 4 | 31 | 4,821 | 3 |"


def test_a_row_tells_runs_minutes_executions_and_findings() -> None:
    first = tally([LOG])
    assert first == [*HEAD, "| 2 | 30 | 3,021 | 1 |"]
    assert tally(["Done 7 runs in 60 second(s)\n"], first) == [*first, "| 1 | 1 | 7 | 0 |"]
