"""Behaviour of onnx2snn.protos.load: reading models, checked and whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn import ModelFileError, convert
from onnx2snn.protos.load import load_model


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
