"""What a worker does with a parcel, done in this process: opened once, computed, refusals kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from onnx2snn.errors import DataError
from onnx2snn.spread import parcels
from onnx2snn.spread.parcels import Parcel, Refusal


@dataclass(frozen=True)
class Numbers:
    """Data that count how often they are opened."""

    values: tuple[int, ...]
    opened: ClassVar[list[tuple[int, ...]]] = []

    def open(self) -> tuple[int, ...]:
        self.opened.append(self.values)
        return self.values


@dataclass(frozen=True)
class Powers:
    """Work on numbers: their powers, and the sums of these."""

    exponent: int

    def open(self, data: tuple[int, ...], threads: int) -> Opened:
        return Opened(self.exponent, data, threads)


@dataclass(frozen=True)
class Opened:
    exponent: int
    data: tuple[int, ...]
    threads: int

    def compute(self, items: Sequence[int], shared: int) -> Iterator[int]:
        for item in items:
            if item >= len(self.data):
                raise DataError(f"there is no number {item}")
            yield shared * self.data[item] ** self.exponent

    def start(self) -> list[int]:
        return [0]

    def added(self, total: list[int], items: Sequence[int], shared: int) -> Iterator[list[int]]:
        for found in self.compute(items, shared):
            total[0] += found
            yield total

    def merge(self, total: list[int], other: list[int]) -> list[int]:
        total[0] += other[0]
        return total


@pytest.fixture(autouse=True)
def _a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "_threads", lambda: 3)
    monkeypatch.setattr(parcels, "_open_data", OrderedDict())
    monkeypatch.setattr(parcels, "_open_work", OrderedDict())
    Numbers.opened.clear()


SQUARES, DATA = Parcel.of(Powers(2)), Parcel.of(Numbers((1, 2, 3, 4)))


def test_items_are_computed_in_order_and_data_are_opened_once() -> None:
    assert parcels.mapped(SQUARES, DATA, [0, 2], 10) == [10, 90]
    assert parcels.mapped(Parcel.of(Powers(3)), DATA, [1], 1) == [8]
    assert Numbers.opened == [(1, 2, 3, 4)]


def test_sums_are_merged_without_changing_them() -> None:
    one = parcels.summed(SQUARES, DATA, [0, 1], 1)
    other = parcels.summed(SQUARES, DATA, [2, 3], 1)
    assert parcels.merged(SQUARES, DATA, one, other) == [30]
    assert (one, other) == ([5], [25])


def test_an_error_raised_on_purpose_comes_back_as_it_is() -> None:
    refused = parcels.mapped(SQUARES, DATA, [9], 1)
    assert isinstance(refused, Refusal)
    assert str(refused.error) == "there is no number 9"
    assert parcels.merged(SQUARES, DATA, [1], refused) is refused


def test_a_worker_keeps_open_what_was_used_last() -> None:
    others = [Parcel.of(Numbers((number,))) for number in range(3)]
    for data in [*others, others[-1], others[0]]:
        parcels.mapped(SQUARES, data, [0], 1)
    assert Numbers.opened == [(0,), (1,), (2,), (0,)]


def test_what_is_alike_has_one_key() -> None:
    assert Parcel.of(Powers(2)).key == SQUARES.key
    assert Parcel.of(Powers(4)).key != SQUARES.key
    assert parcels.handed_on(DATA) is DATA
