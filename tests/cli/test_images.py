"""Options on images: they reach the data, and what is inferred is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import vgg
from PIL import Image

from onnx2snn.cli.commands import main


@pytest.fixture
def garments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and class folders of images, twice as large as it takes."""
    monkeypatch.chdir(tmp_path)
    onnx.save(vgg(), "vgg.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8)
    middles = pixels[:, None, 4:12, 4:12] / np.float32(255)
    x = ((middles - 0.5) / 0.25).astype(np.float32)
    (scores,) = ort.InferenceSession("vgg.onnx").run(None, {"input": x})
    for number, label in enumerate(scores.argmax(axis=1)):
        folder = Path("classes", str(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(folder / f"{number:02}.png")
    return tmp_path


def test_class_folders_are_converted_and_scored(
    garments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look = ["--resize", "16", "--crop", "8", "--mean", "0.5", "--std", "0.25"]
    convert = ["vgg.onnx", "-o", "v.onnx", "--preset", "differential"]
    assert main([*convert, "--calibration", "classes", *look]) == 0
    said = capsys.readouterr().err
    assert "images are read as [N,C,H,W] of 8x8, grey, 0 to 1; mean 0.5; std 0.25" in said
    assert "note: " in said
    score = ["eval", "vgg.onnx", "v.onnx", "--data", "classes", "--json", "-", "--quiet"]
    assert main([*score, *look]) == 0
    stdout, stderr = capsys.readouterr()
    assert "note: " not in stderr
    assert json.loads(stdout)["ann"] == {"top1": 1.0}
    run = ["run", "v.onnx", "--inputs", "classes", "-o", "out.npz", "--quiet", *look]
    assert main(run) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mean", "a"], "'a' is not one number or three"),
        (["--crop", "8x8x8", "--calibration", "classes"], "'8x8x8' is not a size"),
        (["--crop", "0", "--calibration", "classes"], "crop is 0"),
        (["--crop", "8"], "--crop is about images, but no path"),
        (["--std", "0,1,1", "--calibration", "classes"], "above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], said: str, garments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vgg.onnx", "-o", "v.onnx", *options]) == 2
    assert said in capsys.readouterr().err
    assert not Path("v.onnx").exists()
