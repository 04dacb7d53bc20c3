"""Behaviour of onnx2snn.protos.large: models past protobuf's 2 GiB, as if it were less."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.networks import inputs_for, mlp, resnet, vgg
from helpers.stages import reference, relative

from onnx2snn import OutputError, SpikingSession, convert, evaluate
from onnx2snn.protos import large
from onnx2snn.protos.load import load_model
from onnx2snn.protos.save import save_model


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if messages could hold 3 kB, and weights were large from 100 bytes on."""
    monkeypatch.setattr(large, "LIMIT", 3000)
    monkeypatch.setattr(large, "HEAVY", 100)


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("opset", [13, 18])
def test_a_model_too_large_for_one_file_is_read_converted_written_and_run(
    opset: int, tmp_path: Path
) -> None:
    model = vgg()
    model.opset_import[0].version = opset
    path, target = tmp_path / "big.onnx", tmp_path / "big.snn.onnx"
    stored = onnx.ModelProto.FromString(model.SerializeToString())  # saving takes the weights out
    onnx.save_model(
        stored, path, save_as_external_data=True, location="big.data", size_threshold=100
    )
    x = inputs_for("vgg", 8)
    conversion = convert(path, x, method="max", timesteps=256, delay=0)
    assert large.byte_size(conversion.model) > large.LIMIT
    conversion.save(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "big.data",
        "big.onnx",
        "big.snn.onnx",
        "big.snn.onnx.data",
    ]
    assert target.stat().st_size < large.byte_size(conversion.model) - 3000
    (wanted,) = reference(model, {"input": x})
    found = SpikingSession(target, onnxruntime.SessionOptions()).run(None, {"input": x})
    assert relative(found[0], wanted) < 0.05
    stepped = onnxruntime.InferenceSession(target)  # stock onnxruntime reads the two files as well
    states = {i.name: np.zeros([1] * len(i.shape), np.float32) for i in stepped.get_inputs()[1:]}
    for _ in range(256):
        answer, *after = stepped.run(None, {"input": x, **states})
        states = dict(zip(states, after, strict=True))
    np.testing.assert_allclose(answer, found[0], rtol=1e-4, atol=1e-4)
    assert evaluate(path, target, {"input": x})["snn"][0]["agreement"] > 0.8
    with pytest.raises(OutputError, match="save"):
        conversion.to_bytes()


@pytest.mark.usefixtures("low_limit")
def test_a_large_proto_converts_to_what_its_file_converts_to() -> None:
    one, other = (
        convert(model, inputs_for("resnet", 8), method="max") for model in (resnet(), resnet())
    )
    assert one.model == other.model
    assert load_model(resnet()).sha256 != load_model(resnet(1)).sha256


@pytest.mark.usefixtures("low_limit")
def test_when_weights_cannot_be_written_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = convert(resnet(), inputs_for("resnet", 8), method="max")

    def fail(_: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match="No space left"):
        conversion.save(tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", [1, 2])
def test_no_crash_while_saving_pairs_an_old_model_with_new_weights(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever replacement fails, a model that is there has its own weights beside it."""
    monkeypatch.setattr(large, "LIMIT", 100)
    monkeypatch.setattr(large, "HEAVY", 100)
    path = tmp_path / "m.onnx"
    data = tmp_path / "m.onnx.data"
    old, new = (mlp(seed=seed) for seed in (0, 1))
    save_model(path, old)
    before = (path.read_bytes(), data.read_bytes())
    calls = []

    def replace(own: Path, target: Path) -> Path:
        calls.append(own)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        return own.rename(target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match="Input/output error"):
        save_model(path, new)
    after = (path.read_bytes() if path.exists() else None, data.read_bytes())
    assert after == before or after[0] is None
    assert {found.name for found in tmp_path.iterdir()} <= {path.name, data.name}


@pytest.mark.skipif(os.name != "posix", reason="devices are POSIX")
def test_two_files_cannot_go_to_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LIMIT", 100)
    with pytest.raises(OutputError, match="needs a second file"):
        save_model(os.devnull, mlp())
