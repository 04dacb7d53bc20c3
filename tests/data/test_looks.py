"""Images as a model wants them: sizes, scales, layouts and class folders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.data import spec
from PIL import Image

import onnx2snn
from onnx2snn.data.samples import open_samples
from onnx2snn.errors import DataError, UsageError


def picture(path: Path, height: int = 40, width: int = 60, seed: int = 0) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    image.save(path)
    return image


def opened(path: Path, shape: tuple[Any, ...], **options: Any) -> Any:
    data = onnx2snn.images(path, **options)
    with open_samples(data, [spec("x", shape)]) as samples:
        found = samples.batch(range(len(samples)))["x"]
        labels = samples.target("labels", range(len(samples))) if samples.targets else None
    return found, labels


def test_the_imagenet_preset_is_resize_crop_and_scale(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    found, _ = opened(tmp_path, ("N", 3, 28, 28), preset="imagenet")
    scaled = image.resize((48, 32), Image.Resampling.BILINEAR).crop((10, 2, 38, 30))
    pixels = np.asarray(scaled).astype(np.float64) / 255
    wanted = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(found[0], wanted.transpose(2, 0, 1), atol=1e-5)


def test_sizes_and_scales_are_told_one_by_one(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    options = {"resize": (30, 30), "crop": (20, 24), "mean": 0.5, "std": [0.5], "layout": "nhwc"}
    found, _ = opened(tmp_path, ("N", "H", "W", 3), **options)
    middle = image.resize((30, 30), Image.Resampling.BILINEAR).crop((3, 5, 27, 25))
    assert np.allclose(found[0], np.asarray(middle) / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "labels"), [(("cat", "dog"), [0, 0, 1]), (("10", "9"), [10, 10, 9])]
)
def test_class_folders_are_labels_and_are_said(
    names: tuple[str, str], labels: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = names
    for number, place in enumerate([f"{first}/b.png", f"{first}/a.png", f"{second}/a.png"]):
        picture(tmp_path / place, seed=number)
    with caplog.at_level(logging.INFO, "onnx2snn"):
        found, classes = opened(tmp_path, ("N", 3, 40, 60))
    assert classes.tolist() == labels
    assert np.allclose(
        found[2].transpose(1, 2, 0) * 255, np.asarray(Image.open(tmp_path / second / "a.png"))
    )
    assert f"'{first}'" in caplog.text
    assert "images are read as [N,C,H,W] of 40x60, RGB, 0 to 1" in caplog.text


@pytest.mark.parametrize(
    ("options", "shape", "said"),
    [
        ({"resize": 10, "crop": 20}, ("N", 3, "H", "W"), "a.png is 10x15 after --resize"),
        ({"crop": 20}, ("N", 3, 28, 28), "would be 20x20 .* takes 28x28"),
        ({"mean": [1, 2, 3]}, ("N", 1, 28, 28), "--mean has 3 numbers"),
        ({}, ("N", 3, "H", "W"), r"tell a size \(--crop\)"),
    ],
)
def test_a_look_that_does_not_fit_is_refused(
    options: dict[str, Any], shape: tuple[Any, ...], said: str, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=said):
        opened(tmp_path, shape, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"preset": "cifar"}, "image preset is 'cifar'"),
        ({"std": 0}, "std is 0; .* above 0"),
        ({"mean": [1, 2]}, "one number, or three"),
        ({"mean": float("nan")}, "mean is nan"),
        ({"resize": (1, 2, 3)}, "resize is"),
        ({"layout": "chwn"}, "layout is 'chwn'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        onnx2snn.images("folder", **options)
