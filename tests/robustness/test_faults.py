"""A disk that fails at any write, or a stage that is stopped, leaves whole files or none."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn.cli.commands import main
from onnx2snn.display import build
from onnx2snn.errors import OutputError
from onnx2snn.pipeline import convert as pipeline
from onnx2snn.pipeline.conversion import Conversion
from onnx2snn.pipeline.cost import Clock
from onnx2snn.protos import large
from onnx2snn.protos.save import save_model
from onnx2snn.settings import Settings
from robustness.faults import Faults, failing_at

NUMBERS = (errno.ENOSPC, errno.EIO, errno.EACCES)

RESULTS = {"-o": "out.onnx", "--save-thresholds": "t.npz", "--report": "r.json", "--html": "p.html"}

OLD = b"of an earlier run"

MOST = 200
"""Changes of the disk that no command comes near to."""


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    return pipeline.run_conversion(mlp(), inputs_for("mlp", 20), Settings(timesteps=2))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and data, and another one for temporary files beside it."""
    folder, spare = tmp_path / "work", tmp_path / "spare"
    folder.mkdir()
    spare.mkdir()
    onnx.save(mlp(), folder / "net.onnx")
    np.save(folder / "x.npy", inputs_for("mlp", 20))
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    monkeypatch.chdir(folder)
    return folder


def arguments() -> list[str]:
    results = [word for pair in RESULTS.items() for word in pair]
    return ["net.onnx", "--calibration", "x.npy", "--timesteps", "2", "--quiet", *results]


def faults_of(
    number: int, act: Callable[[], object], before: Callable[[], object] = lambda: None
) -> Iterator[Faults]:
    """Let each change of the disk fail in turn, until there is none left."""
    for at in range(1, MOST):
        before()
        with failing_at(at, number) as faults:
            act()
        if not faults.struck:
            return
        yield faults
    raise AssertionError("no end of changes")


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fault_at_any_write_leaves_the_files_of_the_run_before(
    number: int,
    conversion: Conversion,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pipeline, "run_conversion", lambda *_: conversion)
    monkeypatch.setattr(build, "present_conversion", lambda *_, **__: "<html></html>")
    assert main(arguments()) == 0
    whole = {name: (work / name).read_bytes() for name in RESULTS.values()}
    capsys.readouterr()
    kept = set(work.iterdir())

    def earlier() -> None:
        for name in RESULTS.values():
            (work / name).write_bytes(OLD)

    codes: list[int] = []
    struck = 0
    for faults in faults_of(number, lambda: codes.append(main(arguments())), earlier):
        struck += 1
        said = capsys.readouterr().err
        if codes[-1] == 0:
            # zipfile opens a file a second time by itself
            assert ".t.npz" in faults.place
            assert not said
            continue
        assert codes[-1] == 2, said
        assert said.count("error: ") == 1
        assert set(work.iterdir()) <= kept
        # what an earlier run left is there as before
        assert all((work / name).read_bytes() == OLD for name in whole)
    assert codes[-1] == 0
    assert struck > 15


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fault_while_weights_are_written_apart_pairs_no_model_with_others_weights(
    number: int, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "LIMIT", 500)
    monkeypatch.setattr(large, "HEAVY", 100)
    target, beside = work / "m.onnx", work / "m.onnx.data"

    def pair(seed: int) -> tuple[bytes, bytes]:
        target.unlink(missing_ok=True)
        save_model(target, mlp(seed=seed))
        return target.read_bytes(), beside.read_bytes()

    old, new = pair(1), pair(0)
    for at in range(1, MOST):
        pair(1)
        with failing_at(at, number) as faults, contextlib.suppress(OutputError):
            save_model(target, mlp())
        found = sorted(path.name for path in work.iterdir() if path.name.startswith((".", "m")))
        assert found in (["m.onnx", "m.onnx.data"], ["m.onnx.data"])
        if target.exists():
            assert (target.read_bytes(), beside.read_bytes()) in (old, new)
        if not faults.struck:
            break
    assert at > 7


STAGES = ("load", "normalise", "arrange", "calibrate", "rewrite", "annotate", "verify")


@pytest.mark.parametrize("preset", ["paper", "differential"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_stopped_leaves_nothing(
    stage: str, preset: str, work: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    entered = Clock.__call__
    kinds: list[type[BaseException]] = [KeyboardInterrupt, MemoryError]

    def stopped(clock: Clock, name: str) -> object:
        if name == stage:
            raise kinds[0]
        return entered(clock, name)

    monkeypatch.setattr(Clock, "__call__", stopped)
    before = set(work.iterdir())
    for code in (130, 2):
        assert main([*arguments(), "--preset", preset]) == code
        kinds.pop(0)
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert set(work.iterdir()) == before
        assert not list(Path(tempfile.gettempdir()).iterdir())


def test_a_folder_for_temporary_files_that_fails_later_is_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "data.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    for _ in range(3):\n"
        "        yield {'input': np.ones((4, 10), np.float32)}\n"
    )
    words = ["net.onnx", "-o", "out.onnx", "--calibration", "data.py:batches", "--quiet"]
    codes: list[int] = []
    for _ in faults_of(errno.ENOSPC, lambda: codes.append(main(words))):
        said = capsys.readouterr().err
        assert codes[-1] == 2, said
        assert said.count("\n") == 1, said
        assert not (work / "out.onnx").exists()
        assert not list(Path(tempfile.gettempdir()).iterdir())
    assert codes[-1] == 0
