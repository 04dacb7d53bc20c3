"""Behaviour of evaluate and its metrics, held against separate runs and against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, inputs_for, mlp, resnet, segmenter
from numpy.typing import NDArray

import onnx2snn
from onnx2snn import (
    DataError,
    GateError,
    ModelFileError,
    SpikingSession,
    UsageError,
    convert,
    evaluate,
)
from onnx2snn.data.samples import open_samples
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.evaluate import EvaluationInterrupted
from onnx2snn.score.gates import Limits, require_passed, verdicts
from onnx2snn.settings import Settings

Array = NDArray[Any]
COUNT = 130  # more than one batch


def converted(name: str, **options: Any) -> onnx.ModelProto:
    return run_conversion(
        NETWORKS[name](), inputs_for(name, 200), Settings(method="max", **options)
    ).model


def answers(model: onnx.ModelProto, x: Array) -> Array:
    found: Array = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})[0]
    return found


@pytest.fixture(scope="module")
def snn() -> onnx.ModelProto:
    return converted("mlp")


@pytest.fixture(scope="module")
def labelled() -> dict[str, Array]:
    """Inputs with labels that the ANN gets right nine times of ten."""
    x = inputs_for("mlp", COUNT, seed=4)
    labels = answers(mlp(), x).argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 3
    return {"input": x, "labels": labels}


def test_the_result_has_the_shape_it_promises(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    result = evaluate(mlp(), snn, labelled, timesteps=[4, 16], delay=1)
    keys = {"samples", "partial", "ann", "snn", "energy", "warnings", "seconds", "scored"}
    assert set(result) == keys
    assert result["partial"] is False
    assert result["samples"] == COUNT
    assert result["ann"] == {"top1": 0.9}
    costs = {
        "spikes",
        "rate",
        "sops",
        "flops",
        "energy_j",
        "analog_j",
        "frames_per_joule",
        "ratio",
        "ratio_with_analog",
        "events",
        "heights",
        "payload_bits",
        "ratio_paper",
        "ratio_with_analog_paper",
        "ratio_horowitz",
        "ratio_with_analog_horowitz",
    }
    assert [set(row) for row in result["snn"]] == [
        {"timesteps", "delay", "top1", "drop", "drop_95", *costs}
    ] * 2
    assert [(row["timesteps"], row["delay"]) for row in result["snn"]] == [(4, 1), (16, 1)]


def test_accuracies_are_those_counted_by_hand(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    result = evaluate(mlp(), snn, labelled, timesteps=[4, 16], delay="half")
    session = SpikingSession(snn)
    for row in result["snn"]:
        halves = [labelled["input"][:100], labelled["input"][100:]]
        logits = [
            session.run(None, {"input": x}, row["timesteps"], row["timesteps"] // 2)[0]
            for x in halves
        ]
        assert row["top1"] == np.mean(np.concatenate(logits).argmax(axis=1) == labelled["labels"])


@pytest.mark.parametrize("delay", [None, 0, "half", "auto"])
def test_several_times_in_one_pass_equal_separate_passes(
    delay: Any, snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    times = [8, 2, 32]
    together = evaluate(mlp(), snn, labelled, timesteps=times, delay=delay)["snn"]
    assert together == [
        evaluate(mlp(), snn, labelled, timesteps=[t], delay=delay)["snn"][0] for t in times
    ]


def test_times_and_delay_default_to_the_models_own(labelled: dict[str, Array]) -> None:
    (row,) = evaluate(mlp(), converted("mlp", timesteps=12, delay=5), labelled)["snn"]
    assert (row["timesteps"], row["delay"]) == (12, 5)


def test_without_labels_the_metric_is_agreement(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    x = labelled["input"]
    result = evaluate(mlp(), snn, x, timesteps=[16], delay=0)
    (found,) = SpikingSession(snn).run(None, {"input": x}, 16, 0)
    assert result["ann"] == {"agreement": 1.0}
    equal = np.mean(found.argmax(axis=1) == answers(mlp(), x).argmax(axis=1))
    assert result["snn"][0]["agreement"] == pytest.approx(equal, abs=1 / COUNT)


def test_agreement_can_be_asked_for_beside_labels(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    assert evaluate(mlp(), snn, labelled, metric="agreement")["ann"] == {"agreement": 1.0}


@pytest.mark.parametrize("limit", [1, 100, 101, 1000])
def test_a_limit_takes_the_first_samples(
    limit: int, snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    count = min(limit, COUNT)
    first = {key: value[:count] for key, value in labelled.items()}
    limited = evaluate(mlp(), snn, labelled, limit=limit, timesteps=[8])
    assert limited["samples"] == count
    assert limited["snn"] == evaluate(mlp(), snn, first, timesteps=[8])["snn"]


def test_a_model_of_fixed_batch_is_scored_on_every_sample_once() -> None:
    x = inputs_for("resnet", 7, seed=4)
    labels = answers(resnet(), x).argmax(axis=1)
    fixed = resnet(batch=4)  # the last batch is filled up
    snn = run_conversion(fixed, inputs_for("resnet", 40), Settings(method="max")).model
    result = evaluate(fixed, snn, {"input": x, "labels": labels}, timesteps=[64])
    assert result["samples"] == 7
    assert result["ann"] == {"top1": 1.0}
    assert round(result["snn"][0]["top1"] * 7, 9) in range(5, 8)


def test_a_file_serves_as_model_and_data(
    snn: onnx.ModelProto, labelled: dict[str, Array], tmp_path: Path
) -> None:
    onnx.save(mlp(), tmp_path / "ann.onnx")
    onnx.save(snn, tmp_path / "snn.onnx")
    np.savez(tmp_path / "data.npz", input=labelled["input"], labels=labelled["labels"])
    found = evaluate(
        tmp_path / "ann.onnx", tmp_path / "snn.onnx", tmp_path / "data.npz", timesteps=[4]
    )
    assert found["snn"] == evaluate(mlp(), snn, labelled, timesteps=[4])["snn"]


def test_progress_ends_with_the_last_sample(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    said: list[tuple[str, int, int]] = []
    evaluate(mlp(), snn, labelled, timesteps=[2], progress=lambda *told: said.append(told))
    assert said == [("evaluating", 100, COUNT), ("evaluating", COUNT, COUNT)]


def test_another_source_is_a_warning(snn: onnx.ModelProto, labelled: dict[str, Array]) -> None:
    assert evaluate(mlp(), snn, labelled, timesteps=[2])["warnings"] == []
    (text,) = evaluate(mlp(seed=1), snn, labelled, timesteps=[2])["warnings"]
    assert "made from another file" in text


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"metric": "top5000"}, UsageError, "metric is 'top5000'; it has to be one of top1, top5"),
        ({"limit": 0}, UsageError, "limit is 0"),
        ({"timesteps": [4, 0]}, UsageError, "timesteps is 0"),
        ({"timesteps": ["4"]}, UsageError, "timesteps is '4'"),
        ({"timesteps": 4}, UsageError, "timesteps is 4; it has to be a list"),
        ({"limit": "3"}, UsageError, "limit is '3'"),
        ({"threads": 0.5}, UsageError, "threads is 0.5"),
        ({"metric": 5}, UsageError, "metric is '5'"),
        ({"timesteps": [4, 8], "delay": 4}, UsageError, "delay is 4"),
        ({"snn": mlp()}, ModelFileError, "not a spiking model"),
        ({"ann": resnet(), "data": inputs_for("resnet", 2)}, UsageError, "made from another model"),
        ({"data": {"input": inputs_for("mlp", 2)}, "metric": "top1"}, DataError, "'labels'"),
        (
            {"data": {"input": inputs_for("mlp", 2), "labels": np.zeros((2, 2))}},
            DataError,
            "labels \\[N\\]",
        ),
    ],
)
def test_what_cannot_be_scored_is_an_error(
    options: dict[str, Any],
    error: type[Exception],
    named: str,
    snn: onnx.ModelProto,
    labelled: dict[str, Array],
) -> None:
    given: dict[str, Any] = {"ann": mlp(), "snn": snn, "data": labelled} | options
    with pytest.raises(error, match=named):
        evaluate(**given)


@pytest.mark.parametrize("batch", ["batch", 2])
def test_an_output_without_a_batch_axis_is_scored(batch: int | str) -> None:
    model = mlp()
    shape = [batch, 10]
    model.graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)
    )
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["logits"], ["mean"], keepdims=0))
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [])
    )
    x = inputs_for("mlp", 4)
    made = run_conversion(model, x, Settings(method="max", timesteps=64)).model
    assert evaluate(model, made, x)["snn"][0]["agreement"] > 0.9


def test_a_number_of_delay_leaves_out_the_times_it_leaves_no_step_of(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    steps = evaluate(mlp(), snn, labelled, timesteps=[9], delay=4)["energy"]["steps"]
    assert [row["timesteps"] for row in steps] == [5, 6, 7, 8, 9]


def test_a_model_of_several_outputs_is_scored_on_the_one_that_fits(
    labelled: dict[str, Array],
) -> None:
    model = mlp()
    model.graph.node.append(
        onnx.helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0)
    )
    model.graph.output.insert(
        0, onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, ["batch"])
    )
    made = run_conversion(model, inputs_for("mlp", 200), Settings(method="max", timesteps=32)).model
    assert evaluate(model, made, labelled)["ann"] == {"top1": 0.9}


def test_data_that_comes_in_batches_is_scored_as_a_whole(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    def batches() -> Any:
        for start in range(0, COUNT, 7):
            yield {key: value[start : start + 7] for key, value in labelled.items()}

    streamed = evaluate(mlp(), snn, batches, timesteps=[8])
    assert streamed["samples"] == COUNT
    assert streamed["snn"] == evaluate(mlp(), snn, labelled, timesteps=[8])["snn"]


def test_a_batch_of_a_wrong_shape_is_named(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    batches = [labelled["input"][:4], labelled["input"][4:8, :9]]
    with pytest.raises(
        DataError, match=r"'input' in batch 1 of the data has shape \[4,9\], but the model takes"
    ):
        evaluate(mlp(), snn, batches)


def test_no_more_samples_are_read_at_a_time_than_are_simulated(
    snn: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "input.npy", inputs_for("mlp", 1000))
    read: list[int] = []
    with open_samples(tmp_path / "input.npy", SpikingSession(snn).inputs) as samples:
        original = samples.batch

        def batch(indices: Any) -> dict[str, Array]:
            read.append(len(np.ravel(indices)))
            return original(indices)

        monkeypatch.setattr(samples, "batch", batch)
        assert evaluate(mlp(), snn, samples, timesteps=[2])["samples"] == 1000
    assert max(read) == 100


def test_a_regression_is_scored_by_its_error(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    x = labelled["input"]
    wanted = answers(mlp(), x) + 0.5
    found: Any = evaluate(
        mlp(), snn, {"input": x, "labels": wanted}, metric="mse", timesteps=[16], delay=0
    )
    assert found["ann"]["mse"] == pytest.approx(0.25, rel=1e-5)
    outputs = Simulation(snn).run_at({"input": x}, [(16, 0)])[0][0]
    (row,) = found["snn"]
    assert row["mse"] == pytest.approx(np.mean((outputs - wanted) ** 2), rel=0.05)
    assert row["drop"] == pytest.approx((row["mse"] - 0.25) / 0.25, rel=1e-4)
    assert row["drop_95"][0] < row["drop"] < row["drop_95"][1]


def test_a_script_is_a_metric(
    snn: onnx.ModelProto, labelled: dict[str, Array], tmp_path: Path
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "def right(outputs, labels):\n    return outputs[0].argmax(axis=1) == labels\n"
    )
    name = onnx2snn.script(f"{script}:right")
    found: Any = evaluate(mlp(), snn, labelled, metric=name, timesteps=[4, 8])
    wanted = evaluate(mlp(), snn, labelled, metric="top1", timesteps=[4, 8])
    assert found["ann"][name] == wanted["ann"]["top1"]
    assert [row[name] for row in found["snn"]] == [row["top1"] for row in wanted["snn"]]
    assert [row["drop_95"] for row in found["snn"]] == [row["drop_95"] for row in wanted["snn"]]
    for wrong, said in (
        (f"{script}:left", "has no function 'left'"),
        (f"{tmp_path}/no.py:right", "does not exist"),
    ):
        with pytest.raises(DataError, match=said):
            evaluate(mlp(), snn, labelled, metric=onnx2snn.script(wrong))
    with pytest.raises(UsageError, match=r"would run code: give onnx2snn\.script"):
        evaluate(mlp(), snn, labelled, metric=str(name))


def test_a_segmentation_is_scored_by_masks() -> None:
    x = inputs_for("segmenter", 30)
    masks = answers(segmenter(), x).argmax(axis=1)
    made = run_conversion(segmenter(), x, Settings(method="max", delay=0)).model
    found: Any = evaluate(segmenter(), made, {"input": x, "masks": masks}, timesteps=[4, 128])
    assert found["ann"] == {"miou": 1.0}
    assert found["snn"][0]["miou"] < found["snn"][1]["miou"] > 0.7
    assert all(row["drop_95"][0] <= row["drop"] <= row["drop_95"][1] for row in found["snn"])


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_keeps_the_batches_that_are_done(
    snn: onnx.ModelProto, labelled: dict[str, Array]
) -> None:
    with pytest.raises(EvaluationInterrupted) as stopped:
        evaluate(mlp(), snn, labelled, timesteps=[4, 8], progress=interrupt)
    result, whole = (
        stopped.value.result,
        evaluate(mlp(), snn, labelled, timesteps=[4, 8], limit=100),
    )
    assert result["partial"] is True
    assert result["samples"] == 100
    for key in ("ann", "snn", "energy"):
        assert result[key] == whole[key]


def test_an_interrupt_before_anything_is_scored_has_no_result(
    snn: onnx.ModelProto, labelled: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Simulation, "answers", interrupt)
    with pytest.raises(KeyboardInterrupt) as stopped:
        evaluate(mlp(), snn, labelled)
    assert not isinstance(stopped.value, EvaluationInterrupted)


# --- the gate ---


def result(ann: float, *scores: tuple[int, float]) -> dict[str, Any]:
    return {
        "ann": {"top1": ann},
        "snn": [{"timesteps": t, "top1": s, "drop": ann - s} for t, s in scores],
    }


@pytest.mark.parametrize(
    ("found", "max_drop", "passes"),
    [
        (result(0.9, (8, 0.5), (32, 0.895)), 1.0, True),  # the largest T counts
        (result(0.9, (32, 0.895), (8, 0.5)), 1.0, True),
        (result(0.9, (32, 0.88)), 1.0, False),
        (result(0.75, (32, 0.5)), 25.0, True),
        (result(0.75, (32, 0.5)), 24.9, False),
        (result(0.9, (32, 0.95)), 0.0, True),
    ],
)
def test_the_gate_is_in_percentage_points_at_the_largest_time(
    found: dict[str, Any], max_drop: float, passes: bool
) -> None:
    gates = verdicts(found, Limits(max_drop=max_drop))
    if passes:
        require_passed(gates)
    else:
        with pytest.raises(GateError, match=r"top1 drops by \d+\.\d\d percentage points at T = 32"):
            require_passed(gates)


@pytest.mark.parametrize(
    ("batch", "dtype", "said"),
    [
        (4, np.float32, r"input float32\[4,2,8,8\] against input float32\[batch,2,8,8\]"),
        ("batch", np.float16, r"input float16\[batch,2,8,8\] against input float32"),
    ],
)
def test_an_ann_of_other_shapes_or_types_is_refused(
    batch: int | str, dtype: type, said: str
) -> None:
    x = inputs_for("resnet", 4)
    snn = convert(resnet(), x, method="max", timesteps=8).model
    with pytest.raises(UsageError, match=said):
        evaluate(resnet(0, dtype, batch=batch), snn, {"input": x.astype(dtype)})


def test_an_ann_of_other_outputs_is_refused() -> None:
    x = inputs_for("mlp", 4)
    other = mlp()
    other.graph.output[0].name = other.graph.node[-1].output[0] = "scores"
    with pytest.raises(
        UsageError, match=r"scores float32\[batch,3\] against logits float32\[batch,3\]"
    ):
        evaluate(other, convert(mlp(), x, method="max", timesteps=8).model, {"input": x})
