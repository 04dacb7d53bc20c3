"""Folders of images: they are scaled to the model's size, decoded once, and may have labels.

Pixels of a float input are between 0 and 1, those of a uint8 input between 0 and 255. Labels stand
in labels.csv or labels.txt, a line "file name,class number" for each image.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.blame import reading
from onnx2snn.data.intake import Intake
from onnx2snn.data.pixels import ImageReader, Layout, is_deep
from onnx2snn.data.rows import Rows, in_memory
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos.specs import TensorSpec, image_axes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

LABEL_FILES = ("labels.csv", "labels.txt")


def image_group(intake: Intake, folder: Path, paths: list[Path]) -> dict[str, Rows]:
    """Return the images of a folder as the model's only input, with their labels if it has any."""
    _check_pillow(folder)
    spec = intake.inputs[intake.only(str(folder))]
    layout = _layout(folder, spec)
    # damaged images are refused before any work is done
    deep = [is_deep(path) for path in paths]
    reader = ImageReader(paths, layout, deep=any(deep), file=intake.temporary())
    shape = (len(paths), *layout.shape)
    group = {spec.name: Rows(spec.dtype, shape, reader.read, finite=True)}
    for name in LABEL_FILES:
        file = folder / name
        if file.exists():
            group["labels"] = in_memory(_labels(file, paths))
            break
    return group


def _check_pillow(folder: Path) -> None:
    try:
        import PIL.Image  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise DataError(
            f"{folder} holds images, which need pillow: run `pip install onnx2snn[images]`"
        ) from error


def _layout(folder: Path, spec: TensorSpec) -> Layout:
    """Return the layout of images for an input, or refuse an input that takes none."""
    axes = image_axes(spec)
    dims = spec.shape or ()
    shape = tuple(dim for dim in dims[1:] if isinstance(dim, int))
    takes_pixels = spec.dtype.kind == "f" or spec.dtype == np.uint8
    fixed = len(axes) == 3 and len(shape) == 3
    if not (fixed and takes_pixels and shape[axes[2] - 1] in (1, 3)):
        raise DataError(
            f"images in {folder} cannot feed input '{spec}', which would have to be uint8 or "
            "float, of rank 4 with fixed height and width and 1 or 3 channels: fix the model's "
            "input shape or give arrays"
        )
    height, width, channels = axes
    return Layout(shape, (height, width, channels), spec.dtype)


def _labels(file: Path, images: list[Path]) -> Array:
    """Read lines "file name,label" into int64 [N], in the order of `images`."""
    labels = _label_table(file)
    names = [path.name for path in images]
    missing = [name for name in names if name not in labels]
    if missing:
        raise DataError(
            f"{file} has no label for {quoted(missing)}: add a line '{missing[0]},label'"
        )
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise DataError(
            f"{file} labels {quoted(unknown)}, which the folder lacks: "
            "add the images or drop the lines"
        )
    return np.array([labels[name] for name in names], np.int64)


def _label_table(file: Path) -> dict[str, int]:
    """Return the labels by file name; the first line may be a header."""
    with reading(file, "table of labels"):
        lines = file.read_text("utf-8-sig").splitlines()
    labels: dict[str, int] = {}
    for number, line in enumerate(lines):
        name, _, label = line.rpartition(",")
        name = name.strip()
        label = label.strip()
        if name and re.fullmatch(r"-?\d+", label):
            before = labels.setdefault(name, int(label))
            if before != int(label):
                raise DataError(
                    f"line {number + 1} of {file} labels '{name}' {label}, which a line before "
                    f"labels {before}: leave one of them"
                )
            continue
        header_or_empty = number == 0 or not line.strip()
        if not header_or_empty:
            raise DataError(
                f"line {number + 1} of {file} is '{line}': "
                "write the file name, a comma, the class number"
            )
    return labels
