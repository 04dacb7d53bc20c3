"""docs/arrays.md holds every key of a dump, and its reader agrees spike for spike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.architectures import inputs_of, temporal
from helpers.networks import mlp, mobilenet, resnet
from numpy.typing import NDArray
from onnx import numpy_helper

import onnx2snn
from onnx2snn import SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.snn.dump import ARRAYS_FORMAT, DESCRIPTION, NodeEntry

Array = NDArray[Any]
Steps = Iterator[tuple[dict[str, Array], dict[str, Array]]]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "arrays.md").read_text(encoding="utf-8")
GRID = 2.0**-6
TIMESTEPS = 4

CODINGS: dict[str, dict[str, Any]] = {
    "differential": {"preset": "differential"},
    "two digits": {"preset": "differential", "digits": 2},
    "a digit": {"preset": "differential", "digits": 1},
    "weighted rate": {"coding": "rate", "sites": "weighted"},
    "rate": {"method": "max", "delay": 1},
    "signed and graded": {"method": "max", "neuron": "signed", "levels": 2, "delay": 0},
    "signed": {"method": "max", "neuron": "signed", "levels": 1, "delay": 0},
}
NETWORKS = {"mlp": mlp, "temporal": temporal, "mobilenet": mobilenet, "resnet": resnet}


@cache
def reader() -> Callable[[Path, dict[str, Array], int], Steps]:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(block, scope)
    steps: Callable[[Path, dict[str, Array], int], Steps] = scope["steps"]
    return steps


def on_a_grid(model: onnx.ModelProto) -> onnx.ModelProto:
    """A spiking model of weights in whole steps of 1/64 and scales that are powers of two.

    Sums of its products are exact in float32, whatever their order: two runtimes have to send the
    same spikes.
    """
    scales = {name for node in model.graph.node if node.op_type == "Mul" for name in node.input}
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32:
            continue
        if tensor.name in scales:
            exact = np.sign(values) * 2 ** np.round(np.log2(np.abs(values)))
        else:
            exact = np.round(values / GRID) * GRID
        tensor.CopyFrom(numpy_helper.from_array(exact.astype(np.float32), tensor.name))
    return model


def compare(model: onnx.ModelProto, x: Array, path: Path) -> tuple[int, int]:
    """Return how many spikes differ, and how many are not 0; answers are close at each step."""
    onnx2snn.dump(model).save(path)
    session = SpikingSession(model, schedule="stepped")
    feed = {session.inputs[0].name: x}
    differing = sent = 0
    found = reader()(path, feed, TIMESTEPS)
    for step, (outputs, spikes) in zip(session.steps(feed, TIMESTEPS), found, strict=True):
        assert set(spikes) == set(step.spikes)
        for name, wanted in step.spikes.items():
            differing += int(np.count_nonzero(spikes[name] != wanted))
            sent += int(np.count_nonzero(wanted))
        for value, answer in zip(outputs.values(), step.outputs, strict=True):
            np.testing.assert_allclose(value, answer, rtol=1e-4, atol=1e-4)
    return differing, sent


@pytest.mark.parametrize(
    ("network", "coding"),
    [
        *((network, coding) for network in NETWORKS for coding in ("differential", "rate")),
        *(("mlp", coding) for coding in list(CODINGS)[1:] if coding != "rate"),
    ],
)
def test_the_reader_sends_the_spikes_of_a_session(
    network: str, coding: str, tmp_path: Path
) -> None:
    ann = NETWORKS[network]()
    settings = Settings(timesteps=TIMESTEPS, **CODINGS[coding])
    model = on_a_grid(run_conversion(ann, inputs_of(ann, 12), settings).model)
    x = np.round(inputs_of(ann, 2, seed=5) / GRID) * GRID
    differing, sent = compare(model, x.astype(np.float32), tmp_path / "net.npz")
    assert differing == 0
    assert sent > 0


@pytest.mark.slow
def test_the_reader_sends_the_spikes_of_a_residual_network(tmp_path: Path) -> None:
    with np.load(ROOT / "models" / "fashion_calibration.npz") as file:
        data = file["input"][:10]
    settings = Settings(timesteps=TIMESTEPS, preset="differential")
    model = run_conversion(ROOT / "models" / "fashion_resnet.onnx", data, settings).model
    x = np.round(data[:1] / GRID) * GRID
    differing, sent = compare(on_a_grid(model), x, tmp_path / "net.npz")
    assert differing == 0
    assert sent > 10_000


def rows_behind(sentence: str) -> list[str]:
    """The names in the first cells of the table that follows a sentence."""
    _, _, rest = PAGE.partition(sentence)
    table = rest[rest.index("| key |") :].split("\n\n")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_key_has_a_row(tmp_path: Path) -> None:
    ann = mlp()
    data = inputs_of(ann, 8)
    neurons: set[str] = set()
    for coding in ("rate", "differential"):
        model = run_conversion(ann, data, Settings(timesteps=2, **CODINGS[coding])).model
        about = onnx2snn.dump(model).description
        step = SpikingSession(model).metadata
        assert set(rows_behind("with these in addition")) >= set(about) - set(step)
        assert set(step) <= set(about)
        rows = about["neurons"]
        assert isinstance(rows, list)
        neurons |= set(rows[0])
    named = {"name", "kind", "source", "spikes", "channels", "shape"}
    assert set(rows_behind("Each entry of `neurons`")) == neurons - named
    assert rows_behind("Each entry of `nodes`") == list(NodeEntry.__annotations__)
    assert f"`{DESCRIPTION}`" in PAGE
    assert f"the version of this page: {ARRAYS_FORMAT};" in PAGE


def test_the_reader_is_short() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for line in block.splitlines() if line and not line.strip().startswith('"""')]
    assert len(lines) <= 60
