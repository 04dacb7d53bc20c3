"""Pixels of image files as a model takes them: upright, in its size, colours and layout.

Colours are those pillow shows: palettes, CMYK, transparent and bilevel images are converted, and a
camera's rotation is carried out. Grey images of 16 bits keep their depth. Each image is decoded
once: its pixels go to a temporary file, from which they are read later on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from onnx2snn.aliases import Array, DType
from onnx2snn.data.blame import reading
from onnx2snn.data.look import PLAIN, Look, Size
from onnx2snn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of pillow for grey images of 16 bits."""

WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The largest value of a pixel, by the type it is stored in."""

GREY_STEP = 257
"""Values of 16 bits for each of 8: 65535 / 255."""


@dataclass(frozen=True)
class Layout:
    """The rows that images are read into.

    `shape` is that of a row, [H, W, C] or [C, H, W]; `axes` are the axes of height, width and
    channels in the batch, whose axis 0 is not among a row's own; `dtype` is float or uint8.
    `look` has the sizes and scales on the way there.
    """

    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    dtype: DType
    look: Look = PLAIN

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Height, width and number of channels of a row."""
        height, width, channels = (self.shape[axis - 1] for axis in self.axes)
        return height, width, channels

    def scaled(self, pixels: Array) -> Array:
        """Return stored pixels, [M, ...] of uint8 or uint16, as the model takes them."""
        if self.dtype == np.uint8:
            if pixels.dtype == np.uint8:
                return pixels
            return np.rint(pixels / np.float32(GREY_STEP)).astype(np.uint8)
        values = pixels / np.float32(WHITE[pixels.dtype])
        # a number a channel lies along the axis of the channels
        along = [1] * pixels.ndim
        along[self.axes[2]] = -1
        if self.look.mean is not None:
            values = values - np.array(self.look.mean, np.float32).reshape(along)
        if self.look.std is not None:
            values = values / np.array(self.look.std, np.float32).reshape(along)
        return values.astype(self.dtype)


class ImageReader:
    """Reads images into rows; what is decoded stays in a file."""

    def __init__(self, paths: Sequence[Path], layout: Layout, *, deep: bool, file: Path) -> None:
        """Decode nothing yet.

        Args:
            paths: The images.
            layout: The rows.
            deep: Some of the images have 16 bits, so that all pixels are stored in 16.
            file: An empty file for the pixels.
        """
        self.paths = paths
        self.layout = layout
        self.stored = np.dtype(np.uint16 if deep else np.uint8)
        self.file = file
        self._decoded = np.zeros(len(paths), bool)
        self._lock = threading.Lock()

    def read(self, indices: Array) -> Array:
        """Return the images with these numbers, [M, ...]."""
        pixels = np.empty((len(indices), *self.layout.shape), self.stored)
        with self._lock:
            for row, index in enumerate(indices):
                pixels[row] = self._row(int(index))
        return self.layout.scaled(pixels)

    def _row(self, index: int) -> Array:
        """Return the stored pixels of one image; the first time, decode and store them."""
        count = int(np.prod(self.layout.shape))
        start = index * count * self.stored.itemsize
        if self._decoded[index]:
            pixels = np.fromfile(self.file, self.stored, count, offset=start)
            return pixels.reshape(self.layout.shape)
        pixels = decoded(self.paths[index], str(self.paths[index]), self.layout, self.stored)
        # where the disk is full, images are decoded anew each time
        with suppress(OSError), self.file.open("r+b") as file:
            file.seek(start)
            file.write(pixels.tobytes())
            file.flush()
            self._decoded[index] = True
        return pixels


def decoded(source: Path | BinaryIO, what: str, layout: Layout, stored: DType) -> Array:
    """Return the pixels of one image in a layout.

    Args:
        source: The file.
        what: What it is called in errors.
        layout: The layout of the model.
        stored: uint8, or uint16 where the image may have 16 bits.

    Raises:
        DataError: It is damaged, or too small for the crop.
    """
    from PIL import Image, ImageOps

    height, width, channels = layout.sizes
    mode = "L" if channels == 1 else "RGB"
    with reading(what, "image"), Image.open(source) as image:
        upright = ImageOps.exif_transpose(image)
        shown = _deep_grey(upright) if upright.mode in DEEP_MODES else _shown(upright, mode)
        pixels = np.asarray(_fitted(shown, what, layout))
    if pixels.dtype == np.float32:
        pixels = np.rint(pixels.clip(0, WHITE[stored])).astype(stored)
    elif stored == np.uint16:
        pixels = pixels.astype(np.uint16) * np.uint16(GREY_STEP)
    pixels = np.broadcast_to(pixels.reshape(height, width, -1), (height, width, channels))
    return np.ascontiguousarray(np.moveaxis(pixels, 2, layout.axes[2] - 1))


def _fitted(image: Image.Image, what: str, layout: Layout) -> Image.Image:
    """Return an image scaled, then its middle in the size of the model."""
    from PIL import Image

    height, width, _ = layout.sizes
    size = (width, height)
    look = layout.look
    if look.resize is not None or look.share != 1.0:
        resize = look.resize
        if resize is None:
            resize = round(min(size) / look.share)
        size = _scaled_size(image.size, resize)
    scaled = image.resize(size, Image.Resampling.BILINEAR)
    if size == (width, height):
        return scaled
    if scaled.width < width or scaled.height < height:
        raise DataError(
            f"{what} is {scaled.height}x{scaled.width} after --resize, and the crop takes "
            f"{height}x{width}: resize to more"
        )
    left = round((scaled.width - width) / 2)
    top = round((scaled.height - height) / 2)
    return scaled.crop((left, top, left + width, top + height))


def _scaled_size(size: tuple[int, int], resize: Size) -> tuple[int, int]:
    """Return width and height after a resize; of one number, the shorter side gets it."""
    if not isinstance(resize, int):
        return (resize[1], resize[0])
    short = min(size)
    width, height = (resize if side == short else int(resize * side / short) for side in size)
    return (width, height)


def _shown(image: Image.Image, mode: str) -> Image.Image:
    """Return an image of 8 bits in grey or in colours."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # otherwise pillow warns
    return image.convert(mode)


def _deep_grey(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits in floats, which pillow can resize."""
    from PIL import Image

    return Image.fromarray(np.asarray(image).astype(np.float32))


def is_deep(path: Path) -> bool:
    """Refuse a damaged image (DataError), and return whether it has 16 bits."""
    from PIL import Image

    with reading(path, "image"), Image.open(path) as image:
        deep = image.mode in DEEP_MODES
        image.verify()
    return deep
