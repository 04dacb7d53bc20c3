"""How images become inputs: their size, their scale and their layout, as a user tells them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from onnx2snn.errors import UsageError

Size = int | tuple[int, int]
"""A size of images: of the shorter side (of both, for a crop), or height and width."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's pixels, red, green and blue, from 0 to 1."""

CROPPED = 0.875
"""The share of the shorter side that is left by ImageNet's crop: 224 of 256."""

PRESETS = ("none", "imagenet")

LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Look:
    """How images become inputs; the defaults are those of the preset "none"."""

    mean: tuple[float, ...] | None = None
    """Taken off each channel of pixels from 0 to 1: one number, or one a channel."""
    std: tuple[float, ...] | None = None
    """What the difference is divided by."""
    resize: Size | None = None
    """Size before the crop; None: the model's own, or what `share` makes of it."""
    crop: Size | None = None
    """Size of the middle that is kept; None: the model's own."""
    share: float = 1.0
    """The share of the shorter side that the crop leaves, where no `resize` is given."""
    layout: str | None = None
    """The layout of the input; None: by the model's shape."""


PLAIN = Look()
"""The look of images that nobody told one for."""


class Images(str):
    """A path of images, with the look they get; any other data is read as by its path."""

    look: Look


def images(  # noqa: PLR0913 - every option of the commands by name
    where: str | os.PathLike[str],
    preset: str = "none",
    *,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    resize: Size | None = None,
    crop: Size | None = None,
    layout: str | None = None,
) -> Images:
    """Tell how the images of a folder, an archive or a table become inputs.

    Args:
        where: The path of the data.
        preset: "none": pixels from 0 to 1, in the model's size; "imagenet": the shorter side scaled
            to 8/7 of the model's size, its middle, and ImageNet's mean and deviation.
        mean: Taken off pixels from 0 to 1: one number, or one a channel.
        std: What the difference is divided by.
        resize: The length of the shorter side before the crop, or (height, width).
        crop: The size of the middle that is kept: one number, or (height, width).
        layout: "nchw" or "nhwc"; None: by the model's input.

    Returns:
        The same path, for `convert`, `evaluate` and the like.

    Raises:
        UsageError: An option makes no sense.
    """
    if preset not in PRESETS:
        raise UsageError(f"image preset is '{preset}'; it has to be one of {', '.join(PRESETS)}")
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"layout is '{layout}'; it has to be one of {', '.join(LAYOUTS)}")
    known = preset == "imagenet"
    found = Images(os.fspath(where))
    found.look = Look(
        _numbers("mean", MEAN if mean is None and known else mean),
        _numbers("std", STD if std is None and known else std, above=0.0),
        _size("resize", resize),
        _size("crop", crop),
        CROPPED if known else 1.0,
        layout,
    )
    return found


def look_of(source: object) -> Look:
    """Return the look that comes with a source, or the default one."""
    return source.look if isinstance(source, Images) else PLAIN


def _numbers(
    name: str, given: Sequence[float] | float | None, above: float = -math.inf
) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        found = tuple(float(value) for value in (given if hasattr(given, "__iter__") else [given]))
    except (TypeError, ValueError):
        found = ()
    sound = all(math.isfinite(value) and value > above for value in found)
    if len(found) not in (1, 3) or not sound:
        least = "" if above < 0 else " above 0"
        raise UsageError(f"{name} is {given!r}; it has to be one number{least}, or three")
    return found


def _size(name: str, given: Size | None) -> Size | None:
    if given is None:
        return None
    sides = given if isinstance(given, tuple | list) else (given,)
    if len(sides) > 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UsageError(f"{name} is {given!r}; it has to be a number of pixels, or two")
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else int(sides[0])
