"""What an answer costs, held against the paper's own figures and against arithmetic."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp, resnet
from numpy.typing import NDArray

from onnx2snn import SpikingSession, UsageError, evaluate
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.score.energy import Prices, Spikes, Tally, sops_at
from onnx2snn.score.registry import METRICS
from onnx2snn.score.synapses import Wiring
from onnx2snn.settings import Settings

Array = NDArray[Any]


def test_the_papers_resnet34_comes_out() -> None:
    """Appendix F: 3.66 GFLOPs, SOPs90 of 20.86 G: 21.9 and 622.6 frames a joule, ratio of 28.5."""
    ann, snn = Prices().ann(3.66e9), Prices().snn(20.86e9, 0.0, 3.66e9)
    assert ann["frames_per_joule"] == pytest.approx(21.9, abs=0.1)
    assert snn["frames_per_joule"] == pytest.approx(622.6, abs=0.1)
    assert snn["ratio"] == pytest.approx(28.5, abs=0.1)


def test_operations_beside_the_spikes_have_their_own_price() -> None:
    found = Prices(sop=2.0, flop=3.0).snn(sops=10.0, flops=4.0, ann_flops=100.0)
    assert (found["energy_j"], found["analog_j"]) == (20.0, 12.0)
    assert (found["ratio"], found["ratio_with_analog"]) == (15.0, 300 / 32)


def test_the_ratios_at_both_pairs_of_constants_are_told_whatever_the_prices() -> None:
    found = Prices(sop=2.0, flop=3.0).snn(sops=10.0, flops=4.0, ann_flops=100.0)
    assert found["ratio_paper"] == pytest.approx(1250 / 0.77)
    assert found["ratio_with_analog_paper"] == pytest.approx(1250 / (0.77 + 50))
    assert found["ratio_horowitz"] == pytest.approx(460 / 9)
    assert found["ratio_with_analog_horowitz"] == pytest.approx(460 / (9 + 18.4))


@pytest.mark.parametrize(
    ("neuron", "levels", "bits"),
    [("if", 1, 1.0), ("signed", 1, np.log2(3)), ("if", 3, 2.0), ("signed", 3, np.log2(5))],
)
def test_spikes_have_a_number_and_a_height(neuron: str, levels: int, bits: float) -> None:
    x = inputs_for("mlp", 8)
    settings = Settings(method="max", neuron=neuron, levels=levels, preset="paper")
    snn = run_conversion(mlp(), x, settings).model
    events = heights = 0.0
    for step in SpikingSession(snn).steps({"input": x}, timesteps=4):
        for spikes in step.spikes.values():
            events += np.count_nonzero(spikes) / 8
            heights += float(np.abs(spikes).sum()) / 8
    (row,) = cast(Any, evaluate(mlp(), snn, x, timesteps=[4])["snn"])
    assert row["events"] == pytest.approx(events)
    assert row["heights"] == row["spikes"] == pytest.approx(heights)
    assert row["payload_bits"] == pytest.approx(events * bits)


def test_a_silent_network_has_no_ratio() -> None:
    assert Prices().snn(0.0, 0.0, 1e6)["ratio"] is None


@pytest.mark.parametrize("price", [0.0, -1e-15, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["sop_joules", "flop_joules"])
def test_a_price_is_a_positive_number(name: str, price: float) -> None:
    with pytest.raises(UsageError, match=f"{name} is {price:g}"):
        evaluate(mlp(), b"", {}, **cast(Any, {name: price}))


def test_a_tally_is_a_mean_over_samples_of_every_layer() -> None:
    tally = Tally(
        Wiring(
            {"a": np.array([3.0, 1.0]), "b": np.array([2.0])}, encoder=100.0, step=10.0, readout=1.0
        )
    )
    for activity in (
        {"a": [[1, 2], [0, 4], [9, 9]], "b": [[1], [1], [9]]},
        {"a": [[1, 1]], "b": [[0]]},
    ):
        arrays = {site: np.array(values, np.float32) for site, values in activity.items()}
        count = min(2, len(arrays["a"]))  # the third sample only fills a fixed batch up
        spikes = Spikes(arrays, arrays, arrays)
        tally.add(count, {4: tally.measure(spikes, len(arrays["a"]), count)})
    a, b = tally.layers(4)
    assert (a["spikes"], a["sops"]) == (9 / 3, (3 + 2 + 0 + 4 + 3 + 1) / 3)
    assert (b["spikes"], b["sops"]) == (2 / 3, 4 / 3)
    assert a["rate"] == 9 / 3 / 2 / 4
    row = tally.row(4, Prices(), 1e6)
    assert row["sops"] == pytest.approx(17 / 3)
    assert row["flops"] == 100 + 4 * 10 + 1
    assert row["rate"] == pytest.approx(11 / 3 / 3 / 4)


@pytest.mark.parametrize(
    ("scores", "percent", "expected"),
    [
        ({4: 0.5, 2: 0.1, 8: 0.9, 16: 0.7}, 90, 8),  # whatever comes after
        ({4: 0.5, 2: 0.1, 8: 0.9, 16: 0.7}, 50, 4),
        ({4: 0.81}, 90, 4),
        ({4: 0.81}, 95, None),
    ],
)
def test_the_first_time_that_keeps_a_share_counts(
    scores: dict[int, float], percent: int, expected: int | None
) -> None:
    rows = [{"timesteps": t, "top1": score} for t, score in scores.items()]
    found = sops_at(percent, METRICS["top1"](), 0.9, rows, "top1")
    assert (found and found["timesteps"]) == expected


def test_an_error_is_kept_when_it_has_not_grown_over_the_share() -> None:
    rows = [{"timesteps": 1, "mse": 2.0}, {"timesteps": 2, "mse": 1.1}]
    found = sops_at(90, METRICS["mse"](), 1.0, rows, "mse")
    assert found == rows[1]


# --- in an evaluation ---


@pytest.fixture(scope="module")
def snn() -> onnx.ModelProto:
    return run_conversion(resnet(), inputs_for("resnet", 100), Settings(method="max")).model


@pytest.fixture(scope="module")
def result(snn: onnx.ModelProto) -> dict[str, Any]:
    found = evaluate(resnet(), snn, inputs_for("resnet", 60, seed=3), timesteps=[3, 24], delay=0)
    return cast(dict[str, Any], found)


def test_every_step_up_to_the_largest_is_scored_in_the_same_simulation(
    snn: onnx.ModelProto, result: dict[str, Any]
) -> None:
    steps = result["energy"]["steps"]
    assert [row["timesteps"] for row in steps] == list(range(1, 25))
    assert [row["sops"] for row in steps] == sorted(row["sops"] for row in steps)
    alone: Any = evaluate(resnet(), snn, inputs_for("resnet", 60, seed=3), timesteps=[7], delay=0)[
        "snn"
    ][0]
    assert {key: alone[key] for key in steps[6]} == steps[6]
    for row in result["snn"]:
        assert steps[row["timesteps"] - 1] == {key: row[key] for key in steps[0]}


def test_without_every_step_only_the_times_asked_for_are_scored(
    snn: onnx.ModelProto, result: dict[str, Any]
) -> None:
    data = inputs_for("resnet", 60, seed=3)
    found: Any = evaluate(resnet(), snn, data, timesteps=[3, 24], delay=0, every_step=False)
    steps = [row for row in result["energy"]["steps"] if row["timesteps"] in (3, 24)]
    assert found["energy"]["steps"] == steps
    reached = [row for row in steps if row["agreement"] >= 0.9]
    assert found["energy"]["sops90"]["timesteps"] == reached[0]["timesteps"]


def test_sops90_are_those_of_the_first_time_that_keeps_90_percent(result: dict[str, Any]) -> None:
    steps = result["energy"]["steps"]
    reached = [row for row in steps if row["agreement"] >= 0.9]
    assert result["energy"]["sops90"]["timesteps"] == reached[0]["timesteps"] > 1
    assert result["energy"]["sops90"]["sops"] == reached[0]["sops"]


def test_layers_add_up_to_the_last_row(result: dict[str, Any]) -> None:
    layers, last = result["energy"]["layers"], result["snn"][-1]
    assert [layer["site"] for layer in layers] == ["stem", "a1", "a2", "b1", "b2"]
    assert sum(layer["sops"] for layer in layers) == pytest.approx(last["sops"])
    assert sum(layer["spikes"] for layer in layers) == pytest.approx(last["spikes"])
    assert all(0 < layer["rate"] < 1 for layer in layers)


def test_prices_scale_the_energy(snn: onnx.ModelProto, result: dict[str, Any]) -> None:
    x = inputs_for("resnet", 60, seed=3)
    dear = evaluate(resnet(), snn, x, timesteps=[24], delay=0, sop_joules=1e-12, flop_joules=1e-10)
    (row,), before = dear["snn"], result["snn"][-1]
    assert row["sops"] == before["sops"]
    assert row["energy_j"] == pytest.approx(row["sops"] * 1e-12)
    assert dear["energy"]["ann"]["energy_j"] == pytest.approx(
        result["energy"]["ann"]["flops"] * 1e-10
    )
    assert row["ratio"] == pytest.approx(dear["energy"]["ann"]["energy_j"] / row["energy_j"])


def test_without_energy_nothing_of_it_is_told(snn: onnx.ModelProto, result: dict[str, Any]) -> None:
    plain = evaluate(
        resnet(), snn, inputs_for("resnet", 60, seed=3), timesteps=[3, 24], delay=0, energy=False
    )
    assert "energy" not in plain
    assert [set(row) for row in plain["snn"]] == [
        {"timesteps", "delay", "agreement", "relative_error", "drop", "drop_95"}
    ] * 2
    assert [row["agreement"] for row in plain["snn"]] == [row["agreement"] for row in result["snn"]]
