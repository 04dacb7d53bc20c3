"""The five scene networks in models/: what they are, how well they see, and that they convert."""

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
from onnx2snn.score.registry import metric_class

pytestmark = pytest.mark.slow

Array = NDArray[Any]

MODELS = Path(__file__).resolve().parents[2] / "models"
RELU = ("fcn", "deeplab", "retinanet", "fcos")
"""Those that rate coding turns into spiking networks all but whole."""
NAMES = (*RELU, "yolo")
OUTPUTS: dict[str, dict[str, list[int]]] = {
    "fcn": {"logits": [11, 128, 128]},
    "deeplab": {"logits": [11, 128, 128]},
    "retinanet": {"boxes": [960, 4], "scores": [960, 10]},
    "fcos": {"boxes": [320, 4], "scores": [320, 10]},
    "yolo": {"boxes": [336, 4], "scores": [336, 10]},
}
LARGEST_ERROR = {"fcn": 0.12, "deeplab": 0.12, "retinanet": 0.3, "fcos": 0.15}
LEAST = {"fcn": 0.70, "deeplab": 0.70, "retinanet": 0.35, "fcos": 0.35, "yolo": 0.60}


def path(name: str) -> Path:
    return MODELS / f"scene_{name}.onnx"


@cache
def model(name: str) -> onnx.ModelProto:
    return onnx.load(path(name))


@cache
def data(name: str) -> dict[str, Array]:
    with np.load(MODELS / f"scene_{name}.npz") as file:
        return dict(file)


@cache
def answers(name: str) -> list[Array]:
    """The ANN's on all test scenes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path(name), options)
    batches = [
        session.run(list(OUTPUTS[name]), {"input": x})
        for x in np.array_split(data("test")["input"], 10)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


@cache
def accuracy(name: str) -> float:
    """Mean intersection over union, or mean average precision, of the ANN."""
    metric = metric_class("miou" if "logits" in OUTPUTS[name] else "map")(list(OUTPUTS[name]))
    return metric.score(
        [metric.measure(answers(name), [data("test")[target] for target in metric.targets])]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_valid_and_takes_any_batch_of_pixels(name: str) -> None:
    onnx.checker.check_model(model(name), full_check=True)
    assert path(name).stat().st_size < 1.5e6
    (given,) = model(name).graph.input
    assert given.name == "input"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert given.type.tensor_type.shape.dim[0].dim_param
    for count in (1, 3):
        found = ort.InferenceSession(path(name)).run(
            list(OUTPUTS[name]), {"input": data("test")["input"][:count]}
        )
        assert [list(array.shape) for array in found] == [
            [count, *shape] for shape in OUTPUTS[name].values()
        ]


def test_each_model_has_what_its_architecture_is_known_for() -> None:
    count = {name: Counter(node.op_type for node in model(name).graph.node) for name in NAMES}
    assert all(found["Resize"] >= 1 and found["Add"] >= 5 for found in count.values())
    assert count["deeplab"]["GlobalAveragePool"] == 1
    rates = {
        a.ints[0]
        for node in model("deeplab").graph.node
        if node.name.startswith("aspp")
        for a in node.attribute
        if a.name == "dilations"
    }
    assert rates == {1, 2, 4}
    assert count["retinanet"]["Sigmoid"] == 1
    assert count["fcos"]["Sigmoid"] == 2
    assert count["fcos"]["InstanceNormalization"] == 4  # two towers over two levels
    for name in ("retinanet", "fcos"):
        (resize,) = (node for node in model(name).graph.node if node.op_type == "Resize")
        assert any(
            node.op_type == "Add" and resize.output[0] in node.input
            for node in model(name).graph.node
        )
        weights = [node.input[1] for node in model(name).graph.node if node.op_type == "Conv"]
        assert weights.count("class_score.weight") == weights.count("box_offset.weight") == 2


def test_the_yolo_has_silu_split_blocks_and_three_scales() -> None:
    """A SiLU behind each batch normalisation; SPPF's three pools; softmax over distances."""
    graph = model("yolo").graph
    count = Counter(node.op_type for node in graph.node)
    gated = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Sigmoid"}
    silu = [
        node
        for node in graph.node
        if node.op_type == "Mul" and gated.get(node.input[1]) == node.input[0]
    ]
    assert len(silu) == count["BatchNormalization"] == 53
    assert count["MaxPool"] == 3
    assert count["Resize"] == 2
    assert count["Softmax"] == 1
    assert count["Split"] == 9  # eight C2f blocks, and distances before and behind a place


