"""Output of a command in a pipe: no notice of a library."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import Builder

from onnx2snn.cli.commands import main

NOTICES = ("[W]", "[I]", "[E:", "[W:", "graphsurgeon", "onnxruntime", "Warning", "deprecated")


def model(path: Path, opset: int) -> None:
    """A network that libraries give notice of: unused weights, a domain spelled out."""
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("input", ["N", 6]), 6, 8))
    b.const(np.ones((3, 3)))  # nobody reads it: onnxruntime would say that it is removed
    proto = b.model({b.name_output(b.gemm(h, 8, 3), "y"): ["N", 3]})
    proto.opset_import[0].version = opset
    proto.opset_import[0].domain = "ai.onnx"
    onnx.save(proto, path)


@pytest.mark.parametrize(("opset", "quiet"), [(13, False), (17, True), (11, False)])
def test_no_library_speaks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], opset: int, quiet: bool
) -> None:
    ann, snn, data = (str(tmp_path / name) for name in ("ann.onnx", "snn.onnx", "x.npy"))
    model(Path(ann), opset)
    np.save(data, np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32))
    flags = ["--quiet"] if quiet else []
    method = ["--coding", "rate", "--method", "max", "--timesteps", "32"]
    assert main([ann, "-o", snn, "--calibration", data, *method, *flags]) == 0
    assert main(["inspect", snn]) == 0
    said = "".join(capfd.readouterr())
    assert not [notice for notice in NOTICES if notice in said]


@pytest.mark.filterwarnings("default")
def test_a_warning_of_a_script_or_library_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model(tmp_path / "ann.onnx", 13)
    (tmp_path / "data.py").write_text(
        "import warnings\nimport numpy as np\n\ndef make():\n"
        "    warnings.warn('odd\\x1b[2J\\nerror: forged', UserWarning)\n"
        "    return np.ones((40, 6), np.float32)\n"
    )
    words = [str(tmp_path / name) for name in ("ann.onnx", "out.onnx", "data.py")]
    command = [words[0], "-o", words[1], "--calibration", f"{words[2]}:make", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["onnx2snn", *command, "--method", "max", "--timesteps", "4"])
    assert main() == 0
    said = capsys.readouterr().err.splitlines()
    assert "warning: odd\\x1b[2J" in said
    assert all(line.startswith("warning: ") for line in said)
