"""Evaluation of a stream, held against the session's own and against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp
from numpy.typing import NDArray

from onnx2snn import GateError, SpikingSession, UsageError, convert, evaluate
from onnx2snn.cli.commands import main
from onnx2snn.protos.sessions import open_session
from onnx2snn.score.gates import Limits, require_passed, verdicts

Array = NDArray[Any]
FRAMES = 12


@pytest.fixture(scope="module")
def snn() -> onnx.ModelProto:
    return convert(mlp(), inputs_for("mlp", 100), preset="differential", threads=1).model


@pytest.fixture(scope="module")
def scenes() -> dict[str, Array]:
    """Frames that move from one sample to the other, labelled by the ANN."""
    ends = inputs_for("mlp", 2, seed=4)
    share = np.linspace(0, 1, FRAMES, dtype=np.float32)
    share = share.reshape(-1, *[1] * (ends.ndim - 1))
    frames = (1 - share) * ends[0] + share * ends[1]
    (scores,) = open_session(mlp(), 1).run(None, {"input": frames})
    return {"input": frames, "labels": scores.argmax(axis=1)}


def test_a_stream_is_scored_beside_resetting_each_time(
    snn: onnx.ModelProto, scenes: dict[str, Array]
) -> None:
    alone = evaluate(mlp(), snn, scenes, timesteps=[1, 3], threads=1)
    result = evaluate(mlp(), snn, scenes, timesteps=[1, 3], threads=1, stream=True)
    rows = result.pop("stream")
    assert result["snn"] == alone["snn"]
    session = SpikingSession(snn, count_activity=True, threads=1)
    for row, reset in zip(rows, result["snn"], strict=True):
        t = row["timesteps"]
        assert t == reset["timesteps"]
        right: list[bool] = []
        spikes: list[float] = []
        for (scores,) in session.stream(scenes["input"], t):
            right.append(bool(scores.argmax() == scenes["labels"][len(right)]))
            spikes.append(sum(float(counts.sum()) for counts in session.activity().values()))
        assert row["top1"] == np.mean(right)
        assert row["drop"] == 1 - row["top1"]
        assert row["drop_95"] is None
        assert row["spikes"] == pytest.approx(np.mean(spikes))
        assert row["flops"] == reset["flops"]
        assert row["sops_of_reset"] == pytest.approx(row["sops"] / reset["sops"])
    assert rows[-1]["sops"] < 0.6 * result["snn"][-1]["sops"]


def test_agreement_and_no_energy(snn: onnx.ModelProto, scenes: dict[str, Array]) -> None:
    frames = {"input": scenes["input"]}
    result = evaluate(mlp(), snn, frames, timesteps=[2], energy=False, threads=1, stream=True)
    (row,) = result["stream"]
    assert set(row) == set(result["snn"][0])
    (wanted,) = open_session(mlp(), 1).run(None, frames)
    stream = SpikingSession(snn, threads=1).stream(scenes["input"], 2)
    found = np.concatenate([scores for (scores,) in stream])
    assert row["agreement"] == np.mean(found.argmax(axis=1) == wanted.argmax(axis=1))
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert row["relative_error"] == pytest.approx(error, rel=1e-4)


def test_the_gate_is_about_the_stream() -> None:
    rows = {"ann": {"top1": 0.9}, "snn": [{"timesteps": 2, "drop": 0.0}]}
    require_passed(verdicts(rows, Limits(max_drop=1)))
    with pytest.raises(GateError, match="drops by 5"):
        streamed = {**rows, "stream": [{"timesteps": 2, "drop": 0.05}]}
        require_passed(verdicts(streamed, Limits(max_drop=1)))


def test_rate_coding_has_no_streams(scenes: dict[str, Array]) -> None:
    rate = convert(mlp(), inputs_for("mlp", 20), method="max", timesteps=4, preset="paper").model
    with pytest.raises(UsageError, match="streams need a spiking model of differential coding"):
        evaluate(mlp(), rate, scenes, stream=True)


def test_the_command_shows_both(
    scenes: dict[str, Array], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(mlp(), tmp_path / "ann.onnx")
    np.savez(tmp_path / "data.npz", input=scenes["input"], labels=scenes["labels"])
    made = [str(tmp_path / "ann.onnx"), "-o", str(tmp_path / "snn.onnx")]
    calibration = ["--calibration", str(tmp_path / "data.npz"), "--preset", "differential"]
    assert main([*made, *calibration, "--threads", "1"]) == 0
    paths = [str(tmp_path / name) for name in ("ann.onnx", "snn.onnx")]
    options = ["--data", str(tmp_path / "data.npz"), "--stream", "--threads", "1"]
    assert main(["eval", *paths, *options]) == 0
    shown = capsys.readouterr().err
    assert "as a stream: a frame goes on from the one before" in shown
    assert "of reset" in shown
