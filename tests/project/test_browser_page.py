"""The page of docs/browser stands alone, and runs in a browser where onnxruntime-web is at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder
from interop.browser import (
    CLOSE,
    PAGE,
    ROOT,
    RUNTIME,
    as_input,
    browser,
    differences,
    driven,
    put_page,
    runtime_folder,
)
from PIL import Image

from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings

NODE = os.environ.get("NODE_FOLDER")
WEB = runtime_folder(Path(NODE) if NODE else None)
TEXTS = {path.name: path.read_text("utf-8") for path in PAGE.iterdir() if path.suffix != ".png"}
NEEDED = {*RUNTIME, "model.snn.onnx", "model.rollout.onnx"}


def test_the_page_names_no_other_host() -> None:
    for name, text in TEXTS.items():
        assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text), name


def test_every_file_that_the_page_takes_is_there_or_on_the_page_about_it() -> None:
    taken = {
        name
        for text in TEXTS.values()
        for name in re.findall(r"[\"'(](?:\./)?([\w.-]+\.(?:js|png|onnx|mjs|wasm))[\"')]", text)
    }
    there = {path.name for path in PAGE.iterdir()}
    assert taken <= there | NEEDED
    about = (ROOT / "docs" / "browser.md").read_text("utf-8")
    for name in there | NEEDED:
        assert f"`{name}`" in about, name


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".js")])
def test_scripts_parse(name: str, tmp_path: Path) -> None:
    module = tmp_path / name.replace(".js", ".mjs")
    module.write_text(TEXTS[name], "utf-8")
    subprocess.run(["node", "--check", str(module)], check=True)


def test_the_garments_are_the_first_of_each_class_of_the_test_data() -> None:
    with np.load(ROOT / "models" / "fashion_test.npz") as data:
        first = [np.flatnonzero(data["labels"] == label)[0] for label in range(10)]
        wanted = data["input"][first]
    with Image.open(PAGE / "garments.png") as sheet:
        pixels = np.asarray(sheet)
    for index in range(10):
        garment = pixels[:, 28 * index : 28 * (index + 1)]
        found = as_input(garment.ravel().tolist())[0]
        np.testing.assert_allclose(found, wanted[index], atol=1e-3)


def small_network() -> onnx.ModelProto:
    """Two convolutions and a classifier of ten classes; input [batch,1,28,28]."""
    b = Builder(3)
    x = b.input("input", ["batch", 1, 28, 28])
    x = b.node("Relu", b.conv(x, 1, 4, strides=[2, 2]), name="c1")
    x = b.node("Relu", b.conv(x, 4, 6, strides=[2, 2]), name="c2")
    b.name_output(b.gemm(b.node("Flatten", x), 294, 10), "logits")
    return b.model({"logits": ["batch", 10]})


CODINGS: dict[str, dict[str, Any]] = {
    "differential": {"preset": "differential"},
    "rate": {"method": "max", "neuron": "signed", "delay": 0},
}


@pytest.mark.skipif(browser() is None, reason="no chromium on this machine")
@pytest.mark.skipif(WEB is None, reason="no onnxruntime-web below NODE_FOLDER")
@pytest.mark.parametrize("coding", CODINGS)
def test_the_page_answers_as_a_session_does(coding: str, tmp_path: Path) -> None:
    assert WEB is not None
    with np.load(ROOT / "models" / "fashion_calibration.npz") as data:
        images = data["input"][:20]
    model = run_conversion(small_network(), images, Settings(timesteps=4, **CODINGS[coding])).model
    put_page(tmp_path, model, WEB)
    told = driven(tmp_path, 4)
    assert "error" not in told, told["error"]
    assert max(differences(told, model)) <= CLOSE
    assert max(told["pixels"]) == 255  # the pen drew
    assert told["garment"] != told["pixels"]
    assert told["columns"] >= 1
    assert len(told["layers"]) == 2
    assert len(told["hosts"]) == 1
    assert told["trouble"] == ""
