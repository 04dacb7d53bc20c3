"""The example networks in models/: what they are, how well they classify, and that they convert."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from onnx2snn import SpikingSession, convert

pytestmark = pytest.mark.slow

Array = NDArray[Any]

MODELS = Path(__file__).resolve().parents[2] / "models"
RELU = ("resnet", "vgg", "mobilenet")
"""Those that rate coding turns into spiking networks whole."""
MODERN = (
    "convnext",
    "vit",
    "mobilenetv3",
)
"""Those that take differential coding."""
NAMES = (*RELU, *MODERN)
ACCURACY = {
    "resnet": 0.92,
    "vgg": 0.92,
    "mobilenet": 0.90,
    "vit": 0.885,
    "convnext": 0.90,
    "mobilenetv3": 0.91,
}

OPERATORS: dict[str, dict[str, int]] = {
    "resnet": {"BatchNormalization": 15, "Conv": 15, "Relu": 13, "Add": 6, "MaxPool": 1, "Gemm": 1},
    "vgg": {"BatchNormalization": 5, "Conv": 5, "Relu": 6, "MaxPool": 3, "Dropout": 1, "Gemm": 2},
    "mobilenet": {"BatchNormalization": 17, "Conv": 17, "Clip": 12, "Add": 3, "Gemm": 1},
    "vit": {"LayerNormalization": 9, "MatMul": 24, "Softmax": 4, "Erf": 4, "Conv": 1, "Gemm": 1},
    "convnext": {"LayerNormalization": 8, "Conv": 7, "MatMul": 10, "Erf": 5, "Relu": 0, "Gemm": 1},
    "mobilenetv3": {
        "BatchNormalization": 16,
        "Conv": 26,
        "HardSwish": 12,
        "HardSigmoid": 5,
        "Relu": 5,
        "Gemm": 2,
    },
}


@cache
def model(name: str) -> onnx.ModelProto:
    return onnx.load(path(name))


def path(name: str) -> Path:
    return MODELS / f"fashion_{name}.onnx"


@cache
def data(name: str) -> dict[str, Array]:
    with np.load(MODELS / f"fashion_{name}.npz") as file:
        return dict(file)


@cache
def classes(name: str) -> Array:
    """The ANN's answers on the test images."""
    session = ort.InferenceSession(path(name))
    batches = np.array_split(data("test")["input"], 10)
    logits: Array = np.concatenate([session.run(None, {"input": x})[0] for x in batches])
    return np.asarray(logits.argmax(axis=1))


def accuracy(name: str) -> float:
    return float(np.mean(classes(name) == data("test")["labels"]))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_valid(name: str) -> None:
    onnx.checker.check_model(model(name), full_check=True)
    assert path(name).stat().st_size < 1.5e6


@pytest.mark.parametrize("name", NAMES)
def test_a_model_takes_any_batch(name: str) -> None:
    (given,) = model(name).graph.input
    assert given.name == "input"
    batch, *dims = given.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [d.dim_value for d in dims] == [1, 28, 28]
    for count in (1, 3):
        (logits,) = ort.InferenceSession(path(name)).run(
            ["logits"], {"input": np.zeros((count, 1, 28, 28), np.float32)}
        )
        assert logits.shape == (count, 10)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_holds_the_operators_that_exporters_write(name: str) -> None:
    found = Counter(node.op_type for node in model(name).graph.node)
    assert {op: found[op] for op in OPERATORS[name]} == OPERATORS[name]


def test_the_mobilenet_has_depthwise_convolutions_and_relu6() -> None:
    weights = {t.name: t for t in model("mobilenet").graph.initializer}
    depthwise = 0
    for node in model("mobilenet").graph.node:
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        depthwise += node.op_type == "Conv" and groups == weights[node.input[1]].dims[0] > 1
        if node.op_type == "Clip":
            assert [
                float(onnx.numpy_helper.to_array(weights[name])) for name in node.input[1:]
            ] == [0, 6]
    assert depthwise == 5


def test_the_convnext_has_depthwise_convolutions_of_seven_by_seven() -> None:
    weights = {t.name: list(t.dims) for t in model("convnext").graph.initializer}
    kernels = [
        weights[node.input[1]] for node in model("convnext").graph.node if node.op_type == "Conv"
    ]
    assert [kernel[1:] for kernel in kernels].count([1, 7, 7]) == 5


def test_the_mobilenetv3_squeezes_and_excites() -> None:
    """A hard sigmoid of the means of all channels scales each."""
    maker = {node.output[0]: node for node in model("mobilenetv3").graph.node}
    gated = [node for node in maker.values() if node.op_type == "Mul"]
    assert len(gated) == 5
    assert all(maker[node.input[1]].op_type == "HardSigmoid" for node in gated)


def test_the_test_images_are_balanced_and_normalised() -> None:
    images, labels = data("test")["input"], data("test")["labels"]
    assert images.shape == (2000, 1, 28, 28)
    assert images.dtype == np.float32
    assert np.array_equal(np.bincount(labels), np.full(10, 200))
    assert data("calibration")["input"].shape == (1000, 1, 28, 28)
    for x in (images, data("calibration")["input"]):
        pixels = (x * 0.3530 + 0.2860) * 255
        np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)
        assert pixels.min() > -0.5
        assert pixels.max() < 255.5


def test_no_image_serves_both_to_calibrate_and_to_test() -> None:
    seen = {image.tobytes() for image in data("calibration")["input"]}
    assert not any(image.tobytes() in seen for image in data("test")["input"])


@pytest.mark.parametrize("name", NAMES)
def test_a_model_classifies_well(name: str) -> None:
    assert accuracy(name) >= ACCURACY[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_tells_the_accuracy_and_size(name: str) -> None:
    (row,) = re.findall(
        rf"^\| `fashion_{name}.onnx`.*$", (MODELS / "README.md").read_text("utf-8"), re.MULTILINE
    )
    told = [float(figure) for figure in re.findall(r"([\d.]+) %", row)][-1]
    assert 100 * accuracy(name) == pytest.approx(told, abs=0.1)
    (size,) = re.findall(r"([\d.]+) MB", row)
    assert path(name).stat().st_size / 1e6 == pytest.approx(float(size), abs=0.01)


def test_the_folder_stays_small() -> None:
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 24e6


# so few mini-batches leave a deep network's thresholds unsettled
@pytest.mark.filterwarnings("ignore:the error of the outputs does not fall")
@pytest.mark.parametrize("name", RELU)
def test_a_quick_conversion_agrees_with_the_ann(name: str) -> None:
    if accuracy(name) < ACCURACY[name]:
        pytest.skip("the network does not have its final weights")
    images = data("calibration")["input"]
    snn = SpikingSession(
        convert(path(name), images[:300], iterations=60, batch_size=25, timesteps=32).model
    )
    chosen = np.arange(0, 2000, 10)  # 200 images
    (found,) = snn.run(None, {"input": data("test")["input"][chosen]}, timesteps=32)
    assert np.mean(found.argmax(axis=1) == classes(name)[chosen]) >= 0.85


@pytest.mark.parametrize("name", MODERN)
def test_four_steps_of_a_modern_network_say_what_the_ann_says(name: str) -> None:
    """Without a preset, and with every weighted operator driven by spikes."""
    images = data("calibration")["input"]
    conversion = convert(path(name), images[:200], encode_input=True, strict=True)
    chosen = np.arange(0, 2000, 10)  # 200 images
    snn = SpikingSession(conversion.model)
    (found,) = snn.run(None, {"input": data("test")["input"][chosen]}, timesteps=4)
    assert np.mean(found.argmax(axis=1) == classes(name)[chosen]) >= 0.95
