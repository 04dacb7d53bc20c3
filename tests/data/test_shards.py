"""WebDataset archives, tables, readers of onnxruntime and loaders of torch as data."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.data import Array, spec
from PIL import Image

from onnx2snn.data import shards
from onnx2snn.data.samples import open_samples
from onnx2snn.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
SCALED = IMAGES.transpose(0, 3, 1, 2) / 255
SHAPE = ("N", 3, 4, 6)


def png(pixels: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def dataset(first: int, last: int) -> dict[str, bytes]:
    files = {}
    for number in range(first, last):
        files[f"d/{number:03}.png"] = png(IMAGES[number])
        files[f"d/{number:03}.cls"] = str(number).encode()
        files[f"d/{number:03}.json"] = b"{}"
    return files


def read(source: object, *names: str, shape: Any = SHAPE) -> tuple[list[Array], list[int]]:
    specs = [spec(name, shape) for name in names or ("x",)]
    with open_samples(source, specs) as samples:
        every = range(len(samples))
        batch = samples.batch(every)
        labels = samples.target("labels", every).tolist() if samples.targets else []
    return list(batch.values()), labels


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_an_archive_is_streamed_in_groups(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "GROUP", 2)
    (x,), labels = read(archive(tmp_path / name, dataset(0, 5)))
    assert np.allclose(x, SCALED, atol=1e-6)
    assert labels == [0, 1, 2, 3, 4]


def test_a_folder_of_archives_is_one_sequence(tmp_path: Path) -> None:
    archive(tmp_path / "0.tar", dataset(0, 2))
    archive(tmp_path / "1.tar", dataset(2, 5))
    (x,), labels = read(tmp_path)
    assert np.allclose(x, SCALED, atol=1e-6)
    assert labels == [0, 1, 2, 3, 4]


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_arrays_in_an_archive_go_by_their_names(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    files = {f"{n}.{name}.npy": npy(values[n] + k) for n in (0, 1) for k, name in enumerate("xy")}
    (x, y), _ = read(archive(tmp_path / "a.tar", files), "x", "y", shape=("N", 3))
    assert np.array_equal(x, values)
    assert np.array_equal(y, values + 1)


BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "no samples": ({"readme.md": b""}, "a.tar holds no samples"),
    "samples apart": ({"0.png": png(IMAGES[0]), "1.cls": b"1"}, "sample 1 of .* holds 'labels'"),
    "no number": ({"0.png": png(IMAGES[0]), "0.cls": b"cat"}, "0.cls in .* class number"),
    "a damaged image": ({"0.png": b"nothing"}, "0.png in .* no image"),
    "pickled objects": ({"0.npy": npy(np.array([{}], object))}, "0.npy in .* no .npy array"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_archive_that_cannot_serve_is_refused(kind: str, tmp_path: Path) -> None:
    files, said = BAD[kind]
    with pytest.raises(DataError, match=said):
        read(archive(tmp_path / "a.tar", files))


def test_a_damaged_archive_and_a_damaged_table_are_named(tmp_path: Path) -> None:
    for name in ("a.tar", "a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 40)
        with pytest.raises(DataError, match=f"{name} is truncated or no"):
            read(tmp_path / name)


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=2)
        return path
    make = pa.ipc.new_stream if path.stem == "stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, make(file, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "stream.arrow"])
def test_a_table_of_images_as_the_datasets_library_keeps_them(name: str, tmp_path: Path) -> None:
    images = [{"bytes": png(pixels), "path": None} for pixels in IMAGES]
    columns = {"image": images, "label": list(range(5)), "id": ["a"] * 5}
    (x,), labels = read(write_table(tmp_path / name, columns))
    assert np.allclose(x, SCALED, atol=1e-6)
    assert labels == [0, 1, 2, 3, 4]


def test_a_table_of_numbers_flat_or_nested(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((5, 3, 4, 6)).astype(np.float32)
    for column in (list(values.reshape(5, -1)), values.tolist()):
        typed = pa.array(column)
        if column is not values.tolist():
            typed = pa.array([np.ravel(row).tolist() for row in column], pa.list_(pa.float32()))
        (x,), _ = read(write_table(tmp_path / "a.parquet", {"x": typed}))
        assert np.array_equal(x, values)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"y": [[1.0]]}, "has no columns 'x' .* but 'y'"),
        ({"x": [[1.0], [1.0, 2.0]]}, "rows of different sizes"),
        ({"x": [[1.0], None]}, "has gaps"),
        ({"x": ["a"]}, "is string: give numbers"),
    ],
)
def test_a_table_that_cannot_serve_is_refused(
    columns: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        read(write_table(tmp_path / "a.parquet", columns))


def test_a_table_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(tmp_path / "a.parquet", {"x": [[1.0]]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install onnx2snn\[datasets\]"):
        read(path)


class Reader:
    """A CalibrationDataReader: one feed after the other, then None."""

    def __init__(self) -> None:
        self.left = list(SCALED.astype(np.float32))

    def get_next(self) -> dict[str, Array] | None:
        return {"x": self.left.pop(0)[None]} if self.left else None


class Tensor:
    """What a torch tensor has of this."""

    def __init__(self, values: Array, *, free: bool = False) -> None:
        self.values, self.free = values, free

    def detach(self) -> Tensor:
        return Tensor(self.values, free=True)

    def cpu(self) -> Tensor:
        return self

    def __array__(self, *_: Any, **__: Any) -> Array:
        assert self.free, "call detach first"
        return self.values


class Loader:
    """A DataLoader: iterated over, it makes lists of a batch and its labels."""

    def __iter__(self) -> Iterator[list[Tensor]]:
        for start in range(0, 5, 2):
            part = slice(start, start + 2)
            yield [Tensor(SCALED[part].astype(np.float32)), Tensor(np.arange(5)[part])]


def test_a_calibration_data_reader_is_read_to_its_end() -> None:
    (x,), _ = read(Reader())
    assert np.allclose(x, SCALED)


def test_a_reader_of_onnxruntime_itself() -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Own(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.reader = Reader()

        def get_next(self) -> dict[str, Array] | None:
            return self.reader.get_next()

    (x,), _ = read(Own())
    assert np.allclose(x, SCALED)


def test_a_loader_gives_inputs_and_labels() -> None:
    (x,), labels = read(Loader())
    assert np.allclose(x, SCALED)
    assert labels == [0, 1, 2, 3, 4]


def test_a_batch_of_parts_that_do_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="list of 3: make it an array, a dict of arrays, or arrays"):
        read(iter([[np.zeros(1), np.zeros(1), np.zeros(1)]]))
