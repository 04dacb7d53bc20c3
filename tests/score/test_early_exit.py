"""Early exit, in sessions and in evaluations, held against the answers of all steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for, mlp
from numpy.typing import NDArray

from onnx2snn import GateError, SpikingSession, UsageError, convert, evaluate
from onnx2snn.protos.sessions import open_session
from onnx2snn.runtime.early_exit import margins

Array = NDArray[Any]
COUNT, STEPS = 120, 5
"""More samples than a batch has."""


@pytest.fixture(scope="module")
def snn() -> onnx.ModelProto:
    samples = inputs_for("mlp", 100)
    return convert(mlp(), samples, preset="differential", start="zero", threads=1).model


@pytest.fixture(scope="module")
def labelled() -> dict[str, Array]:
    x = inputs_for("mlp", COUNT, seed=4)
    (scores,) = open_session(mlp(), 1).run(None, {"input": x})
    return {"input": x, "labels": scores.argmax(axis=1)}


def by_definition(snn: onnx.ModelProto, x: Array, margin: float) -> tuple[Array, Array]:
    """Each sample's answer and step, from the answers of all steps."""
    session = SpikingSession(snn, threads=1)
    answers = np.array([session.run(None, {"input": x}, t)[0] for t in range(1, STEPS + 1)])
    powers = np.exp(answers.astype(np.float64))
    ordered = np.sort(powers / powers.sum(axis=2, keepdims=True), axis=2)
    apart = ordered[..., -1] - ordered[..., -2]
    best = answers.argmax(axis=2)
    steps = np.full(len(x), STEPS)
    for index in range(len(x)):
        for t in range(2, STEPS + 1):
            stays = best[t - 1, index] == best[t - 2, index]
            if stays and apart[t - 1, index] >= margin:
                steps[index] = t
                break
    return answers[steps - 1, np.arange(len(x))], steps


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_a_sample_stops_when_its_answer_is_stable(
    snn: onnx.ModelProto, labelled: dict[str, Array], margin: float
) -> None:
    x = labelled["input"]
    wanted, steps = by_definition(snn, x, margin)
    session = SpikingSession(snn, threads=1)
    (found,) = session.run(None, {"input": x}, STEPS, exit_margin=margin)
    np.testing.assert_array_equal(session.exit_steps(), steps)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    result = evaluate(mlp(), snn, labelled, timesteps=[STEPS], exit_margin=margin, threads=1)
    early = result["exit"]
    assert early["margin"] == margin
    assert early["mean_timesteps"] == pytest.approx(steps.mean())
    counts = np.bincount(steps, minlength=STEPS + 1)[1:]
    assert list(early["histogram"].values()) == counts.tolist()
    assert early["top1"] == np.mean(wanted.argmax(axis=1) == labelled["labels"])
    (row,) = result["snn"]
    assert early["sops"] <= row["sops"] * (1 + 1e-9)
    if margin == 1.0:
        assert early["sops"] == pytest.approx(row["sops"])
        assert early["spikes"] == pytest.approx(row["spikes"])


def test_auto_is_the_smallest_margin_that_loses_little(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    held_back = {name: values[:40] for name, values in labelled.items()}
    options: dict[str, Any] = {"timesteps": [STEPS], "energy": False, "threads": 1}
    found = evaluate(
        mlp(), snn, labelled, exit_margin="auto", exit_data=held_back, exit_loss=1.0, **options
    )["exit"]
    (whole,) = SpikingSession(snn, threads=1).run(None, {"input": held_back["input"]}, STEPS)
    right = np.mean(whole.argmax(axis=1) == held_back["labels"])

    def lost(margin: float) -> float:
        answers, _ = by_definition(snn, held_back["input"], margin)
        return 100 * float(right - np.mean(answers.argmax(axis=1) == held_back["labels"]))

    assert lost(found["margin"]) <= 1.0
    if found["margin"] > 0:
        assert lost(found["margin"] - 0.01) > 1.0
    assert 2 <= found["mean_timesteps"] <= STEPS


def test_probabilities_are_taken_as_they_are() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]])
    np.testing.assert_allclose(margins(scores), [0.5, 0.0])
    logits = np.array([[2.0, 0.0], [1000.0, 0.0]])
    np.testing.assert_allclose(margins(logits), [np.tanh(1.0), 1.0])


def test_what_early_exit_cannot_be_of_is_refused(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    for margin in (-0.1, 1.5, "much"):
        with pytest.raises(UsageError, match="has to be a number from 0 to 1"):
            evaluate(mlp(), snn, labelled, exit_margin=margin)
    with pytest.raises(UsageError, match="needs data to choose it on"):
        evaluate(mlp(), snn, labelled, exit_margin="auto")
    session = SpikingSession(snn, threads=1)
    with pytest.raises(UsageError, match="no sample has stopped early"):
        session.exit_steps()
    x = inputs_for("segmenter", 4)
    pixels = convert(NETWORKS["segmenter"](), x, preset="differential", threads=1).model
    with pytest.raises(UsageError, match="needs one output of class scores"):
        SpikingSession(pixels, threads=1).run(None, {"input": x}, exit_margin=0.5)
    with pytest.raises(UsageError, match="early exit needs a scored output of class scores"):
        evaluate(NETWORKS["segmenter"](), pixels, x, exit_margin=0.5)


def test_a_loss_that_no_margin_keeps_to_is_a_gate(
    snn: onnx.ModelProto, labelled: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnx2snn.score.early_exit.CANDIDATES", np.zeros(0))
    with pytest.raises(GateError, match="no exit margin loses at most 1 points"):
        evaluate(mlp(), snn, labelled, exit_margin="auto", exit_data=labelled, exit_loss=1)
