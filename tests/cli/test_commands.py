"""What the command line promises.

Exit codes, one sentence per error, nothing half-written, JSON on stdout alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder, inputs_for, mlp, resnet, segmenter, vgg
from numpy.typing import NDArray
from PIL import Image

import onnx2snn
from onnx2snn.cli.commands import COMMANDS, main

Array = NDArray[Any]
FAST = ["--iterations", "150", "--batch-size", "50"]


def stubborn(op: str = "RandomUniformLike") -> onnx.ModelProto:
    """A network with an operator between spiking layers, by default one that is refused."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8), name="h1")
    x = b.node(op, b.gemm(x, 8, 8), name="culprit")
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8), name="h2"), 8, 3), "logits")
    return b.model({"logits": ["batch", 3]})


def linear() -> onnx.ModelProto:
    """A network without any activation."""
    b = Builder()
    b.name_output(b.gemm(b.input("input", ["batch", 10]), 10, 3), "logits")
    return b.model({"logits": ["batch", 3]})


def anysize() -> onnx.ModelProto:
    """A network for images of any size."""
    b = Builder()
    x = b.conv(b.input("input", ["batch", 1, "height", "width"]), 1, 2, strides=[8, 8])
    b.name_output(b.conv(b.node("Relu", x), 2, 2), "classes")
    return b.model({"classes": ["batch", 2, None, None]})


