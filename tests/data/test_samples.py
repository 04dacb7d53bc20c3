"""Behaviour of onnx2snn.data.samples: access, temporary files and memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.data import F32, Array, rows, spec

from onnx2snn.data.samples import open_samples
from onnx2snn.errors import DataError


def npz(folder: Path, array: Array) -> Path:
    np.savez(folder / "x.npz", x=array)
    return folder / "x.npz"


# --- samples ---


def test_indices_outside_the_samples_are_an_index_error() -> None:
    samples = open_samples(rows(5, 3), [spec()])
    for wrong in ([5], [-1], [0, 7]):
        with pytest.raises(IndexError):
            samples.batch(wrong)


def test_targets_beside_nothing_are_an_error() -> None:
    with pytest.raises(DataError, match=r"nothing beside.*'labels'"):
        open_samples(rows(2, 3), [spec()]).target("labels", [0])


def test_the_targets_allowed_are_the_callers_choice() -> None:
    data = {"x": rows(2, 3), "weights": rows(2)}
    with pytest.raises(DataError, match=r"'weights'.*'labels'"):
        open_samples(data, [spec()])
    assert open_samples(data, [spec()], targets_allowed=["weights"]).targets == ("weights",)


def test_dropping_samples_removes_their_temporary_files(
    tmp_path: Path, temporary_folder: Path
) -> None:
    samples = open_samples(npz(tmp_path, rows(5, 3)), [spec()])
    assert list(temporary_folder.iterdir())
    del samples
    gc.collect()
    assert not list(temporary_folder.iterdir())


def test_a_npy_is_read_in_place(tmp_path: Path, temporary_folder: Path) -> None:
    np.save(tmp_path / "x.npy", rows(5, 3))
    with open_samples(tmp_path / "x.npy", [spec()]) as samples:
        assert len(samples) == 5
        assert not [path for path in temporary_folder.rglob("*") if path.is_file()]


def test_a_full_disk_is_told_from_a_damaged_file(
    tmp_path: Path, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DataError, match=r"x\.npz cannot be read .*No space left.*free disk space"):
        open_samples(npz(tmp_path, rows(5, 3)), [spec()])
    assert list(temporary_folder.iterdir()) == []


def test_a_file_removed_after_opening_is_an_error_of_the_data(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(5, 3))
    samples = open_samples(tmp_path / "x.npy", [spec()])
    (tmp_path / "x.npy").unlink()
    with pytest.raises(DataError, match=r"no longer be read.*x\.npy"):
        samples.batch([0])


# --- memory ---


def peak(source: object) -> int:
    """Bytes held at most while all of `source` is opened and read in batches."""
    tracemalloc.start()
    try:
        with open_samples(source, [spec(shape=("N", 1000))]) as samples:
            for start in range(0, len(samples), 50):
                samples.batch(np.arange(start, start + 50))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def generator(count: int, folder: Path) -> object:
    return (np.ones((50, 1000), F32) for _ in range(count // 50))


def archive(count: int, folder: Path) -> object:
    return npz(folder, np.ones((count, 1000), F32))


@pytest.mark.parametrize("source", [generator, archive])
def test_memory_does_not_grow_with_the_samples(
    source: Callable[[int, Path], object], tmp_path: Path
) -> None:
    peak(source(50, tmp_path))  # first use imports and caches
    few, many = (peak(source(count, tmp_path)) for count in (2_000, 10_000))  # 8 and 40 MB
    assert many < 1.2 * few + 100_000
