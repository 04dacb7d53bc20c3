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