def renamed() -> onnx.ModelProto:
    """An MLP whose input has another name."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("image", ["batch", 10]), 10, 8))
    b.name_output(b.gemm(x, 8, 3), "logits")
    return b.model({"logits": ["batch", 3]})


def bracketed() -> onnx.ModelProto:
    """An MLP whose node names could be taken for markup."""
    model = mlp()
    for node in model.graph.node:
        node.name = f"[/{node.name}] :x:"
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad files."""
    folder = tmp_path_factory.mktemp("files")
    networks = {
        "mlp": mlp(),
        "other": mlp(seed=1),
        "resnet": resnet(),
        "segmenter": segmenter(),
        "anysize": anysize(),
        "renamed": renamed(),
        "fixed": resnet(batch=1),
        "stubborn": stubborn(),
        "analog": stubborn("Softplus"),
        "linear": linear(),
        "bracketed": bracketed(),
    }
    for name, model in networks.items():
        onnx.save(model, folder / f"{name}.onnx")
    whole = (folder / "mlp.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("This is no ONNX model.\n")
    for name in ("folder", "nothing", "out"):
        (folder / name).mkdir()

    x = inputs_for("mlp", 200)
    (logits,) = ort.InferenceSession(whole).run(None, {"input": x})
    data: dict[str, dict[str, Array]] = {
        "good": {"input": x},
        "labelled": {"input": x, "labels": logits.argmax(axis=1)},
        "key": {"image": x},
        "shape": {"input": x[:, :9]},
        "dtype": {"input": (x * 10).astype(np.int64)},
        "nan": {"input": np.where(np.arange(200)[:, None] == 77, np.nan, x).astype(np.float32)},
        "images": {"input": inputs_for("resnet", 20)},
        "pictures": {"input": inputs_for("segmenter", 20)},
        "odd": {"input": np.zeros((20, 1, 7, 7), np.float32)},
    }
    for name, arrays in data.items():
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub
    np.save(folder / "array.npy", x)
    (folder / "damaged.npz").write_bytes((folder / "good.npz").read_bytes()[:500])

    def convert(model: str, out: str, *more: str) -> None:
        arguments = [str(folder / model), "-o", str(folder / out), "--quiet", *more]
        assert main(arguments) == 0

    good, pictures = (
        ("--calibration", str(folder / "good.npz")),
        ("--calibration", str(folder / "pictures.npz")),
    )
    convert("mlp.onnx", "snn.onnx", *good, *FAST, "--save-thresholds", str(folder / "t.npz"))
    convert("other.onnx", "snn_other.onnx", *good, "--method", "max")
    convert("segmenter.onnx", "snn_segmenter.onnx", *pictures, "--method", "max")
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@dataclass(frozen=True)
class Files:
    """The folder of files, in which every test runs, and what was in it before."""

    folder: Path
    temporary: Path
    before: dict[Path, bytes]

    def assert_untouched(self) -> None:
        assert contents(self.folder) == self.before
        assert not list(self.temporary.iterdir())


@pytest.fixture
def files(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.chdir(made)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield Files(made, temporary, contents(made))
    for path in (made / "out").iterdir():
        path.unlink()


def words(text: str) -> list[str]:
    return text.split()


# --- errors ---

CONVERT = "mlp.onnx -o out/x.onnx --calibration good.npz --iterations 20"

ERRORS: dict[str, tuple[str, int, str]] = {
    # the model
    "wrong path": ("missing.onnx -o out/x.onnx", 2, "'missing.onnx'"),
    "not ONNX": ("text.onnx -o out/x.onnx", 2, "'text.onnx'"),
    "data as model": ("good.npz -o out/x.onnx", 2, "'good.npz'"),
    "truncated": ("truncated.onnx -o out/x.onnx", 2, "'truncated.onnx'"),
    "empty file": ("empty.onnx -o out/x.onnx", 2, "'empty.onnx'"),
    "folder as model": ("folder -o out/x.onnx", 2, "'folder' is a folder"),
    "spiking already": ("snn.onnx -o out/x.onnx", 2, "'snn.onnx' is a spiking model already"),
    "unsupported operator": (
        "stubborn.onnx -o out/x.onnx",
        3,
        "node 'culprit' (RandomUniformLike)",
    ),
    "analog operator": (
        "analog.onnx -o out/x.onnx --preset paper --strict --report out/r.json",
        1,
        "node 'culprit' (Softplus) would be analog (telescoped: not linear), which --strict "
        "forbids",
    ),
    "nothing to convert": ("linear.onnx -o out/x.onnx", 3, "nothing to convert"),
    # the data
    "no data there": (
        "mlp.onnx -o out/x.onnx --calibration missing.npz",
        2,
        "missing.npz does not exist",
    ),
    "wrong key": ("mlp.onnx -o out/x.onnx --calibration key.npz", 2, "key.npz holds 'image'"),
    "wrong shape": ("mlp.onnx -o out/x.onnx --calibration shape.npz", 2, "[200,9]"),
    "wrong dtype": ("mlp.onnx -o out/x.onnx --calibration dtype.npz", 2, "int64"),
    "NaN": ("mlp.onnx -o out/x.onnx --calibration nan.npz", 2, "sample 77"),
    "damaged data": (
        "mlp.onnx -o out/x.onnx --calibration damaged.npz",
        2,
        "damaged.npz is truncated",
    ),
    "empty folder": ("mlp.onnx -o out/x.onnx --calibration nothing", 2, "nothing is empty"),
    "data of an impossible size": (
        "segmenter.onnx -o out/x.onnx --calibration odd.npz",
        2,
        "input float32[batch,1,height,width]",
    ),
    # the places to write
    "OUT in no folder": ("mlp.onnx -o missing/x.onnx", 2, "'missing/x.onnx'"),
    "OUT is a folder": ("mlp.onnx -o out", 2, "'out' is a folder"),
    "OUT in a file": ("mlp.onnx -o mlp.onnx/x.onnx", 2, "'mlp.onnx/x.onnx'"),
    "OUT of no name": ("mlp.onnx -o ''", 2, "is a folder"),
    "report in no folder": (f"{CONVERT} --report missing/r.json", 2, "'missing/r.json'"),
    "page in no folder": (f"{CONVERT} --html missing/r.html", 2, "'missing/r.html'"),
    "page over OUT": (f"{CONVERT} --html out/x.onnx", 2, "'out/x.onnx'"),
    "page of an unknown layer": (
        f"{CONVERT} --quiet --html out/r.html --html-site no",
        2,
        "no neuron site 'no'",
    ),
    "thresholds saved in no folder": (
        f"{CONVERT} --save-thresholds missing/t.npz",
        2,
        "'missing/t.npz'",
    ),
    "report over OUT": (f"{CONVERT} --report out/x.onnx", 2, "'out/x.onnx'"),
    "thresholds over OUT": (f"{CONVERT} --save-thresholds ./out/x.onnx", 2, "out/x.onnx'"),
    "OUT over the model": ("mlp.onnx -o out/../mlp.onnx", 2, "mlp.onnx'"),
    "OUT over the data": (
        "mlp.onnx -o good.npz --calibration good.npz",
        2,
        "'good.npz', which is --calibration",
    ),
    # the options
    "no OUT": ("mlp.onnx", 2, "-o"),
    "nothing at all": ("", 2, "MODEL"),
    "T = 0": (f"{CONVERT} --timesteps 0", 2, "timesteps is 0"),
    "T is no number": (f"{CONVERT} --timesteps many", 2, "'many'"),
    "delay of no meaning": (f"{CONVERT} --delay third", 2, "delay is 'third'"),
    "delay below 0": (f"{CONVERT} --delay -1", 2, "delay is -1"),
    "delay too long": (f"{CONVERT} --delay 8 --timesteps 8", 2, "delay is 8"),
    "bad method": (f"{CONVERT} --method guess", 2, "'guess'"),
    "bad granularity": (f"{CONVERT} --granularity neuron", 2, "'neuron'"),
    "bad percentile": (f"{CONVERT} --percentile 0", 2, "percentile is 0"),
    "bad iterations": (f"{CONVERT} --iterations 0", 2, "iterations is 0"),
    "bad max-drop": (f"{CONVERT} --max-drop nan", 2, "max_drop is nan"),
    "unknown option": (f"{CONVERT} --fast", 2, "--fast"),
    "local without data": (
        "mlp.onnx -o out/x.onnx --method local",
        2,
        "method 'local' needs calibration data",
    ),
    "percentile without data": (
        "mlp.onnx -o out/x.onnx --method percentile",
        2,
        "method 'percentile' needs",
    ),
    # thresholds from a file
    "no thresholds there": ("mlp.onnx -o out/x.onnx --thresholds missing.npz", 2, "'missing.npz'"),
    "thresholds of another model": (
        "other.onnx -o out/x.onnx --thresholds t.npz",
        2,
        "'t.npz' belong to a model",
    ),
    "thresholds of another granularity": (
        "mlp.onnx -o out/x.onnx --thresholds t.npz --granularity layer",
        2,
        "'t.npz' hold no finite thresholds of shape (1, 1) for site 'h1'",
    ),
    "thresholds that are data": ("mlp.onnx -o out/x.onnx --thresholds good.npz", 2, "'good.npz'"),
    "thresholds that are an array": (
        "mlp.onnx -o out/x.onnx --thresholds array.npy",
        2,
        "'array.npy'",
    ),
    "thresholds that are text": ("mlp.onnx -o out/x.onnx --thresholds text.onnx", 2, "'text.onnx'"),
    "thresholds that are a folder": ("mlp.onnx -o out/x.onnx --thresholds folder", 2, "'folder'"),
    # gates
    "agreement below max-drop": (
        f"{CONVERT} --quiet --timesteps 1 --max-drop 1",
        1,
        "more than --max-drop 1",
    ),
    "an error that lasts": (
        "mlp.onnx -o out/x.onnx --calibration good.npz --preset paper --method percentile "
        "--percentile 50 --quiet --max-lasting 5",
        1,
        "is to blame",
    ),
    # run
    "run: an ANN": (
        "run mlp.onnx --inputs good.npz -o out/x.npz",
        2,
        "'mlp.onnx' is not a spiking model",
    ),
    "run: no model": ("run missing.onnx --inputs good.npz -o out/x.npz", 2, "'missing.onnx'"),
    "run: no inputs": (
        "run snn.onnx --inputs missing.npz -o out/x.npz",
        2,
        "missing.npz does not exist",
    ),
    "run: wrong key": ("run snn.onnx --inputs key.npz -o out/x.npz", 2, "key.npz holds 'image'"),
    "run: OUT in no folder": (
        "run snn.onnx --inputs good.npz -o missing/x.npz",
        2,
        "'missing/x.npz'",
    ),
    "run: T = 0": (
        "run snn.onnx --inputs good.npz -o out/x.npz --timesteps 0",
        2,
        "timesteps is 0",
    ),
    "run: bad delay": (
        "run snn.onnx --inputs good.npz -o out/x.npz --delay third",
        2,
        "delay is 'third'",
    ),
    "run: delay too long": (
        "run snn.onnx --inputs good.npz -o out/x.npz --delay 9 --timesteps 8",
        2,
        "delay is 9",
    ),
    "run: an impossible size": (
        "run snn_segmenter.onnx --inputs odd.npz -o out/x.npz",
        2,
        "input float32[batch,1,",
    ),
    "run: no -o": ("run snn.onnx --inputs good.npz", 2, "-o"),
    "run: OUT over the model": (
        "run snn.onnx --inputs good.npz -o ./snn.onnx",
        2,
        "snn.onnx', which is SNN",
    ),
    "run: OUT over the inputs": (
        "run snn.onnx --inputs good.npz -o good.npz",
        2,
        "'good.npz', which is --inputs",
    ),
    # eval
    "eval: the wrong way round": (
        "eval snn.onnx mlp.onnx --data good.npz",
        2,
        "'snn.onnx' is a spiking model",
    ),
    "eval: two ANNs": (
        "eval mlp.onnx other.onnx --data good.npz",
        2,
        "'other.onnx' is not a spiking model",
    ),
    "eval: other inputs": (
        "eval renamed.onnx snn.onnx --data key.npz",
        2,
        "made from another model",
    ),
    "eval: no labels": ("eval mlp.onnx snn.onnx --data good.npz --metric top1", 2, "'labels'"),
    "eval: bad metric": (
        "eval mlp.onnx snn.onnx --data good.npz --metric luck",
        2,
        "metric is 'luck'",
    ),
    "eval: bad limit": ("eval mlp.onnx snn.onnx --data good.npz --limit 0", 2, "limit is 0"),
    "eval: T = 0": ("eval mlp.onnx snn.onnx --data good.npz --timesteps 8,0", 2, "timesteps is 0"),
    "eval: T is no number": (
        "eval mlp.onnx snn.onnx --data good.npz --timesteps 4,many",
        2,
        "'4,many'",
    ),
    "eval: bad delay": (
        "eval mlp.onnx snn.onnx --data good.npz --delay third",
        2,
        "delay is 'third'",
    ),
    "eval: bad max-drop": ("eval mlp.onnx snn.onnx --data good.npz --max-drop nan", 2, "'nan'"),
    "eval: JSON in no folder": (
        "eval mlp.onnx snn.onnx --data good.npz --json missing/e.json",
        2,
        "'missing/e.json'",
    ),
    "eval: top5 without labels": (
        "eval mlp.onnx snn.onnx --data good.npz --metric top5",
        2,
        "'labels'",
    ),
    "eval: map of a classifier": (
        "eval mlp.onnx snn.onnx --data good.npz --metric map",
        2,
        "there is no 'boxes'",
    ),
    "eval: miou without masks": (
        "eval mlp.onnx snn.onnx --data good.npz --metric miou",
        2,
        "'masks'",
    ),
    "eval: no such script": (
        "eval mlp.onnx snn.onnx --data good.npz --metric no.py:f",
        2,
        "no.py does not exist",
    ),
    "eval: bad price": (
        "eval mlp.onnx snn.onnx --data good.npz --sop-joules 0",
        2,
        "sop_joules is 0",
    ),
    "eval: page in no folder": (
        "eval mlp.onnx snn.onnx --data good.npz --html missing/e.html",
        2,
        "'missing/e.html'",
    ),
    "eval: page over the data": (
        "eval mlp.onnx snn.onnx --data good.npz --html good.npz",
        2,
        "which is --data",
    ),
    "eval: page over the JSON": (
        "eval mlp.onnx snn.onnx --data good.npz --html out/e --json out/e",
        2,
        "which is --json",
    ),
    "eval: JSON over the model": (
        "eval mlp.onnx snn.onnx --data good.npz --json snn.onnx",
        2,
        "which is SNN",
    ),
    "eval: JSON over the data": (
        "eval mlp.onnx snn.onnx --data good.npz --json good.npz",
        2,
        "which is --data",
    ),
    "eval: max-drop": (
        "eval mlp.onnx snn.onnx --data labelled.npz --timesteps 1 --max-drop 1 --quiet",
        1,
        "over --max-drop 1",
    ),
    # export
    "export: an ANN": (
        "export mlp.onnx --to rollout -o out/x.onnx",
        2,
        "'mlp.onnx' is not a spiking model",
    ),
    "export: no model": ("export missing.onnx --to rollout -o out/x.onnx", 2, "'missing.onnx'"),
    "export: another form": ("export snn.onnx --to prose -o out/x.onnx", 2, "'prose'"),
    "export: no form": ("export snn.onnx -o out/x.onnx", 2, "--to"),
    "export: T = 0": (
        "export snn.onnx --to rollout -o out/x.onnx --timesteps 0",
        2,
        "timesteps is 0",
    ),
    "export: delay too long": (
        "export snn.onnx --to rollout -o out/x.onnx --timesteps 4 --delay 4",
        2,
        "delay is 4",
    ),
    "export: arrays in a model": (
        "export snn.onnx --to arrays -o out/x.onnx",
        2,
        ".npz or .safetensors",
    ),
    "export: arrays of an opset": (
        "export snn.onnx --to arrays --opset 13 -o out/x.npz",
        2,
        "--opset belongs to --to rollout and --to step",
    ),
    "export: arrays of time-steps": (
        "export snn.onnx --to arrays --timesteps 3 -o out/x.npz",
        2,
        "--timesteps belongs to --to rollout and --to nir",
    ),
    "export: OUT in no folder": (
        "export snn.onnx --to rollout -o missing/x.onnx",
        2,
        "'missing/x.onnx'",
    ),
    "export: OUT over the model": (
        "export snn.onnx --to rollout -o ./snn.onnx",
        2,
        "snn.onnx', which is SNN",
    ),
    # inspect
    "inspect: wrong path": ("inspect missing.onnx", 2, "'missing.onnx'"),
    "inspect: not ONNX": ("inspect text.onnx", 2, "'text.onnx'"),
    "inspect: a folder": ("inspect folder --json", 2, "'folder' is a folder"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_one_sentence_and_leaves_nothing(
    kind: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, code, named = ERRORS[kind]
    assert main([word.strip("'") for word in words(arguments)]) == code
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    assert named in stderr
    assert ". " not in stderr.replace("e.g. ", "")
    files.assert_untouched()


def test_a_failed_gate_leaves_what_was_at_out(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files.folder / "out" / "x.onnx"
    out.write_bytes(b"an older result")
    assert main([*words(CONVERT), "--timesteps", "1", "--max-drop", "1", "--report", "-"]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("error: agreement with the ANN")
    assert out.read_bytes() == b"an older result"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a folder that not even root can write to"
)
def test_a_folder_that_cannot_be_written_to(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(words("mlp.onnx -o /proc/x.onnx --quiet --calibration good.npz --iterations 20")) == 2
    )
    (line,) = (
        line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")
    )
    assert line.startswith("error: '/proc/x.onnx' cannot be written")
    files.assert_untouched()


@pytest.mark.parametrize("command", ["python -m onnx2snn", "onnx2snn"])
def test_the_program_itself_returns_the_exit_code(command: str, files: Files) -> None:
    program = (
        [sys.executable, "-m", "onnx2snn"]
        if "-m" in command
        else [str(Path(sys.executable).parent / "onnx2snn")]
    )
    arguments = ["truncated.onnx", "-o", "out/x.onnx"]
    done = subprocess.run(
        [*program, *arguments], capture_output=True, text=True, cwd=files.folder, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: 'truncated.onnx' is not an ONNX model")
    assert done.stderr.count("\n") == 1
    files.assert_untouched()


def test_running_out_of_memory_is_told_in_one_sentence(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("onnx2snn.pipeline.rate.compare", exhaust)
    assert main([*words(CONVERT), "--quiet"]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("error: there is not enough memory;")
    assert stderr.count("\n") == 1
    files.assert_untouched()


def test_an_interrupt_writes_nothing(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx2snn.pipeline.rate.compare", interrupt)
    assert main(words(CONVERT)) == 130
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "interrupted; nothing was written" in stderr
    files.assert_untouched()


# --- help ---


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([*words(command), "--help"])
    assert done.value.code == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith(f"usage: onnx2snn {command}".rstrip())
    assert stderr == ""


def test_the_main_help_names_every_command_and_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for command in filter(None, COMMANDS):
        assert f"onnx2snn {command} " in text
    assert "exit codes: 0 fine; 1 a gate failed" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"onnx2snn {onnx2snn.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    script = """
import runpy, sys
sys.argv = ["onnx2snn", "--help"]
try:
    runpy.run_module("onnx2snn", run_name="__main__")
except SystemExit as done:
    assert done.code == 0
    heavy = {"numpy", "onnx", "onnxruntime", "onnx_graphsurgeon", "rich"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: onnx2snn")


# --- convert ---


def metadata(path: Path) -> dict[str, Any]:
    (entry,) = (p.value for p in onnx.load(path).metadata_props if p.key == "onnx2snn")
    found: dict[str, Any] = json.loads(entry)
    return found


def test_convert_with_data(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mlp.onnx", "-o", "out/x.onnx", "--calibration", "good.npz", *FAST]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "warning" not in stderr
    for shown in (
        "local threshold balancing",
        "150/150",
        "nodes per operator",
        "neuron sites",
        "h1",
        "h2",
        "conversion",
    ):
        assert shown in stderr
    out = files.folder / "out" / "x.onnx"
    assert metadata(out)["calibrated"] is True
    assert out.read_bytes() == (files.folder / "snn.onnx").read_bytes()
    assert list(out.parent.iterdir()) == [out]
    assert not list(files.temporary.iterdir())


def test_convert_without_data_warns_once(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mlp.onnx", "-o", "out/x.onnx", "--quiet", "--report", "out/r.json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert stderr.startswith("warning: no calibration data: ")
    report = json.loads((files.folder / "out" / "r.json").read_text())
    assert report["calibrated"] is False
    assert ["warning: " + text for text in report["warnings"]] == stderr.splitlines()
    assert metadata(files.folder / "out" / "x.onnx")["calibrated"] is False
    assert metadata(files.folder / "out" / "x.onnx")["settings"]["method"] == "max"


def test_convert_without_data_names_the_dimensions_it_guessed(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["anysize.onnx", "-o", "out/x.onnx", "--quiet", "--timesteps", "2"]) == 0
    stderr = capsys.readouterr().err
    assert "dimension 'height' of input 'input' taken as 224" in stderr
    assert "dimension 'width' of input 'input' taken as 224" in stderr


@pytest.mark.parametrize("quiet", [True, False])
def test_the_report_goes_to_stdout_alone(
    quiet: bool, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--quiet"] if quiet else []
    assert main([*words(CONVERT), "--timesteps", "8", "--report", "-", *more]) == 0
    stdout, stderr = capsys.readouterr()
    report = json.loads(stdout)
    assert report["model"]["name"] == "mlp.onnx"
    assert report["timesteps"] == 8
    assert report["delay"] == 4
    assert report["snn"]["bytes"] == (files.folder / "out" / "x.onnx").stat().st_size
    assert ("neuron sites" in stderr) is not quiet


def test_quiet_says_nothing(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["mlp.onnx", "-o", "out/x.onnx", "--calibration", "good.npz", *FAST, "--quiet"]) == 0
    )
    assert capsys.readouterr() == ("", "")


def test_every_option_reaches_the_model(files: Files) -> None:
    options = {
        "timesteps": 7,
        "delay": 2,
        "granularity": "layer",
        "maxpool": "current",
        "seed": 3,
        "percentile": 97.5,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert main([*words(CONVERT), *arguments, "--method", "percentile", "--quiet"]) == 0
    found = metadata(files.folder / "out" / "x.onnx")
    assert found["settings"] == options | {
        "method": "percentile",
        "preset": "paper",
        "neuron": "if",
        "levels": 1,
        "correct": "none",
        "rounds": 0,
    }
    assert (found["timesteps"], found["delay"]) == (7, 2)


def test_a_passed_gate_writes_the_model(files: Files) -> None:
    assert main([*words(CONVERT), "--max-drop", "100", "--quiet"]) == 0
    assert (files.folder / "out" / "x.onnx").exists()


def test_saved_thresholds_make_the_same_model_again(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mlp.onnx", "-o", "out/x.onnx", "--thresholds", "t.npz", *FAST, "--quiet"]) == 0
    assert (files.folder / "out" / "x.onnx").read_bytes() == (
        files.folder / "snn.onnx"
    ).read_bytes()
    assert capsys.readouterr() == ("", "")


def test_names_are_shown_as_they_are(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bracketed.onnx", "-o", "out/x.onnx", "--timesteps", "4"]) == 0
    assert "[/h1] :x:" in capsys.readouterr().err
    for model in ("bracketed.onnx", "out/x.onnx"):
        assert main(["inspect", model]) == 0
        stderr = capsys.readouterr().err
        assert "[/h1] :x:" in stderr
        assert "inputs input float32[batch,10]; outputs logits float32[batch,3]" in stderr


# --- run ---


@pytest.mark.parametrize(
    ("options", "timesteps", "delay"),
    [
        ("", None, None),
        ("--timesteps 9", 9, None),
        ("--timesteps 9 --delay 3", 9, 3),
        ("--delay half", None, "half"),
    ],
)
def test_run_writes_what_the_session_returns(
    options: str,
    timesteps: int | None,
    delay: Any,
    files: Files,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(
            [
                "run",
                "snn.onnx",
                "--inputs",
                "labelled.npz",
                "-o",
                "out/y.npz",
                *words(options),
                "--quiet",
            ]
        )
        == 0
    )
    assert capsys.readouterr() == ("", "")
    x = inputs_for("mlp", 200)
    session = onnx2snn.SpikingSession("snn.onnx")
    wanted = [
        session.run(None, {"input": part}, timesteps, delay)[0] for part in (x[:100], x[100:])
    ]
    with np.load("out/y.npz") as found:
        assert list(found) == ["logits"]
        assert np.array_equal(found["logits"], np.concatenate(wanted))


RUN = "run snn.onnx --inputs labelled.npz -o out/y.npz --quiet"
EVAL = "eval mlp.onnx snn.onnx --data labelled.npz --json out/scores.json --quiet"


def test_run_takes_a_provider_and_float16(files: Files) -> None:
    session = onnx2snn.SpikingSession("snn.onnx", float16=True)
    (wanted,) = session.run(None, {"input": inputs_for("mlp", 200)[:100]})
    assert main(words(f"{RUN} --provider cpu --float16")) == 0
    with np.load("out/y.npz") as found:
        assert np.array_equal(found["logits"][:100], wanted)


def test_eval_takes_a_provider_and_float16(files: Files) -> None:
    assert main(words(f"{EVAL} --provider cpu --float16 --limit 20")) == 0
    assert json.loads(Path("out/scores.json").read_text())["samples"] == 20


@pytest.mark.parametrize("command", [RUN, EVAL])
def test_a_provider_that_is_not_here_is_one_sentence(
    command: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(f"{command} --provider cuda")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "no provider 'cuda' here, but" in line
    assert "CPUExecutionProvider" in line
    assert not list(Path("out").iterdir())


def test_run_feeds_a_model_of_fixed_batch_sample_by_sample(files: Files) -> None:
    np.save("out/few.npy", inputs_for("resnet", 3))
    assert (
        main(
            [
                "fixed.onnx",
                "-o",
                "out/x.onnx",
                "--calibration",
                "images.npz",
                "--method",
                "max",
                "--quiet",
            ]
        )
        == 0
    )
    assert main(["run", "out/x.onnx", "--inputs", "out/few.npy", "-o", "out/y.npz", "--quiet"]) == 0
    session = onnx2snn.SpikingSession("out/x.onnx")
    wanted = [session.run(None, {"input": x[None]})[0] for x in inputs_for("resnet", 3)]
    with np.load("out/y.npz") as found:
        assert np.array_equal(found["logits"], np.concatenate(wanted))


@pytest.mark.parametrize(("count", "code"), [(100, 0), (101, 2)])
def test_run_with_an_output_that_has_no_batch_axis(
    count: int, code: int, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    model = mlp()
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["logits"], ["mean"], keepdims=0))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [])
    )
    onnx.save(model, "out/scalar.onnx")
    np.save("out/x.npy", inputs_for("mlp", count))
    assert (
        main(words("out/scalar.onnx -o out/x.onnx --calibration good.npz --method max --quiet"))
        == 0
    )
    assert (
        main(words("run out/x.onnx --inputs out/x.npy -o out/y.npz --timesteps 2 --quiet")) == code
    )
    assert ("output 'mean' has no batch axis" in capsys.readouterr().err) == bool(code)
    assert Path("out/y.npz").exists() != bool(code)


# --- eval ---


def test_eval_json_has_the_shape_it_promises(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--timesteps", "4,8,32", "--delay", "half", "--json", "-"]
    assert main(["eval", "mlp.onnx", "snn.onnx", "--data", "labelled.npz", *arguments]) == 0
    stdout, stderr = capsys.readouterr()
    result = json.loads(stdout)
    assert result["samples"] == 200
    assert result["ann"] == {"top1": 1.0}  # the labels are its own answers
    assert [(row["timesteps"], row["delay"]) for row in result["snn"]] == [(4, 2), (8, 4), (32, 16)]
    assert all(
        {"timesteps", "delay", "top1", "drop", "drop_95", "sops"} <= set(row)
        for row in result["snn"]
    )
    assert all(0 <= row["top1"] <= 1 for row in result["snn"])
    assert result["snn"][-1]["top1"] > 0.9
    assert result["warnings"] == []
    assert "top1 on 200 samples" in stderr
    assert "ANN" in stderr


def test_eval_writes_its_json_to_a_file(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "good.npz", "--limit", "30", "--json", "out/e.json", "--quiet"]
    assert main(["eval", "mlp.onnx", "snn.onnx", *arguments]) == 0
    assert capsys.readouterr() == ("", "")
    result = json.loads(Path("out/e.json").read_text())
    assert result["samples"] == 30
    assert result["ann"] == {"agreement": 1.0}
    assert [(row["timesteps"], row["delay"]) for row in result["snn"]] == [(32, 16)]


@pytest.mark.parametrize(("max_drop", "code"), [("100", 0), ("0", 1)])
def test_eval_gate(
    max_drop: str, code: int, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--data",
        "labelled.npz",
        "--timesteps",
        "1,2",
        "--max-drop",
        max_drop,
        "--json",
        "out/e.json",
    ]
    assert main(["eval", "mlp.onnx", "snn.onnx", *arguments]) == code
    assert Path("out/e.json").exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: top1 drops by") is (
        code == 1
    )


def test_eval_warns_where_the_models_do_not_belong_together(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["eval", "mlp.onnx", "snn_other.onnx", "--data", "good.npz", "--quiet", "--json", "-"])
        == 0
    )
    stdout, stderr = capsys.readouterr()
    assert stderr.startswith(
        "warning: the spiking model was made from another file than 'mlp.onnx'"
    )
    assert json.loads(stdout)["warnings"] == [stderr.removeprefix("warning: ").strip()]


def test_eval_of_a_folder_of_images_with_labels(files: Files, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    pixels = rng.integers(0, 256, (12, 8, 8), np.uint8)
    for number, values in enumerate(pixels):
        Image.fromarray(values).save(images / f"{number:02}.png")
    x = (pixels[:, None] / np.float32(255)).astype(np.float32)
    labels = (
        ort.InferenceSession(vgg().SerializeToString()).run(None, {"input": x})[0].argmax(axis=1)
    )
    labels[5] = (labels[5] + 1) % 4
    lines = [f"{number:02}.png,{label}" for number, label in enumerate(labels)]
    (images / "labels.csv").write_text("\n".join(lines) + "\n")
    onnx.save(vgg(), "out/vgg.onnx")
    assert (
        main(
            [
                "out/vgg.onnx",
                "-o",
                "out/v.onnx",
                "--calibration",
                str(images),
                "--method",
                "max",
                "--quiet",
            ]
        )
        == 0
    )
    arguments = ["--data", str(images), "--json", "out/e.json", "--quiet"]
    assert main(["eval", "out/vgg.onnx", "out/v.onnx", *arguments]) == 0
    assert json.loads(Path("out/e.json").read_text())["ann"] == {"top1": pytest.approx(11 / 12)}


def test_eval_shows_energy_in_80_columns(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    evaluate = ["eval", "mlp.onnx", "snn.onnx", "--data", "labelled.npz", "--timesteps", "1,128"]
    assert main([*evaluate, "--sop-joules", "9.99e-9", "--flop-joules", "1e-9"]) == 0
    stderr = capsys.readouterr().err
    assert "energy a sample (9.99e+06 fJ a SOP, 1000 pJ a FLOP)" in stderr
    assert "SOPs90" in stderr
    assert "…" not in stderr
    assert main([*evaluate, "--no-energy"]) == 0
    assert "energy" not in capsys.readouterr().err


def test_eval_that_is_interrupted_tells_what_it_has(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupting(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
        def progress(_what: str, _done: int, _total: int) -> None:
            raise KeyboardInterrupt

        yield progress

    monkeypatch.setattr("onnx2snn.display.terminal.progress_bar", interrupting)
    arguments = [
        "--data",
        "labelled.npz",
        "--json",
        "out/e.json",
        "--max-drop",
        "0",
        "--timesteps",
        "1",
    ]
    assert main(["eval", "mlp.onnx", "snn.onnx", *arguments]) == 130
    stderr = capsys.readouterr().err
    assert "top1 on 100 samples (interrupted)" in stderr
    assert stderr.splitlines()[-1] == "interrupted; the result is of the first 100 samples"
    result = json.loads(Path("out/e.json").read_text())
    assert (result["partial"], result["samples"]) == (True, 100)
    assert (
        main(["eval", "mlp.onnx", "snn.onnx", "--data", "labelled.npz", "--html", "out/e.html"])
        == 130
    )
    assert "on 200 samples" not in Path("out/e.html").read_text()
    assert "on 100 samples; the evaluation was interrupted" in Path("out/e.html").read_text()


def test_eval_gates_an_error_in_percent(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    x = inputs_for("mlp", 50)
    wanted = ort.InferenceSession("mlp.onnx").run(None, {"input": x})[0] + np.float32(0.1)
    np.savez("out/r.npz", input=x, labels=wanted)
    arguments = [
        "--data",
        "out/r.npz",
        "--metric",
        "mse",
        "--timesteps",
        "2",
        "--quiet",
        "--max-drop",
    ]
    assert main(["eval", "mlp.onnx", "snn.onnx", *arguments, "1"]) == 1
    assert re.search(r"error: mse rises by \d+\.\d\d percent at T = 2", capsys.readouterr().err)
    assert main(["eval", "mlp.onnx", "snn.onnx", *arguments, "1e9"]) == 0


# --- export ---


def test_export_writes_a_model_that_takes_the_anns_place(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(
        ["export", "snn.onnx", "--to", "rollout", "--timesteps", "6", "-o", "out/r.onnx"], capsys
    ) == ("", "")
    with np.load("good.npz") as data:
        x = data["input"]
    (found,) = ort.InferenceSession("out/r.onnx").run(None, {"input": x})
    (wanted,) = onnx2snn.SpikingSession("snn.onnx").run(None, {"input": x}, 6)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    _, stderr = shown(["inspect", "out/r.onnx"], capsys)
    assert "rollout of a spiking model: " in stderr
    assert "timesteps 6" in stderr


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_export_writes_arrays(
    ending: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "snn.onnx", "--to", "arrays", "--batch", "2", "-o", f"out/r.{ending}"]
    assert shown(command, capsys) == ("", "")
    onnx2snn.dump("snn.onnx", batch=2).save(f"wanted.{ending}")
    if ending == "npz":  # a zip file has the time of its making
        with np.load("out/r.npz") as found, np.load("wanted.npz") as wanted:
            assert found.files == wanted.files
            for name in wanted.files:
                np.testing.assert_array_equal(found[name], wanted[name])
    else:
        assert Path("out/r.safetensors").read_bytes() == Path("wanted.safetensors").read_bytes()


# --- inspect ---


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    assert main(arguments) == 0
    stdout, stderr = capsys.readouterr()
    return stdout, stderr


INSPECTED: dict[str, tuple[str, Callable[[dict[str, Any]], bool], list[str]]] = {
    "an ANN": (
        "resnet.onnx",
        lambda a: a["kind"] == "ann" and a["convertible"],
        ["a1", "neuron", "convertible: "],
    ),
    "a spiking model": (
        "snn.onnx",
        lambda a: a["kind"] == "snn",
        ["h1", "IF", "spiking model: ", "timesteps 32", "analog nodes: none"],
    ),
    "a refused operator": (
        "stubborn.onnx",
        lambda a: not a["convertible"] and "culprit" in a["reason"],
        ["culprit", "refused", "not convertible: node 'culprit'"],
    ),
    "an operator on estimates": (
        "analog.onnx",
        lambda a: a["convertible"] and a["summary"]["estimated"] > 0,
        ["culprit", "computed on the", "convertible: ", "coding: differential", "0 analog"],
    ),
    "an analog operator": (
        "analog.onnx --coding rate",
        lambda a: a["convertible"] and a["summary"]["analog"] == 1,
        ["culprit", "telescoped: not linear", "convertible: ", "1 analog"],
    ),
    "nothing to convert": (
        "linear.onnx",
        lambda a: not a["convertible"],
        ["not convertible: there is nothing"],
    ),
}


@pytest.mark.parametrize("kind", INSPECTED)
def test_inspect_shows_a_table_or_json(
    kind: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    line, holds, texts = INSPECTED[kind]
    model = line.split()
    stdout, stderr = shown(["inspect", *model], capsys)
    assert stdout == ""
    assert all(text in " ".join(stderr.split()) for text in texts)
    stdout, stderr = shown(["inspect", *model, "--json"], capsys)
    assert stderr == ""
    assert holds(json.loads(stdout))
    files.assert_untouched()
