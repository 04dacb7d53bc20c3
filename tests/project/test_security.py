"""The defences that docs/security.md promises against files that come from others."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnx2snn

SECRET = "secret.bin"


def model_with_weights_at(location: str) -> onnx.ModelProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Relu", ["z"], ["a"]),
            helper.make_node("MatMul", ["a", "w"], ["y"]),
        ],
        "spy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def absolute(folder: Path) -> str:
    return str(folder.parent / SECRET)


def parent(folder: Path) -> str:
    return f"../{SECRET}"


def symbolic_link(folder: Path) -> str:
    (folder / "weights.bin").symlink_to(folder.parent / SECRET)
    return "weights.bin"


def hard_link(folder: Path) -> str:
    os.link(folder.parent / SECRET, folder / "weights.bin")
    return "weights.bin"


@pytest.mark.parametrize("reach", [absolute, parent, symbolic_link, hard_link])
def test_external_data_outside_the_models_folder_is_refused(
    reach: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / SECRET).write_bytes(np.ones(16, np.float32).tobytes())
    path = folder / "spy.onnx"
    path.write_bytes(model_with_weights_at(reach(folder)).SerializeToString())
    with pytest.raises(onnx2snn.ModelFileError, match=r"external data of .* cannot be read"):
        onnx2snn.inspect(path)


def array_file(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


class Runs:
    """Its unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    spy = tmp_path / "unpickled"
    pickle.loads(pickle.dumps(Runs(spy))).close()
    spy.unlink()  # so much for the spy: it works
    model = Path(__file__).parents[2] / "models" / "fashion_vgg.onnx"
    for name in ("data.npy", "data.npz"):
        path = tmp_path / name
        content = array_file(np.array([Runs(spy)], dtype=object))
        if name.endswith(".npz"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("input.npy", content)
        else:
            path.write_bytes(content)
        with pytest.raises(onnx2snn.DataError, match="pickled Python objects"):
            onnx2snn.convert(model, path)
        assert not spy.exists()


@pytest.mark.parametrize("member", ["../outside.npy", "/outside.npy", "other.npy"])
def test_an_archive_unpacks_only_what_the_model_takes(member: str, tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "models" / "fashion_vgg.onnx"
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, array_file(np.zeros((2, 1, 28, 28), np.float32)))
    with pytest.raises(onnx2snn.DataError, match="rename or remove"):
        onnx2snn.convert(model, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.npz"]
