"""Types of results, held against the dicts of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_type_hints

import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn import convert, evaluate
from onnx2snn.score.results import (
    AnnCost,
    CostedRow,
    EnergyResult,
    EvaluationResult,
    EvaluationRow,
    ExitResult,
    LayerCost,
    Scores,
    StepRow,
    StreamRow,
    metric_of,
    score_of,
)

METRIC = "agreement"


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    x = inputs_for("mlp", 20)
    snn = convert(mlp(), x, preset="differential", method="max", timesteps=4).model
    return evaluate(mlp(), snn, x, stream=True, exit_margin=0.5)


def keys_of(kind: type) -> set[str]:
    """The keys of a type, with the score of one metric."""
    hints = set(get_type_hints(kind))
    if "agreement" in hints:
        return hints - set(get_type_hints(Scores)) | {METRIC}
    return hints


def test_every_key_of_a_type_is_there_and_no_other(result: EvaluationResult) -> None:
    energy = result["energy"]
    pairs: list[tuple[Mapping[str, Any] | None, type]] = [
        (result, EvaluationResult),
        (result["snn"][0], EvaluationRow),
        (result["stream"][0], StreamRow),
        (result["exit"], ExitResult),
        (energy, EnergyResult),
        (energy["ann"], AnnCost),
        (energy["layers"][0], LayerCost),
        (energy["steps"][0], StepRow),
        (energy["sops90"], CostedRow),
    ]
    for found, kind in pairs:
        assert found is not None
        assert set(found) == keys_of(kind), kind


def test_a_score_is_read_by_the_name_of_its_metric(result: EvaluationResult) -> None:
    assert metric_of(result) == METRIC
    assert score_of(result["snn"][0], METRIC) == result["snn"][0]["agreement"]


def test_a_result_is_plain_json(result: EvaluationResult) -> None:
    read = json.loads(json.dumps(result))
    known = [
        "samples",
        "partial",
        "ann",
        "snn",
        "scored",
        "warnings",
        "energy",
        "stream",
        "seconds",
        "exit",
    ]
    assert list(read) == known
