"""Behaviour of onnx2snn.data.pixels: images as pillow shows them, each decoded once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from onnx2snn.data.samples import open_samples
from onnx2snn.protos.specs import TensorSpec

Array = NDArray[Any]
SIZE = 8


def spec(channels: int, dtype: Any = np.float32) -> TensorSpec:
    return TensorSpec("x", np.dtype(dtype), ("N", channels, SIZE, SIZE))


def read(folder: Path, channels: int, dtype: Any = np.float32) -> Array:
    with open_samples(folder, [spec(channels, dtype)]) as samples:
        return samples.batch(np.arange(len(samples)))["x"]


RAMP = np.linspace(0, 65535, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_keeps_its_depth(channels: int, tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    found = read(tmp_path, channels)
    for channel in found[0]:
        np.testing.assert_allclose(channel, RAMP / 65535, atol=1e-6)
    bytes_ = read(tmp_path, channels, np.uint8)
    assert np.array_equal(bytes_[0, 0], np.rint(RAMP / 257))


def test_depths_may_be_mixed(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    grey = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE)
    Image.fromarray(grey).save(tmp_path / "b.png")
    found = read(tmp_path, 1)
    np.testing.assert_allclose(found[0, 0], RAMP / 65535, atol=1e-6)
    assert np.array_equal(found[1, 0], grey / np.float32(255))


def colours() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return Image.fromarray(values)


def palette_with_transparency() -> Image.Image:
    image = colours().quantize(16)
    image.info["transparency"] = bytes(range(0, 160, 10))
    return image


KINDS: dict[str, Callable[[], Image.Image]] = {
    "palette": lambda: colours().quantize(16),
    "palette with transparency": palette_with_transparency,
    "CMYK": lambda: colours().convert("CMYK"),
    "grey with alpha": lambda: Image.merge("LA", [colours().convert("L"), colours().split()[0]]),
    "colours with alpha": lambda: colours().convert("RGBA"),
    "bilevel": lambda: colours().convert("1"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_colours_are_those_pillow_shows(kind: str, channels: int, tmp_path: Path) -> None:
    name = "a.jpg" if kind == "CMYK" else "a.png"
    image = KINDS[kind]()
    options = {key: image.info[key] for key in ("transparency",) if key in image.info}
    image.save(tmp_path / name, **options)
    found = read(tmp_path, channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = "L" if channels == 1 else "RGB"
        shown = np.asarray(Image.open(tmp_path / name).convert(mode)).reshape(SIZE, SIZE, channels)
    assert np.array_equal(found[0], np.moveaxis(shown, 2, 0) / np.float32(255))


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_cameras_rotation_is_carried_out(turn: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    colours().save(tmp_path / "a.png", exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    assert np.array_equal(read(tmp_path, 3)[0], np.moveaxis(shown, 2, 0) / np.float32(255))


def test_an_image_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        colours().save(tmp_path / f"{number}.png")
    with open_samples(tmp_path, [spec(3)]) as samples:
        decoded = []
        resize = Image.Image.resize

        def counted(image: Image.Image, *options: Any) -> Image.Image:
            decoded.append(image)
            return resize(image, *options)

        monkeypatch.setattr(Image.Image, "resize", counted)
        first = samples.batch([3, 1, 3])["x"]
        again = samples.batch(np.tile(np.arange(5), 4))["x"]
        assert len(decoded) == 5
        assert np.array_equal(again[[3, 1, 3]], first)


def test_a_full_disk_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours().save(tmp_path / "a.png")
    wanted = read(tmp_path, 3)
    with open_samples(tmp_path, [spec(3)]) as samples:
        opened = Path.open

        def full(path: Path, mode: str = "r", *options: Any) -> Any:
            if mode == "r+b":
                raise OSError(28, "No space left on device")
            return opened(path, mode, *options)

        monkeypatch.setattr(Path, "open", full)
        for _ in range(2):
            assert np.array_equal(samples.batch([0])["x"], wanted)


def test_no_image_is_an_empty_batch(tmp_path: Path) -> None:
    colours().save(tmp_path / "a.png")
    with open_samples(tmp_path, [spec(3)]) as samples:
        assert samples.batch([])["x"].shape == (0, 3, SIZE, SIZE)
