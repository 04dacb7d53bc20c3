"""Arguments on images, which all commands that read data have, and what is said of their layout."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from onnx2snn.cli.machine import say
from onnx2snn.data.look import LAYOUTS, PRESETS, Size, images
from onnx2snn.data.scripts import Script
from onnx2snn.errors import UsageError, printable


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell how images become inputs."""
    parser.add_argument(
        "--image-preset",
        choices=PRESETS,
        help="images: pixels from 0 to 1 in the model's size, or ImageNet's resize, crop, mean and "
        "deviation; default: none",
    )
    for name, about in {"mean": "taken off pixels from 0 to 1", "std": "then divided by"}.items():
        parser.add_argument(
            f"--{name}",
            type=_numbers,
            metavar="R,G,B",
            help=f"images: {about}; one number or three",
        )
    parser.add_argument(
        "--resize",
        type=_size,
        metavar="N|HxW",
        help="images: the length of the shorter side, or the size, before the crop",
    )
    parser.add_argument(
        "--crop", type=_size, metavar="N|HxW", help="images: the size of the middle that is kept"
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="images: the layout of the input; default: by its shape"
    )


def with_look(given: argparse.Namespace, source: str | None) -> str | None:
    """Return a path of data with the look that its images get (UsageError: it has none)."""
    options = {name: getattr(given, name) for name in ("mean", "std", "resize", "crop", "layout")}
    asked = [name for name, value in options.items() if value is not None]
    if given.image_preset is None and not asked:
        return source
    if source is None or isinstance(source, Script):
        option = asked[0] if asked else "image-preset"
        raise UsageError(f"--{option} is about images, but no path of data is given")
    return images(source, given.image_preset or "none", **options)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not one number or three, like 0.5") from None


def _size(text: str) -> Size:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and side.isascii() for side in sides):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size, like 224 or 224x320")
    numbers = [int(side) for side in sides]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


class _Notes(logging.Handler):
    """Prints what is inferred of data."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a note, once."""
        text = record.getMessage()
        if text not in self.said:
            self.said.add(text)
            say(f"note: {printable(text)}")


@contextmanager
def notes(quiet: bool) -> Iterator[None]:
    """Print the notes of the package to stderr meanwhile, unless it has to be quiet."""
    if quiet:
        yield
        return
    logger = logging.getLogger("onnx2snn")
    handler = _Notes()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
