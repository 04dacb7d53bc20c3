"""What can be a source of data: files, folders of arrays or images, scripts and Python objects.

Every reader hands its arrays to a `Fit` and blames, in its errors, the file or batch at fault. `.npy` files and images
stay where they are; `.npz` members, `.pb` files and generators are spooled to temporary files.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count as count_up
from pathlib import Path
from typing import Any

import numpy as np

from onnx2snn.data.blame import reading, users_code
from onnx2snn.data.intake import Array, Fit, Rows
from onnx2snn.data.scripts import script_function
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos.specs import image_axes

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
_END = object()


def open_source(fit: Fit, where: str, source: object) -> None:
    """Give `fit` all that `source` holds, a path, `script.py:function` or Python arrays; `where` names it in errors."""
    if isinstance(source, str | os.PathLike):
        _open_path(fit, where)
    else:
        _open_object(fit, where, source)


def _open_path(fit: Fit, source: str) -> None:
    script, _, function = source.rpartition(":")
    path = Path(script if script.endswith(".py") else source).absolute()
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path of the data")
    if script.endswith(".py"):
        _open_script(fit, path, function)
    elif path.is_dir():
        _open_folder(fit, path)
    elif path.suffix.lower() == ".npy":
        fit.add(str(path), {fit.only(str(path)): _npy(path, str(path))})
    elif path.suffix.lower() == ".npz":
        fit.add(str(path), _npz(fit, path))
    elif path.suffix.lower() == ".pb":
        fit.spool([(str(path), {fit.only(str(path)): _pb(path)})])
    else:
        raise DataError(
            f"{path} is no data this package reads: give a .npy, .npz or .pb file, a folder of them or of images, "
            "or script.py:function"
        )


def _open_folder(fit: Fit, folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    arrays = [path for path in files if path.suffix.lower() in (".npy", ".npz")]
    images = [path for path in files if path.suffix.lower() in _IMAGES]
    sets = [path for path in files if re.fullmatch(r"test_data_set_\d+", path.name)]
    if not files:
        raise DataError(f"folder {folder} is empty: put arrays or images there")
    if arrays and images:
        raise DataError(f"folder {folder} holds both arrays and images: keep one kind")
    if (folder / "input_0.pb").exists():
        sets = [folder]
    if sets:
        sets.sort(key=lambda path: (len(path.name), path.name))  # set 10 comes after set 9
        fit.spool((str(path), _test_data(fit, path)) for path in sets)
    elif images:
        fit.add(str(folder), _image_folder(fit, folder, images))
    elif arrays:
        for path in arrays:
            if path.suffix.lower() == ".npz":
                fit.add(str(path), _npz(fit, path))
            else:  # labels.npy is not a part of the one input
                key = path.stem if path.stem in (*fit.inputs, *fit.allowed) else fit.only(str(path))
                fit.add(str(path), {key: _npy(path, str(path))})
    else:
        raise DataError(
            f"folder {folder} holds no .npy, .npz, input_0.pb, .png, .jpg or .bmp: check the path"
        )


def _npy(path: Path, what: str) -> Rows:
    with path.open("rb") as file:
        start = file.read(1024)
        if b"|O'" in start[: start.find(b"}")]:  # the header is a dict in plain text
            raise DataError(
                f"{what} holds pickled Python objects: save it again as an array of numbers"
            )
    with reading(what, ".npy array"):
        head = np.lib.format.open_memmap(path, mode="r")
    return Rows(head.dtype, head.shape, partial(_read_npy, path))


def _read_npy(path: Path, indices: Array) -> Array:
    return np.asarray(
        np.load(path, mmap_mode="r")[indices]
    )  # mapped anew each time, so that its pages are released


def _npz(fit: Fit, path: Path) -> dict[str, Rows]:
    spooled: dict[str, Path] = {}
    with reading(path, ".npz archive"), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        fit.check_names(str(path), members)  # before anything is unpacked
        for key, name in members.items():
            spooled[key] = fit.temporary()
            with archive.open(name) as packed, spooled[key].open("wb") as file:
                shutil.copyfileobj(packed, file)
    return {key: _npy(file, f"'{key}' in {path}") for key, file in spooled.items()}


def _pb(path: Path) -> Rows:
    import onnx

    with reading(path, "ONNX tensor"):
        return _in_memory(onnx.numpy_helper.to_array(onnx.load_tensor(str(path)), str(path.parent)))


def _test_data(fit: Fit, folder: Path) -> dict[str, Rows]:
    paths = [folder / f"input_{number}.pb" for number in range(len(fit.inputs))]
    found = len(list(folder.glob("input_*.pb")))
    if found != len(paths) or not all(path.exists() for path in paths):
        raise DataError(
            f"{folder} holds {found} input_*.pb, but the model's inputs are {quoted(fit.inputs)}: number them from 0"
        )
    return {name: _pb(path) for name, path in zip(fit.inputs, paths, strict=True)}


def _image_folder(fit: Fit, folder: Path, paths: list[Path]) -> dict[str, Rows]:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{folder} holds images, which need pillow: run `pip install onnx2snn[images]`"
        ) from error
    spec = fit.inputs[fit.only(str(folder))]
    axes = image_axes(spec)
    shape = (len(paths), *(dim for dim in (spec.shape or ())[1:] if isinstance(dim, int)))
    fixed = axes and len(shape) == 4
    if (
        not fixed
        or shape[axes[2]] not in (1, 3)
        or (spec.dtype.kind != "f" and spec.dtype != np.uint8)
    ):
        raise DataError(
            f"images in {folder} cannot feed input '{spec}', which would have to be uint8 or float, of rank 4 with "
            "fixed height and width and 1 or 3 channels: fix the model's input shape or give arrays"
        )
    for path in paths:
        with reading(path, "image"), Image.open(path) as image:
            image.verify()
    read = partial(_read_images, paths, shape, axes, spec.dtype)
    group = {spec.name: Rows(spec.dtype, shape, read, finite=True)}
    for labels in (folder / "labels.csv", folder / "labels.txt"):
        if labels.exists():
            return {**group, "labels": _in_memory(_labels(labels, paths))}
    return group


def _read_images(
    paths: list[Path],
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    dtype: np.dtype[Any],
    indices: Array,
) -> Array:
    from PIL import Image

    out = np.empty((len(indices), *shape[1:]), dtype)
    height, width, channels = (shape[axis] for axis in axes)
    mode = "L" if channels == 1 else "RGB"
    for row, index in enumerate(indices):
        with reading(paths[index], "image"), Image.open(paths[index]) as image:
            pixels = np.asarray(
                image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
            )
        pixels = np.moveaxis(pixels.reshape(height, width, channels), 2, axes[2] - 1)
        out[row] = pixels if dtype == np.uint8 else pixels / np.float32(255)
    return out


def _labels(file: Path, images: list[Path]) -> Array:
    """Read lines "file name,label" into int64 [N], in the order of `images`."""
    labels: dict[str, int] = {}
    with reading(file, "table of labels"):
        lines = file.read_text("utf-8-sig").splitlines()
    for number, line in enumerate(lines):
        name, _, label = (part.strip() for part in line.rpartition(","))
        if re.fullmatch(r"-?\d+", label) and name:
            labels[name] = int(label)
        elif line.strip() and number:  # the first line may be a header
            raise DataError(
                f"line {number + 1} of {file} is '{line}': write the file name, a comma, the class number"
            )
    if missing := [path.name for path in images if path.name not in labels]:
        raise DataError(
            f"{file} has no label for {quoted(missing)}: add a line '{missing[0]},label'"
        )
    if unknown := set(labels) - {path.name for path in images}:
        raise DataError(
            f"{file} labels {quoted(sorted(unknown))}, which the folder lacks: add the images or drop the lines"
        )
    return np.array([labels[path.name] for path in images], np.int64)


def _open_script(fit: Fit, path: Path, function: str) -> None:
    with script_function(path, function) as source:
        _open_object(fit, f"{path}:{function}", source)


def _open_object(fit: Fit, where: str, source: object) -> None:
    if isinstance(source, Mapping) or hasattr(source, "__array__"):
        fit.add(where, _group(fit, where, source))
    elif isinstance(source, list | tuple):
        for what, group in _batches(fit, where, source):
            fit.add(what, group)
    elif isinstance(source, Iterable):
        fit.spool(_batches(fit, where, source))
    elif callable(source):
        with users_code(where):
            source = source()
        _open_object(fit, where, source)
    else:
        raise DataError(
            f"{where} is a {type(source).__name__}: give an array, a dict of arrays, or batches of such"
        )


def _batches(
    fit: Fit, where: str, source: Iterable[object]
) -> Iterator[tuple[str, dict[str, Rows]]]:
    with users_code(where):
        batches = iter(source)
    for number in count_up():
        what = f"batch {number} of {where}"
        with users_code(what):
            batch = next(batches, _END)
        if batch is _END:
            return
        yield what, _group(fit, what, batch)


def _group(fit: Fit, where: str, batch: object) -> dict[str, Rows]:
    if not isinstance(batch, Mapping) and not hasattr(batch, "__array__"):
        raise DataError(
            f"{where} is a {type(batch).__name__}: make it an array or a dict of arrays"
        )
    named = batch if isinstance(batch, Mapping) else {fit.only(where): batch}
    with users_code(where):
        return {str(key): _in_memory(np.asarray(value)) for key, value in named.items()}


def _in_memory(array: Array) -> Rows:
    return Rows(array.dtype, array.shape, lambda indices: np.asarray(array[indices]))
