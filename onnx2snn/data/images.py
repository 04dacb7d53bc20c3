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
from onnx2snn.data.look import Look
from onnx2snn.data.pixels import ImageReader, Layout, is_deep
from onnx2snn.data.rows import Rows, in_memory
from onnx2snn.errors import MOST_NAMES, DataError, quoted
from onnx2snn.protos.notes import NOTES
from onnx2snn.protos.reading import read_whole
from onnx2snn.protos.specs import TensorSpec, image_axes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

LABEL_FILES = ("labels.csv", "labels.txt")


def image_group(
    intake: Intake, folder: Path, paths: list[Path], labels: Array | None = None
) -> dict[str, Rows]:
    """Return images as the model's only input, with their labels if there are any.

    Args:
        intake: What takes them.
        folder: Where they lie.
        paths: The images.
        labels: Their classes, int64 [N]; None: those of a table beside them, where there is one.
    """
    check_pillow(folder)
    spec = intake.inputs[intake.only(str(folder))]
    layout = layout_for(str(folder), spec, intake.look)
    # damaged images are refused before any work is done
    deep = [is_deep(path) for path in paths]
    reader = ImageReader(paths, layout, deep=any(deep), file=intake.temporary())
    shape = (len(paths), *layout.shape)
    group = {spec.name: Rows(spec.dtype, shape, reader.read, finite=True, takes_work=True)}
    if labels is not None:
        group["labels"] = in_memory(labels)
        return group
    for name in LABEL_FILES:
        file = folder / name
        if file.exists():
            group["labels"] = in_memory(_labels(file, paths))
            break
    return group


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the images in the folders of a folder, each of which is a class, by its name."""
    found = {}
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            files = [path for path in sorted(inner.iterdir()) if not path.name.startswith(".")]
            paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
            if paths:
                found[inner.name] = paths
    return found


def classified_group(
    intake: Intake, folder: Path, classes: dict[str, list[Path]]
) -> dict[str, Rows]:
    """Return the images of class folders, with the numbers of their classes as labels.

    Folders whose names are all numbers have these numbers, others count from 0 in their order.
    """
    names = list(classes)
    numbers = list(range(len(names)))
    if all(re.fullmatch(r"[0-9]{1,9}", name) for name in names):
        numbers = [int(name) for name in names]
    pairs = zip(numbers, names, strict=True)
    known = ", ".join(f"{number} '{name}'" for number, name in sorted(pairs)[:MOST_NAMES])
    NOTES.info("%s: labels are its %d folders: %s", folder, len(names), known)
    counts = [len(paths) for paths in classes.values()]
    paths = [path for inner in classes.values() for path in inner]
    return image_group(intake, folder, paths, np.repeat(np.array(numbers, np.int64), counts))


def check_pillow(where: object) -> None:
    """Refuse images where pillow is missing."""
    try:
        import PIL.Image  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise DataError(
            f"{where} holds images, which need pillow: run `pip install onnx2snn[images]`"
        ) from error


def layout_for(where: str, spec: TensorSpec, look: Look) -> Layout:
    """Return the layout of images for an input and say it, or refuse an input that takes none."""
    axes = image_axes(spec)
    if axes and look.layout is not None:
        axes = (2, 3, 1) if look.layout == "nchw" else (1, 2, 3)
    dims = list(spec.shape or ())
    size = _told_size(look)
    for axis in axes[:2]:
        if size is not None and not isinstance(dims[axis], int):
            dims[axis] = size[axes.index(axis)]
    shape = tuple(dim for dim in dims[1:] if isinstance(dim, int))
    takes_pixels = spec.dtype.kind == "f" or spec.dtype == np.uint8
    fixed = len(axes) == 3 and len(shape) == 3
    if not (fixed and takes_pixels and shape[axes[2] - 1] in (1, 3)):
        raise DataError(
            f"images in {where} cannot feed input '{spec}', which would have to be uint8 or "
            "float, of rank 4 with fixed height and width and 1 or 3 channels: fix the model's "
            "input shape, tell a size (--crop) or a layout (--layout), or give arrays"
        )
    height, width, channels = axes
    layout = Layout(shape, (height, width, channels), spec.dtype, look)
    _check_look(where, layout, size)
    NOTES.info("%s: images are read as %s", where, _described(layout))
    return layout


def _told_size(look: Look) -> tuple[int, int] | None:
    """Return the height and width that a look asks for, or None."""
    told = look.crop
    if told is None and isinstance(look.resize, tuple):
        told = look.resize
    return (told, told) if isinstance(told, int) else told


def _check_look(where: str, layout: Layout, size: tuple[int, int] | None) -> None:
    """Refuse a look that does not fit the input."""
    height, width, channels = layout.sizes
    look = layout.look
    if size not in (None, (height, width)) and (look.crop is not None or look.share == 1.0):
        raise DataError(
            f"images in {where} would be {size[0]}x{size[1]} (--crop, --resize), but the model "
            f"takes {height}x{width}: leave the size to the model"
        )
    for name, values in {"--mean": look.mean, "--std": look.std}.items():
        if values is not None and layout.dtype == np.uint8:
            raise DataError(
                f"{name} is for images in {where} as floats, but the model takes uint8: "
                "leave it out"
            )
        if values is not None and len(values) not in (1, channels):
            raise DataError(
                f"{name} has {len(values)} numbers, but the model takes images in {where} with "
                f"{channels} channels: give as many, or one"
            )


def _described(layout: Layout) -> str:
    """Return a layout in words."""
    height, width, channels = layout.sizes
    order = "[N,C,H,W]" if layout.axes[2] == 1 else "[N,H,W,C]"
    colours = "grey" if channels == 1 else "RGB"
    scale = "0 to 255" if layout.dtype == np.uint8 else "0 to 1"
    words = [f"{order} of {height}x{width}, {colours}, {scale}"]
    for name, values in {"mean": layout.look.mean, "std": layout.look.std}.items():
        if values is not None:
            words.append(f"{name} {', '.join(f'{value:g}' for value in values)}")
    return "; ".join(words)


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
        lines = read_whole(file).decode("utf-8-sig").splitlines()
    labels: dict[str, int] = {}
    for number, line in enumerate(lines):
        name, _, label = line.rpartition(",")
        name = name.strip()
        label = label.strip()
        if name and re.fullmatch(r"-?\d{1,18}", label):
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
