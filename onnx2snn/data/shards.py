"""Shards: WebDataset archives and tables, read from their begin to their end, once.

Samples come in small groups, so that memory holds one of them; an archive is never unpacked.
Images are decoded on the way. Tables need pyarrow, the extra `datasets`.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.array_checks import Group
from onnx2snn.data.blame import reading
from onnx2snn.data.columns import column_array, table_batches
from onnx2snn.data.images import IMAGE_SUFFIXES, check_pillow, layout_for
from onnx2snn.data.intake import Intake
from onnx2snn.data.pixels import Layout, decoded
from onnx2snn.data.rows import in_memory
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos import budget

ARCHIVES = (".tar", ".tar.gz", ".tgz")
TABLES = (".parquet", ".arrow", ".feather")

GROUP = 64
"""Samples that are in memory at once."""

LABELS = ("cls", "label", "labels")
"""What a sample's class is called, in an archive or a table."""


def streams(path: Path) -> bool:
    """Return whether a file is an archive or a table, by its name."""
    return path.name.lower().endswith((*ARCHIVES, *TABLES))


def streamed_groups(intake: Intake, path: Path) -> Iterator[tuple[str, Group]]:
    """Yield the samples of an archive or a table in groups, each with its name for errors."""
    if path.name.lower().endswith(ARCHIVES):
        yield from _archive_groups(intake, path)
    else:
        yield from _table_groups(intake, path)


def _archive_groups(intake: Intake, path: Path) -> Iterator[tuple[str, Group]]:
    pending: list[dict[str, Array]] = []
    done = 0
    for sample in _archive_samples(intake, path):
        pending.append(sample)
        if len(pending) == GROUP:
            yield _joined(path, done, pending)
            done += len(pending)
            pending = []
    if pending:
        yield _joined(path, done, pending)
    elif not done:
        raise DataError(f"{path} holds no samples: put files like 000.png and 000.cls there")


def _joined(path: Path, done: int, samples: list[dict[str, Array]]) -> tuple[str, Group]:
    """Return samples as one group of arrays."""
    where = f"samples {done} to {done + len(samples) - 1} of {path}"
    names = samples[0].keys()
    for number, sample in enumerate(samples):
        if sample.keys() != names:
            raise DataError(
                f"sample {done + number} of {path} holds {quoted(sample)} after {quoted(names)}: "
                "make all samples alike"
            )
        for name, values in sample.items():
            if values.shape != samples[0][name].shape:
                raise DataError(
                    f"'{name}' of sample {done + number} of {path} has shape "
                    f"{list(values.shape)} after {list(samples[0][name].shape)}: make all alike"
                )
    return where, {name: in_memory(np.stack([each[name] for each in samples])) for name in names}


def _archive_samples(intake: Intake, path: Path) -> Iterator[dict[str, Array]]:
    """Yield the samples of an archive: files that follow each other with one key before a dot."""
    images = _Images(intake, path)
    key: str | None = None
    sample: dict[str, Array] = {}
    for name, data in _members(path):
        folder, _, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        if key is not None and (folder, stem) != tuple(key.split("\0")) and sample:
            yield sample
            sample = {}
        key = f"{folder}\0{stem}"
        part = _part(intake, images, f"{name} in {path}", ending.lower(), data)
        if part is not None:
            sample[part[0]] = part[1]
    if sample:
        yield sample


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files in an archive, as they come."""
    with reading(path, "tar archive"), tarfile.open(path, "r|*") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            said = budget.excess(member.size)
            if said is not None:
                raise DataError(f"'{member.name}' in {path} {said}: leave it out")
            yield member.name, file.read()


def _part(
    intake: Intake, images: _Images, what: str, ending: str, data: bytes
) -> tuple[str, Array] | None:
    """Return the name and the array of a file in an archive; None: it is nothing of ours."""
    field, _, suffix = ending.rpartition(".")
    if f".{suffix}" in IMAGE_SUFFIXES:
        return images.name, images.read(what, data)
    if suffix == "npy":
        with reading(what, ".npy array"):
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        name = field if intake.knows(field) else intake.only(what)
        return name, array
    if suffix in LABELS:
        with reading(what, "class number"):
            return "labels", np.array(int(data.decode().strip()), np.int64)
    return None


class _Images:
    """Images in files that are read once, as the model's only input."""

    def __init__(self, intake: Intake, path: Path) -> None:
        self.intake = intake
        self.path = path
        self._layout: Layout | None = None

    @property
    def name(self) -> str:
        """The input that images feed."""
        return self.intake.only(str(self.path))

    def read(self, what: str, data: bytes) -> Array:
        """Return one image as the model takes it."""
        if self._layout is None:
            check_pillow(self.path)
            spec = self.intake.inputs[self.name]
            self._layout = layout_for(str(self.path), spec, self.intake.look)
        # 16 bits hold what images of 8 have, too
        pixels = decoded(io.BytesIO(data), what, self._layout, np.dtype(np.uint16))
        return np.asarray(self._layout.scaled(pixels[None])[0])


def _table_groups(intake: Intake, path: Path) -> Iterator[tuple[str, Group]]:
    images = _Images(intake, path)
    done = 0
    for batch in table_batches(path, GROUP):
        where = f"rows {done} to {done + batch.num_rows - 1} of {path}"
        group = {}
        for name, column in _columns(intake, path, batch).items():
            array = column_array(f"'{name}' in {where}", column)
            if isinstance(array, list):
                found = [images.read(f"'{name}' in {where}", data) for data in array]
                group[name] = in_memory(np.stack(found))
                continue
            group[name] = in_memory(_shaped(intake, name, array))
        if batch.num_rows:
            yield where, group
        done += batch.num_rows
    if not done:
        raise DataError(f"{path} holds no rows: put samples there")


def _shaped(intake: Intake, name: str, array: Array) -> Array:
    """Return flat rows [N,K] in the shape of their input, where it has K values a sample."""
    spec = intake.inputs.get(name)
    if spec is None or spec.shape is None or array.ndim != 2:
        return array
    dims = [dim for dim in spec.shape[1:] if isinstance(dim, int)]
    fixed = len(dims) == len(spec.shape) - 1
    if not fixed or math.prod(dims) != array.shape[1]:
        return array
    return array.reshape(len(array), *dims)


def _columns(intake: Intake, path: Path, batch: Any) -> dict[str, Any]:
    """Return the columns of a table by the names of inputs and targets; others are left out."""
    names = list(batch.schema.names)
    found = {}
    for name in names:
        known = "labels" if name in LABELS else name
        if intake.knows(known):
            found[known] = batch.column(name)
    lacking = [name for name in intake.inputs if name not in found]
    if lacking and len(intake.inputs) == 1 and "image" in names:
        found[lacking[0]] = batch.column("image")
        lacking = []
    if lacking:
        raise DataError(
            f"{path} has no columns {quoted(lacking)} for the model's inputs, but "
            f"{quoted(names)}: rename them"
        )
    return found
