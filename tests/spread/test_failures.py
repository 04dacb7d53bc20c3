"""Clusters that fail: one sentence, and the right exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for

from onnx2snn.cli.commands import main
from onnx2snn.errors import ClusterError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.score.evaluate import run_evaluation
from onnx2snn.score.question import Question
from onnx2snn.settings import Settings
from onnx2snn.spread import connection
from onnx2snn.spread.opening import spread_over

distributed = pytest.importorskip("distributed")

ARGUMENTS = ["ann.onnx", "snn.onnx", "--data", "data.npy"]


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler in a process of its own, with one worker."""
    file = tmp_path / "scheduler.json"
    options = ["--scheduler-file", str(file)]
    port = ["--port", "0", "--no-dashboard"]
    processes = [started("distributed.cli.dask_scheduler", *options, *port)]
    processes.append(
        started(
            "distributed.cli.dask_worker",
            *options,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
        )
    )
    with distributed.Client(scheduler_file=str(file)) as client:
        client.wait_for_workers(1)
        address = client.scheduler.address
    yield address, processes[0]
    for process in reversed(processes):
        process.kill()
        process.communicate()


def test_a_lost_scheduler_is_one_sentence(scheduler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx2snn.spread.opening.TIMEOUT", 3.0)
    address, process = scheduler
    ann = NETWORKS["mlp"]()
    data = inputs_for("mlp", 2000)
    snn = run_conversion(ann, data[:60], Settings(timesteps=8, method="max", threads=1)).model

    def progress(work: str, done: int, total: int) -> None:
        process.kill()

    with (
        spread_over(address, None, 1) as spread,
        pytest.raises(ClusterError, match="connection to the Dask scheduler is lost, or"),
    ):
        run_evaluation(ann, snn, data, Question(threads=1), progress, spread)


def test_no_scheduler_at_an_address_is_bad_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("onnx2snn.spread.opening.TIMEOUT", 0.5)
    ann = NETWORKS["mlp"]()
    onnx.save(ann, "ann.onnx")
    np.save("data.npy", inputs_for("mlp", 20))
    for address in ("tcp://127.0.0.1:9", "nowhere", "local:0"):
        assert main(["eval", *ARGUMENTS, "--dask", address]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].startswith(f"error: no Dask scheduler answers at '{address}'")


class Answers:
    """A client of a cluster with some workers, by address the release that each has."""

    status = "running"

    def __init__(self, workers: dict[str, str]) -> None:
        self.workers = workers

    def scheduler_info(self) -> dict[str, Any]:
        return {"workers": self.workers}

    def wait_for_workers(self, count: int, seconds: float) -> None:
        raise TimeoutError

    def run(self, function: Any) -> dict[str, str]:
        return self.workers


def test_workers_that_never_come_are_not_waited_for() -> None:
    with pytest.raises(ClusterError, match="has had no workers for 60 s: start some"):
        connection.Connection(cast(Any, Answers({})))


def test_workers_of_another_release_are_refused() -> None:
    with pytest.raises(ClusterError, match=r"there:1 has onnx2snn 0\.0\.1: install"):
        connection.Connection(cast(Any, Answers({"tcp://there:1": "0.0.1"})))


def test_the_package_distributed_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["eval", *ARGUMENTS, "--dask", "local:2"]) == 2
    assert "pip install onnx2snn[distributed]" in capsys.readouterr().err
