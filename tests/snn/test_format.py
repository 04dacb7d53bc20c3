"""docs/format.md holds every name of the emitted file, and its minimal host runs one."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, resnet

from onnx2snn import SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.snn import format as emitted
from onnx2snn.snn.neurons import ATTRIBUTES, BY_OP

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
SECTIONS = {
    emitted.Metadata: '`metadata_props["onnx2snn"]` is one JSON object',
    emitted.StateEntry: "Each entry of `states`:",
    emitted.NeuronEntry: "Each entry of `neurons`:",
    emitted.PartsEntry: "The object `parts`:",
    emitted.RolloutMetadata: "holds one JSON object:",
}


def rows_behind(sentence: str) -> list[str]:
    """The first cells of the table that follows a sentence."""
    _, _, rest = PAGE.partition(sentence)
    table = rest[rest.index("| key |") :].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("described", SECTIONS)
def test_every_key_has_a_row(described: type) -> None:
    assert rows_behind(SECTIONS[described]) == list(typing.get_type_hints(described))


def test_every_neuron_state_and_attribute_is_specified() -> None:
    kinds = typing.get_args(emitted.StateKind)
    neurons = typing.get_args(emitted.NeuronOp)
    assert set(neurons) == set(BY_OP)
    for name in (*kinds, *neurons, *ATTRIBUTES):
        assert f"\n| `{name}` |" in PAGE, name
    for key in (emitted.METADATA_KEY, emitted.ROLLOUT_KEY):
        assert f'`metadata_props["{key}"]`' in PAGE
    assert f"`format` is {emitted.FORMAT} or {emitted.WEIGHTED_FORMAT}." in PAGE


def test_the_host_on_the_page_runs_a_model(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(block, scope)
    answers: Callable[..., list[dict[str, Any]]] = scope["answers"]
    settings = Settings(method="max", timesteps=6, delay=2, neuron="signed")
    model = run_conversion(resnet(), inputs_for("resnet", 20), settings).model
    path = tmp_path / "model.snn.onnx"
    onnx.save(model, path)
    feed = {"input": inputs_for("resnet", 2, seed=2)}
    found = answers(path, feed, 6)
    session = SpikingSession(path, schedule="stepped")
    for t, step in enumerate(session.steps(feed, timesteps=6), 1):
        for wanted, value in zip(step.outputs, found[t - 1].values(), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5)
