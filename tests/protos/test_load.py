"""Behaviour of onnx2snn.protos.load: reading models, and writing files whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.networks import Builder, inputs_for, mlp, resnet, segmenter, vgg
from helpers.stages import reference, relative
from onnx import TensorProto, helper

from onnx2snn import ModelFileError, OutputError, SpikingSession, convert
from onnx2snn.protos import large
from onnx2snn.protos.load import load_model
from onnx2snn.protos.save import atomic_path, atomic_write, check_writable, write_npz
from onnx2snn.protos.specs import input_specs, output_specs
from onnx2snn.score.evaluate import evaluate

# --- reading ---


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    return tmp_path / "mlp.onnx"


def test_a_path_bytes_and_a_proto_give_the_same_model(stored: Path) -> None:
    data = stored.read_bytes()
    for source, name in (
        (stored, str(stored)),
        (str(stored), str(stored)),
        (data, "model bytes"),
        (mlp(), "net"),
    ):
        loaded = load_model(source)
        assert loaded.proto == mlp()
        assert loaded.name == name
        assert loaded.sha256 == hashlib.sha256(data).hexdigest()
        assert loaded.size == len(data)


def test_a_proto_is_not_changed_by_a_conversion() -> None:
    model = mlp()
    convert(model, inputs_for("mlp", 20), method="max", timesteps=64)
    assert model == mlp()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, stored: Path) -> None:
    data = stored.read_bytes()
    stored.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFileError, match=r"mlp\.onnx"):
        load_model(stored)


@pytest.mark.parametrize("content", [b"some text\n", b"\x00" * 64, b"PK\x03\x04", b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.onnx") as caught:
        load_model(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no model at"):
        load_model(tmp_path / "missing.onnx")
    with pytest.raises(ModelFileError, match="is a folder"):
        load_model(tmp_path)
    with pytest.raises(ModelFileError, match=r"mlp\.onnx"):
        load_model("mlp.onnx/inside.onnx")


def test_an_invalid_graph_is_refused_by_name() -> None:
    model = mlp()
    model.graph.node[2].op_type = "Gemmm"
    with pytest.raises(ModelFileError, match="'net' is not a valid ONNX model") as caught:
        load_model(model)
    assert "\n" not in str(caught.value)


def with_external_data(folder: Path) -> Path:
    path = folder / "big.onnx"
    onnx.save_model(mlp(), path, save_as_external_data=True, location="big.data", size_threshold=0)
    return path


def test_external_data_is_loaded_from_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    path = with_external_data(tmp_path / "models")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for source in (path, Path("..") / "models" / "big.onnx"):
        found = convert(source, inputs_for("mlp", 20), method="max", timesteps=64)
        wanted = convert(mlp(), inputs_for("mlp", 20), method="max", timesteps=64)
        assert found.model.graph == wanted.model.graph
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_external_data_that_is_not_whole_is_refused(damage: str, tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    data = tmp_path / "big.data"
    if damage == "missing":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"external data of .*big\.onnx") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_the_hash_covers_external_data(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    before = load_model(path)
    assert before.size == path.stat().st_size + sum(
        len(t.raw_data) for t in mlp().graph.initializer
    )
    data = bytearray((tmp_path / "big.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "big.data").write_bytes(data)
    assert load_model(path).sha256 != before.sha256


def test_external_data_of_a_model_that_is_no_file_is_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    for source in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(ModelFileError, match=r"external data.*give the path of its file"):
            load_model(source)


# --- models past protobuf's limit ---


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


# --- inputs and outputs ---


def test_specs_hold_names_types_and_dimensions() -> None:
    assert [str(s) for s in input_specs(segmenter())] == ["input float32[batch,1,height,width]"]
    assert [str(s) for s in output_specs(segmenter())] == ["classes float32[batch,3,height,width]"]
    b = Builder()
    b.input("tokens", [None, 7], np.int64)
    b.name_output(b.node("Cast", "tokens", to=TensorProto.FLOAT), "y")
    assert [str(s) for s in input_specs(b.model({"y": [None, 7]}))] == ["tokens int64[?,7]"]


def test_initializers_among_the_inputs_are_no_inputs() -> None:
    model = mlp()
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    assert [s.name for s in input_specs(model)] == ["input"]


def test_an_input_that_is_no_tensor_is_refused() -> None:
    model = mlp()
    value = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    model.graph.input.append(value)
    with pytest.raises(ModelFileError, match="'list' is not a tensor"):
        input_specs(model)


# --- writing ---


def test_writing_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    for content in (b"old", b"new"):
        atomic_write(target, content)
        assert target.read_bytes() == content
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.onnx"
    target.write_bytes(b"old")

    def fail(_: Path, data: bytes) -> int:
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        atomic_write(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_of_the_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "out") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_failed_rename_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path, target: Path) -> Path:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        OutputError, match=r"out\.onnx' cannot be written: Invalid cross-device link"
    ):
        atomic_write(tmp_path / "out.onnx", b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_file_gets_an_ordinary_files_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "out.onnx", b"x")
        assert os.umask(0o027) == 0o027  # asking for it did not change it
    finally:
        os.umask(before)
    assert (tmp_path / "out.onnx").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/out", "no folder"),
        ("folder", "is a folder"),
        ("file/out", "no folder"),
        (".", "folder"),
    ],
)
def test_places_that_cannot_be_written_to_are_refused_early(
    name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for write in (check_writable, lambda path: atomic_write(path, b"")):
        with pytest.raises(OutputError, match=said):
            write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="permission bits do not stop root"
)
def test_a_folder_without_permission_is_refused_early(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            check_writable(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("key", ["logits", "a/b:0", "file", "allow_pickle", "ünïcode"])
def test_arrays_keep_their_names(key: str, tmp_path: Path) -> None:
    value: Any = np.arange(6.0).reshape(2, 3)
    write_npz(tmp_path / "y", {key: value})  # the name given is the name written
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    with np.load(tmp_path / "y") as file:
        assert np.array_equal(file[key], value)
