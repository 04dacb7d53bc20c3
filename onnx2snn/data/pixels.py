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
from typing import TYPE_CHECKING

import numpy as np

from onnx2snn.aliases import Array, DType
from onnx2snn.data.blame import reading

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
    """

    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    dtype: DType


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
        if self.layout.dtype != np.uint8:
            return (pixels / np.float32(WHITE[self.stored])).astype(self.layout.dtype)
        if self.stored == np.uint8:
            return pixels
        return np.rint(pixels / np.float32(GREY_STEP)).astype(np.uint8)

    def _row(self, index: int) -> Array:
        """Return the stored pixels of one image; the first time, decode and store them."""
        count = int(np.prod(self.layout.shape))
        start = index * count * self.stored.itemsize
        if self._decoded[index]:
            pixels = np.fromfile(self.file, self.stored, count, offset=start)
            return pixels.reshape(self.layout.shape)
        pixels = self._pixels(self.paths[index])
        # where the disk is full, images are decoded anew each time
        with suppress(OSError), self.file.open("r+b") as file:
            file.seek(start)
            file.write(pixels.tobytes())
            file.flush()
            self._decoded[index] = True
        return pixels

    def _pixels(self, path: Path) -> Array:
        """Return one decoded image in the layout of the model."""
        from PIL import Image, ImageOps

        # axis 0 of the batch is not among a row's own axes
        height, width, channels = (self.layout.shape[axis - 1] for axis in self.layout.axes)
        mode = "L" if channels == 1 else "RGB"
        with reading(path, "image"), Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            shown = _deep_grey(upright) if upright.mode in DEEP_MODES else _shown(upright, mode)
            scaled = shown.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(scaled)
        if pixels.dtype == np.float32:
            pixels = np.rint(pixels.clip(0, WHITE[self.stored])).astype(self.stored)
        elif self.stored == np.uint16:
            pixels = pixels.astype(np.uint16) * np.uint16(GREY_STEP)
        pixels = np.broadcast_to(pixels.reshape(height, width, -1), (height, width, channels))
        return np.ascontiguousarray(np.moveaxis(pixels, 2, self.layout.axes[2] - 1))


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
