"""The next batch is made while the present one is worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx2snn import DataError
from onnx2snn.data.ahead import ahead, side_by_side
from onnx2snn.data.batches import batches
from onnx2snn.data.samples import open_samples
from onnx2snn.protos.specs import TensorSpec

SIDE = 8


def others() -> set[threading.Thread]:
    return set(threading.enumerate()) - {threading.main_thread()}


def test_the_next_item_is_made_meanwhile_and_no_further_one() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    several = ahead(items())
    assert next(several) == 0
    assert second.wait(10)
    assert made == [0, 1]
    assert list(several) == [1, 2, 3]


def test_an_error_is_raised_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise DataError("the third is damaged")

    several = ahead(items())
    assert [next(several), next(several)] == [1, 2]
    with pytest.raises(DataError, match="third"):
        next(several)


def test_no_thread_is_left_where_the_rest_is_not_wanted() -> None:
    before = others()
    several = ahead(iter(range(5)))
    next(several)
    several.close()  # type: ignore[attr-defined]
    assert others() == before


def images_in(folder: Path, count: int) -> None:
    image = pytest.importorskip("PIL.Image")
    for number in range(count):
        pixels = np.full((SIDE, SIDE, 3), number, np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.png")


def test_batches_of_images_keep_their_order_and_leave_no_thread(tmp_path: Path) -> None:
    images_in(tmp_path, 7)
    specs = [TensorSpec("input", np.dtype(np.uint8), ("N", 3, SIDE, SIDE))]
    before = others()
    with open_samples(tmp_path, specs) as samples:
        assert samples.takes_work
        assert samples.subset([1, 2]).takes_work
        found = list(batches(samples, 3, None))
    assert [batch.indices.tolist() for batch in found] == [[0, 1, 2], [3, 4, 5], [6]]
    shades: list[Any] = [batch.feed["input"][:, 0, 0, 0].tolist() for batch in found]
    assert shades == [[0, 1, 2], [3, 4, 5], [6]]
    assert others() == before


def test_a_damaged_image_is_refused_behind_those_before_it(tmp_path: Path) -> None:
    images_in(tmp_path, 4)
    specs = [TensorSpec("input", np.dtype(np.uint8), ("N", 3, SIDE, SIDE))]
    with open_samples(tmp_path, specs) as samples:
        (tmp_path / "3.png").write_bytes(b"no image")
        several = batches(samples, 2, None)
        assert next(several).count == 2
        with pytest.raises(DataError, match=r"3\.png"):
            next(several)


def test_arrays_are_read_without_a_thread() -> None:
    specs = [TensorSpec("input", np.dtype(np.float32), ("N", 2))]
    with open_samples(np.ones((4, 2), np.float32), specs) as samples:
        assert not samples.takes_work


def test_what_several_threads_make_comes_in_order_and_not_all_at_once() -> None:
    taken: list[int] = []
    first = threading.Event()

    def items() -> Iterator[int]:
        for item in range(6):
            taken.append(item)
            yield item

    def square(item: int) -> int:
        # the first one is done last
        if item:
            first.set()
        else:
            assert first.wait(5)
        return item**2

    found = side_by_side(square, items(), 2)
    assert next(found) == 0
    # two at work, and one that waits
    assert len(taken) <= 4
    assert list(found) == [1, 4, 9, 16, 25]
    assert not others()


def test_what_a_thread_raises_comes_in_its_place() -> None:
    def square(item: int) -> int:
        if item == 2:
            raise DataError("the third")
        return item**2

    for workers in (1, 3):
        found = side_by_side(square, range(6), workers)
        assert [next(found), next(found)] == [0, 1]
        with pytest.raises(DataError, match="the third"):
            next(found)
        assert not others()
