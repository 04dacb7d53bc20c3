"""Work that would take far longer than the time left is refused once its pace is known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onnx2snn.errors import UsageError
from onnx2snn.protos import time_left


class Watch:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    made = Watch()
    monkeypatch.setattr(time_left, "time", made)
    yield made
    time_left.allow(None)


def test_hopeless_work_is_refused_with_its_name_and_the_time_it_takes(clock: Watch) -> None:
    time_left.allow(10.0)
    pace = time_left.Pace("time-steps")
    pace.require(1, 1000)  # no time has gone by: nothing is known
    clock.now += 1.0
    pace.require(50, 1000)  # 19 s more, and 9 left: it may still get faster
    with pytest.raises(UsageError, match=r"--time-limit 10; time-steps \(1,000 in all\) .* 99 s"):
        pace.require(10, 1000)


def test_without_a_limit_work_may_take_any_time(clock: Watch) -> None:
    pace = time_left.Pace("time-steps")
    clock.now += 1.0
    pace.require(1, 10**9)


def test_long_work_is_foretold_and_refused_where_it_takes_far_longer_than_there_is_time(
    clock: Watch,
) -> None:
    said: list[str] = []
    with time_left.telling(said.append):
        time_left.foretell("short work", 29.0)
        time_left.foretell("long work", 1234.5)
        assert said == ["long work will take about 1,234 s"]
        time_left.allow(100.0)
        time_left.foretell("work of twice the time", 200.0)
        with pytest.raises(UsageError, match="--time-limit 100; long work would take about 301 s"):
            time_left.foretell("long work", 301.0)
    assert len(said) == 2
    time_left.allow(None)
    time_left.foretell("nobody listens", 100.0)
    assert len(said) == 2
