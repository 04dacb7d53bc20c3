"""The files for stock servers on the page about deployment fit the models that are emitted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import onnx2snn

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
TYPES = {"TYPE_FP32": "tensor(float)", "TYPE_INT64": "tensor(int64)"}
Specs = dict[str, tuple[str, list[int]]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def named(config: str, field: str) -> Specs:
    """Return name -> type and dimensions of the entries of a field."""
    (inside,) = re.findall(rf"^{field} \[ (.*) \]$", config, re.MULTILINE)
    entry = r'name: "([^"]+)", data_type: (\w+), dims: \[ ?([\d, ]+?) ?\]'
    found = re.findall(entry, inside)
    return {name: (TYPES[kind], [*map(int, dims.split(","))]) for name, kind, dims in found}


def specs(values: list[Any], first: int) -> Specs:
    """Return the same of a session's inputs or outputs, from an axis on; free sizes are 1."""
    found = {}
    for value in values:
        dims = [dim if isinstance(dim, int) else 1 for dim in value.shape[first:]]
        found[value.name] = (value.type, dims)
    return found


@pytest.fixture(scope="module")
def emitted() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    data = rng.random((12, 1, 28, 28), np.float32)
    ann = ROOT / "models" / "fashion_resnet.onnx"
    return onnx2snn.convert(ann, data, method="max", preset="paper", timesteps=2, threads=1).model


def test_the_description_for_triton_is_that_of_the_rollout(emitted: onnx.ModelProto) -> None:
    (config,) = [block for block in blocks("text") if block.startswith('name: "fashion_resnet"')]
    rollout = onnx2snn.rollout(emitted, 2).SerializeToString()
    session = onnxruntime.InferenceSession(rollout)
    # the batch axis is Triton's own where max_batch_size is not 0
    assert named(config, "input") == specs(session.get_inputs(), 1)
    assert named(config, "output") == specs(session.get_outputs(), 1)
    assert session.get_inputs()[0].shape[0] == "batch"


def test_the_states_of_the_step_graph_are_states_of_a_sequence(
    emitted: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(emitted, "fashion_resnet.snn.onnx")
    (script,) = [block for block in blocks("python") if "sequence_batching" in block]
    exec(compile(script, "deploy.md", "exec"), {})
    config = Path("config.pbtxt").read_text(encoding="utf-8")
    session = onnxruntime.InferenceSession("fashion_resnet.snn.onnx")
    states = onnx2snn.SpikingSession(emitted).metadata["states"]
    pairs = re.findall(r'input_name: "([^"]+)", output_name: "([^"]+)"', config)
    assert pairs == [(state["input"], state["output"]) for state in states]
    entry = r'output_name: "[^"]+", data_type: TYPE_FP32, dims: \[([\d, ]+)\]'
    dims = [[*map(int, found.split(","))] for found in re.findall(entry, config)]
    inputs = specs(session.get_inputs(), 0)
    assert dims == [inputs[name][1] for name, _ in pairs]
    given = named(config, "input") | {name: inputs[name] for name, _ in pairs}
    assert given == inputs
    assert set(named(config, "output")) == {"logits"}


def test_the_service_for_kserve_is_yaml_that_names_triton() -> None:
    yaml = pytest.importorskip("yaml")
    (text,) = [block for block in blocks("text") if "InferenceService" in block]
    service = yaml.safe_load(text)
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == "kserve-tritonserver"
    assert model["modelFormat"]["name"] == "onnx"
