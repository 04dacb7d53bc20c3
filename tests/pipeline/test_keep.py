"""Behaviour of `keep`: activations that are left as they are."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, assemble, inputs_for

from onnx2snn import SpikingSession, UsageError, convert

LEAKY = assemble(["leaky relu"])
"""Its LeakyRelu comes apart into two neurons."""


def model_of(name: str) -> onnx.ModelProto:
    return LEAKY if name == "leaky" else NETWORKS[name]()


def leaky_name() -> str:
    leaky = [node for node in LEAKY.graph.node if node.op_type == "LeakyRelu"]
    return str(leaky[0].name)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("resnet", ["a1"]),
        ("resnet", ["stem", "b1"]),
        ("vgg", ["c2"]),  # a max-pool moves in front of it
        ("mobilenet", ["expand", "depthwise"]),
        ("segmenter", ["d1"]),
        ("leaky", [leaky_name()]),
    ],
)
def test_what_lies_around_an_activation_that_is_kept_converts(name: str, kept: list[str]) -> None:
    ann = model_of(name)
    x = {"input": np.random.default_rng(1).standard_normal((20, 2, 6, 5)).astype(np.float32)}
    if name != "leaky":
        x = {"input": inputs_for(name, 20)}
    whole = convert(ann, x, method="max", delay=0)
    made = convert(ann, x, method="max", delay=0, keep=kept)
    session, plain = SpikingSession(made.model), SpikingSession(whole.model)
    sources = {neuron["source"] for neuron in plain.metadata["neurons"]}
    left = {neuron["source"] for neuron in session.metadata["neurons"]}
    assert left == sources - set(kept)
    assert session.metadata["settings"]["keep"] == kept
    wanted = np.asarray(ort.InferenceSession(ann.SerializeToString()).run(None, x)[0])
    found = session.run(None, x, 512)[0]
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", ["a3", "conv0", ""])
def test_a_name_that_is_no_neuron_site_is_refused_before_the_work(name: str) -> None:
    def never(_stage: str, _done: int, _total: int) -> None:
        raise AssertionError("work was done")

    with pytest.raises(UsageError, match=f"keep names '{name}', .* these are 'stem', 'a1'"):
        convert(NETWORKS["resnet"](), inputs_for("resnet", 20), keep=[name], progress=never)


def test_nothing_kept_changes_nothing() -> None:
    x = inputs_for("mlp", 20)
    plain = convert(NETWORKS["mlp"](), x, method="max")
    assert convert(NETWORKS["mlp"](), x, method="max", keep=[]).to_bytes() == plain.to_bytes()
