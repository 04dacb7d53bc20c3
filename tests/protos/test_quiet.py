"""Behaviour of onnx2snn.protos.quiet: libraries are silent where asked, and nobody else is."""

from __future__ import annotations

import threading
from types import ModuleType

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp
from onnx_graphsurgeon.logger import G_LOGGER

from onnx2snn import convert
from onnx2snn.graph.editing import to_graph
from onnx2snn.protos.quiet import quiet


def library() -> ModuleType:
    module = ModuleType("library")
    exec("def notice(text): print(text)", vars(module))
    return module


def test_a_library_prints_outside_and_not_inside(capsys: pytest.CaptureFixture[str]) -> None:
    made = library()
    made.notice("before")
    with quiet(made):
        made.notice("inside")
        with quiet(made):
            made.notice("deeper")
        made.notice("inside still")
        print("mine")  # noqa: T201
    made.notice("after")
    assert capsys.readouterr().out.split() == ["before", "mine", "after"]


def test_other_threads_print_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    made = library()
    with quiet(made):
        other = threading.Thread(target=made.notice, args=("other",))
        other.start()
        other.join()
    assert capsys.readouterr().out == "other\n"


def test_silence_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    made = library()
    with pytest.raises(ZeroDivisionError), quiet(made):
        raise ZeroDivisionError
    made.notice("after")
    assert capsys.readouterr().out == "after\n"


def test_graphsurgeon_is_silent_for_us_alone(capsys: pytest.CaptureFixture[str]) -> None:
    model = mlp()
    del model.opset_import[:]  # the library gives notice of that
    to_graph(model)
    assert capsys.readouterr() == ("", "")
    G_LOGGER.warning("the user's own")
    assert "the user's own" in capsys.readouterr().out


def test_pycocotools_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    detection = pytest.importorskip("onnx2snn.score.detection")
    pytest.importorskip("pycocotools")
    box = np.array([[0.0, 0.0, 10.0, 10.0, 1.0, 0.9]])
    assert detection.coco_map([box], [box]) == pytest.approx(1.0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("domain", ["com.example.unused", "ai.onnx.ml"])
def test_a_conversion_says_nothing(domain: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = mlp()
    model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    # an initializer that nothing reads: onnxruntime gives notice of it
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3), "unused"))
    convert(model, inputs_for("mlp", 20), method="max", timesteps=4)
    assert capfd.readouterr() == ("", "")
