"""Samples as pictures: inputs, masks and boxes as inline images and SVG."""

from __future__ import annotations

import base64
import colorsys
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.display.svg import text
from onnx2snn.protos.specs import TensorSpec, image_axes
from onnx2snn.score.metrics import IGNORE

CLEAR = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe and Ito's colours, which colour-blind people tell apart; class 0 is black."""
SHOWN_SCORE = 0.3


def colour(kind: int) -> str:
    """A class's colour."""
    if kind == 0:
        return "#000000"
    if kind <= len(CLEAR):
        return CLEAR[kind - 1]
    hue, light = (kind * 0.618) % 1, 0.35 + 0.3 * (kind % 3) / 2
    return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hls_to_rgb(hue, light, 0.7))


def picture(spec: TensorSpec, sample: Array) -> Array | None:
    """An input's sample as pixels [H,W,3], uint8; None where it is no image."""
    axes = image_axes(spec)
    if not axes:
        return None
    pixels = np.moveaxis(np.asarray(sample, np.float64), [a - 1 for a in axes], [0, 1, 2])
    if pixels.shape[2] not in (1, 3):
        return None
    if sample.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) * (255.0 / (high - low) if high > low else 0.0)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8)


def png(pixels: Array) -> str:
    """Pixels [H,W,3] as a data URI."""
    height, width = pixels.shape[:2]
    rows = np.concatenate(
        [np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1
    )  # 0: no filter
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = (
        _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + packed).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def painted(classes: Array) -> Array:
    """Class numbers [H,W] as pixels; what is ignored is grey."""
    kinds, places = np.unique(classes, return_inverse=True)
    palette = ["#999999" if kind == IGNORE else colour(int(kind)) for kind in kinds]
    values = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette], np.uint8)
    return values[places.reshape(classes.shape)]


def image(words: str, pixels: Array, boxes: Array | None = None) -> str:
    """A picture with a caption; `boxes` [D,6] (x1, y1, x2, y2, class, score) are drawn, each with its class number."""
    height, width = pixels.shape[:2]
    size = max(height, width) / 14
    drawn = []
    for x1, y1, x2, y2, kind, _ in (boxes if boxes is not None else np.zeros((0, 6))).tolist():
        line = colour(int(kind) + 1)
        frame = f'x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
        drawn.append(f'<rect {frame} fill="none" stroke="{line}" stroke-width="{size / 5:.2g}"/>')
        style = f'style="font-size:{size:.3g}px;fill:#fff;stroke:#000;stroke-width:{size / 4:.2g}px;paint-order:stroke"'
        drawn.append(
            text(round(x1 + size / 6, 1), round(y1 + size, 1), f"{int(kind)}", extra=style)
        )
    name = escape(words)
    return (
        f'<div><svg role="img" viewBox="0 0 {width} {height}" aria-label="{name}"><title>{name}</title>'
        f'<image width="{width}" height="{height}" href="{png(pixels)}"/>{"".join(drawn)}</svg>{name}</div>'
    )


def strip(items: Sequence[str]) -> str:
    """Pictures of one sample side by side."""
    return f'<div class="strip">{"".join(items)}</div>'


def legend(kinds: Sequence[int]) -> str:
    """Which colour is which class."""
    made = (f'<span><i style="background:{colour(kind)}"></i>{kind}</span>' for kind in kinds)
    return f'<p class="legend">classes: {"".join(made)}</p>'