@pytest.mark.parametrize("name", ["calibration", "test"])
def test_scenes_come_with_masks_and_boxes(name: str) -> None:
    found = data(name)
    shapes = {key: (list(array.shape), array.dtype.name) for key, array in found.items()}
    assert shapes == {
        "input": ([200, 1, 128, 128], "uint8"),
        "masks": ([200, 128, 128], "uint8"),
        "boxes": ([200, 6, 4], "float32"),
        "classes": ([200, 6], "int64"),
    }
    assert set(np.unique(found["masks"])) == {*range(11), 255}
    assert set(np.unique(found["classes"])) == set(range(-1, 10))
    assert (MODELS / f"scene_{name}.npz").stat().st_size < 5e6


def test_the_stream_comes_with_masks_and_boxes_and_its_frames_follow_one_another() -> None:
    found = data("stream")
    shapes = {key: (list(array.shape), array.dtype.name) for key, array in found.items()}
    assert shapes == {
        "input": ([128, 1, 128, 128], "uint8"),
        "masks": ([128, 128, 128], "uint8"),
        "boxes": ([128, 6, 4], "float32"),
        "classes": ([128, 6], "int64"),
    }
    assert (MODELS / "scene_stream.npz").stat().st_size < 1e6
    changed = np.mean(found["input"][1:] != found["input"][:-1], axis=(1, 2, 3))
    assert np.flatnonzero(changed > 0.5).tolist() == [31, 63, 95]  # four clips
    assert np.median(changed) < 0.25


def test_no_scene_serves_both_to_calibrate_and_to_test() -> None:
    seen = {scene.tobytes() for scene in data("calibration")["input"]}
    assert not any(scene.tobytes() in seen for scene in data("test")["input"])


@pytest.mark.parametrize("name", NAMES)
def test_a_model_sees_as_well_as_the_readme_tells(name: str) -> None:
    assert accuracy(name) >= LEAST[name]
    (row,) = re.findall(
        rf"^\| `scene_{name}.onnx`.*$", (MODELS / "README.md").read_text("utf-8"), re.MULTILINE
    )
    (told,) = re.findall(r"([\d.]+) %", row)
    assert 100 * accuracy(name) == pytest.approx(float(told), abs=0.1)
    (size,) = re.findall(r"([\d.]+) MB", row)
    assert path(name).stat().st_size / 1e6 == pytest.approx(float(size), abs=0.01)


@pytest.mark.filterwarnings("ignore:agreement with the ANN")  # that of the worst output
@pytest.mark.parametrize("name", RELU)
def test_a_quick_conversion_comes_close_to_the_ann(name: str) -> None:
    """Relative L2 error of each output on four scenes, fitted on twelve others."""
    made = convert(
        path(name), data("calibration")["input"][:12], preset="low-latency", timesteps=16, threads=1
    )
    analog = made.report.to_dict()["analog"]
    assert len(analog) == (4 if name == "fcos" else 0)  # its group normalisations
    found = SpikingSession(made.model, threads=1).run(
        list(OUTPUTS[name]), {"input": data("test")["input"][:4]}
    )
    for output, wanted in zip(found, answers(name), strict=True):
        error = np.linalg.norm(output - wanted[:4]) / np.linalg.norm(wanted[:4])
        assert 0 < error < LARGEST_ERROR[name]
