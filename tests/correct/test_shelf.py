"""Behaviour of correct.shelf: what waits for all samples takes no more memory than its bound."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx2snn.aliases import Array
from onnx2snn.correct import shelf as shelf_module
from onnx2snn.correct.chunks import Chunk, Gathered
from onnx2snn.correct.shelf import open_shelf
from onnx2snn.errors import OutputError
from onnx2snn.protos import budget


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("row", [(), (3,), (2, 4, 1), (2, 0)])
@pytest.mark.parametrize("bound", [0, 10**6])
def test_what_is_written_is_read(dtype: Any, row: Any, bound: int, place: Path) -> None:
    values = (100 * np.random.default_rng(3).standard_normal((12, *row))).astype(dtype)
    with open_shelf(bound) as shelf:
        kept = Gathered(shelf, 6)
        # two rows a sample, chunks in any order, one of them twice
        for chunk in (Chunk(2, 5), Chunk(5, 6), Chunk(0, 2), Chunk(2, 5)):
            kept.write(values[chunk.rows(2)], chunk)
        for chunk in (Chunk(0, 6), Chunk(1, 4), Chunk(5, 6)):
            np.testing.assert_array_equal(kept.read(chunk), values[chunk.rows(2)])
        assert bool(files(place)) == (bound == 0 and values.size > 0)
    assert not files(place)


def test_a_discarded_array_makes_room_for_the_next_one(place: Path) -> None:
    with open_shelf(100) as shelf:
        first = shelf.place((100,), np.dtype(np.int8))
        second = shelf.place((1,), np.dtype(np.int8))
        assert len(files(place)) == 1
        second.discard()
        assert not files(place)
        first.discard()
        first.discard()
        shelf.place((100,), np.dtype(np.int8))
        assert not files(place)


def test_a_file_that_finds_no_place_is_one_sentence(place: Path) -> None:
    place.rmdir()
    with open_shelf(0) as shelf, pytest.raises(OutputError, match="set TMPDIR to a folder"):
        shelf.place((1,), np.dtype(np.int8))


def test_an_eighth_of_the_memory_that_is_allowed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "BOUND", 1000)
    for allowed, taken in ((800, 100), (10**6, 1000)):
        budget.allow(allowed)
        try:
            with open_shelf() as shelf:
                assert shelf.free == taken
        finally:
            budget.allow(None)


@pytest.mark.parametrize("bound", [2**20, 0])
def test_several_threads_write_and_read_one_array(bound: int, place: Path) -> None:
    count, size = 64, 1000

    def row(index: int) -> Array:
        return np.full((1, size), index, np.float32)

    with open_shelf(bound) as shelf, ThreadPoolExecutor(4) as pool:
        gathered = Gathered(shelf, count)
        chunks = [Chunk(index, index + 1) for index in range(count)]
        for _ in pool.map(lambda chunk: gathered.write(row(chunk.start), chunk), chunks):
            pass
        found = pool.map(gathered.read, chunks)
        assert all(np.array_equal(values, row(index)) for index, values in enumerate(found))
        assert shelf.free == max(0, bound - 4 * count * size)
