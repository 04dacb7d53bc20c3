"""Readers of array files: `.npy` stays in place, `.npz` members are unpacked, `.pb` is loaded."""

from __future__ import annotations

import shutil
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.data.blame import reading
from onnx2snn.data.intake import Intake
from onnx2snn.data.rows import Rows, in_memory
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos import storage
from onnx2snn.protos.budget import as_text
from onnx2snn.protos.external import is_external, read_external
from onnx2snn.protos.reading import read_whole

MOST_UNSUSPICIOUS = 2**30
"""Bytes up to which an archive may be packed as densely as it likes."""

MOST_PACKED = 200
"""How many times its size a large archive may unpack to."""

HEADER_BYTES = 1024
"""Bytes of a .npy file that hold the type in its header."""


def npy_rows(path: Path, what: str) -> Rows:
    """Return the rows of a .npy file; `what` names it in errors."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    header = start[: start.find(b"}")]  # a dict in plain text
    if b"|O'" in header:
        raise DataError(
            f"{what} holds pickled Python objects: save it again as an array of numbers"
        )
    with reading(what, ".npy array"):
        array = np.lib.format.open_memmap(path, mode="r")
    return Rows(array.dtype, array.shape, partial(_read_npy, path))


def _read_npy(path: Path, indices: Array) -> Array:
    # mapped anew each time, so that its pages are released
    array = np.load(path, mmap_mode="r")
    rows = array[indices] if array.ndim else array
    return np.asarray(rows)


def npz_group(intake: Intake, path: Path) -> dict[str, Rows]:
    """Unpack the arrays of a .npz archive to temporary files, once their names are checked."""
    files: dict[str, Path] = {}
    with reading(path, ".npz archive"), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        intake.check_names(str(path), members)
        _check_sizes(path, archive, intake.folder)
        for key, member in members.items():
            files[key] = intake.temporary()
            _unpack(archive, member, files[key])
    group = {}
    for key, file in files.items():
        group[key] = npy_rows(file, f"'{key}' in {path}")
    return group


def _check_sizes(path: Path, archive: zipfile.ZipFile, folder: Path) -> None:
    """Refuse an archive that unpacks to more than its folder holds, or to a bomb."""
    members = archive.infolist()
    packed = sum(member.compress_size for member in members)
    unpacked = sum(member.file_size for member in members)
    free = shutil.disk_usage(folder).free
    if unpacked > free:
        raise DataError(
            f"{path} unpacks to {as_text(unpacked)}, and {as_text(free)} are free in {folder}: "
            "set TMPDIR to a larger disk, or give the arrays as .npy"
        )
    if unpacked > MOST_UNSUSPICIOUS and unpacked > MOST_PACKED * packed:
        raise DataError(
            f"{path} unpacks to {as_text(unpacked)}, over {MOST_PACKED} times its size: "
            "give the arrays as .npy"
        )


def _unpack(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    """Copy a member to a file in small parts: it may be larger than memory."""
    with archive.open(member) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def pb_rows(path: Path) -> Rows:
    """Return the rows of an ONNX tensor's file, which may have its values in another one."""
    tensor = onnx.TensorProto()
    with reading(path, "ONNX tensor"):
        tensor.ParseFromString(read_whole(path))
    wrong = storage.fault(tensor)
    if wrong is not None:
        raise DataError(f"{path} is truncated or no ONNX tensor (it {wrong}): replace or remove it")
    if is_external(tensor):
        # onnx would follow a name out of the folder
        read_external(tensor, path.parent, str(path))
    with reading(path, "ONNX tensor"):
        array = numpy_helper.to_array(tensor)
    return in_memory(array)


def onnx_test_group(intake: Intake, folder: Path) -> dict[str, Rows]:
    """Return the inputs of a `test_data_set_*` folder; input_0.pb is the model's first input."""
    paths = [folder / f"input_{number}.pb" for number in range(len(intake.inputs))]
    found = len(list(folder.glob("input_*.pb")))
    complete = all(path.exists() for path in paths)
    if found != len(paths) or not complete:
        raise DataError(
            f"{folder} holds {found} input_*.pb, but the model's inputs are "
            f"{quoted(intake.inputs)}: number them from 0"
        )
    group = {}
    for name, path in zip(intake.inputs, paths, strict=True):
        group[name] = pb_rows(path)
    return group
