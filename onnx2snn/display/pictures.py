"""Pictures of a page: samples, masks and detected boxes as pixels and frames."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image  # matplotlib requires it

from onnx2snn.aliases import Array

CLEAR = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe and Ito's colours, which colour-blind people tell apart; class 0 is black."""
IGNORED_COLOUR = "#999999"
SHOWN_SCORE = 0.3
"""Least score of a box that is drawn."""
MOST_BOXES = 20


@dataclass(frozen=True)
class Frame:
    """The frame of a box in a picture, in pixels, with its class in words."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    words: str


@dataclass(frozen=True)
class Picture:
    """Pixels [H, W, 3] with frames on them; `words` stands below."""

    words: str
    pixels: Array
    frames: tuple[Frame, ...] = ()

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def uri(self) -> str:
        """The pixels as a data URI."""
        return png(self.pixels)

    @property
    def font_size(self) -> float:
        """Size of the classes on frames, in pixels of the picture."""
        return max(self.height, self.width) / 14


@dataclass(frozen=True)
class PictureRows:
    """A row of pictures for each sample, and the colours of the classes on them."""

    rows: tuple[tuple[Picture, ...], ...]
    legend: tuple[tuple[int, str], ...] = ()


# --- pixels ---


def colour(kind: int) -> str:
    """Return the colour of a class."""
    if kind == 0:
        return "#000000"
    if kind <= len(CLEAR):
        return CLEAR[kind - 1]
    # steps of the golden ratio keep hues apart, however many there are
    hue = (kind * 0.618) % 1
    lightness = 0.35 + 0.3 * (kind % 3) / 2
    channels = colorsys.hls_to_rgb(hue, lightness, 0.7)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def picture(sample: Array, axes: Sequence[int] | None) -> Array | None:
    """Return a sample as pixels [H, W, 3], uint8; None where it is no image.

    `axes` are those of height, width and channels in a batch. Values that are no bytes are
    stretched from black to white.
    """
    if not axes:
        return None
    places = [axis - 1 for axis in axes]
    values = np.asarray(sample, np.float64)
    pixels = np.moveaxis(values, places, [0, 1, 2])
    height, width, channels = pixels.shape
    if channels not in (1, 3):
        return None
    if sample.dtype != np.uint8:
        pixels = _stretched(pixels)
    # one channel is grey: the same for red, green and blue
    coloured = np.broadcast_to(pixels, (height, width, 3))
    return coloured.astype(np.uint8)


def _stretched(values: Array) -> Array:
    """Return values stretched to 0 to 255; zeros where all are one."""
    low, high = values.min(), values.max()
    stretch = 0.0
    if high > low:
        stretch = 255.0 / (high - low)
    return np.asarray((values - low) * stretch)


def png(pixels: Array) -> str:
    """Return pixels [H, W, 3] as a data URI."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(file, "PNG", optimize=True)
    text = base64.b64encode(file.getvalue()).decode()
    return f"data:image/png;base64,{text}"


def painted(classes: Array, ignored: int) -> Array:
    """Return class numbers [H, W] as pixels; the class to be ignored is grey."""
    kinds, places = np.unique(classes, return_inverse=True)
    palette = []
    for kind in kinds.tolist():
        code = IGNORED_COLOUR if kind == ignored else colour(kind)
        red, green, blue = bytes.fromhex(code[1:])
        palette.append((red, green, blue))
    colours = np.array(palette, np.uint8)
    return colours[places.reshape(classes.shape)]


# --- rows of pictures ---


def segmentation_rows(
    pixels: Sequence[Array], truth: Array, found: Mapping[str, Array], ignored: int
) -> PictureRows:
    """Return for each sample its input, the truth and the classes that were found.

    Args:
        pixels: The inputs [H, W, 3].
        truth: True classes [samples, H, W].
        found: Classes of the same shape, by their label.
        ignored: The class of pixels that do not count.

    Returns:
        The rows, with a legend of all classes that are in them.
    """
    rows = []
    for index, shown in enumerate(pixels):
        row = [Picture("input", shown)]
        for label, classes in {"truth": truth, **found}.items():
            row.append(Picture(label, painted(classes[index], ignored)))
        rows.append(tuple(row))
    everywhere = np.concatenate([truth, *found.values()])
    met = np.unique(everywhere).tolist()
    legend = [(kind, colour(kind)) for kind in met if kind != ignored]
    return PictureRows(tuple(rows), tuple(legend))


def detection_rows(
    pixels: Sequence[Array], truth: Sequence[Array], found: Mapping[str, Sequence[Array]]
) -> PictureRows:
    """Return for each sample its input, the true boxes and the boxes that were found.

    Args:
        pixels: The inputs [H, W, 3].
        truth: For each sample boxes [D, 6] of x1, y1, x2, y2, class and score.
        found: Such boxes, by their label; those of small scores are left out.

    Returns:
        The rows.
    """
    rows = []
    for index, shown in enumerate(pixels):
        row = [Picture("input", shown)]
        row.append(Picture("truth", shown, frames(truth[index])))
        for label, rows_found in found.items():
            boxes = rows_found[index]
            scores = boxes[:, 5]
            sure = boxes[scores >= SHOWN_SCORE]
            row.append(Picture(label, shown, frames(sure[:MOST_BOXES])))
        rows.append(tuple(row))
    return PictureRows(tuple(rows))


def frames(boxes: Array) -> tuple[Frame, ...]:
    """Return the frames of boxes [D, 6] of x1, y1, x2, y2, class and score."""
    found = []
    for x1, y1, x2, y2, kind, _ in boxes.tolist():
        number = int(kind)
        # class 0 is an object here, which black would hide
        frame = Frame(x1, y1, x2 - x1, y2 - y1, colour(number + 1), str(number))
        found.append(frame)
    return tuple(found)
