"""Evaluation on a Dask cluster: the result is that of one machine, whatever happens to workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for

import onnx2snn
from onnx2snn import DataError, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings

COUNT = 1600


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    ann = NETWORKS["mlp"]()
    onnx.save(ann, folder / "ann.onnx")
    settings = Settings(timesteps=8, method="max", threads=1)
    run_conversion(ann, inputs_for("mlp", 60), settings).save(folder / "snn.onnx")
    return str(folder / "ann.onnx"), str(folder / "snn.onnx")


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    labels = np.random.default_rng(3).integers(0, 3, COUNT)
    return {"input": inputs_for("mlp", COUNT), "labels": labels}


@pytest.fixture(scope="module")
def path(arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(file, **arrays)
    return str(file)


def evaluated(models: Any, data: Any, **options: Any) -> dict[str, Any]:
    """Return the result without the time that it took."""
    ann, snn = models
    result = onnx2snn.evaluate(ann, snn, data, threads=1, **options)
    return {key: value for key, value in result.items() if key != "seconds"}


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "top1"},
        {"metric": "agreement", "limit": 950, "timesteps": [2, 8]},
        {"metric": "top1", "exit_margin": 0.2, "limit": 700},
    ],
    ids=["top1", "agreement", "early exit"],
)
def test_scores_are_those_of_one_machine(
    client: Any, models: Any, arrays: Any, options: dict[str, Any]
) -> None:
    assert evaluated(models, arrays, client=client, **options) == evaluated(
        models, arrays, **options
    )


def test_workers_read_a_path_themselves(client: Any, models: Any, path: str) -> None:
    there = evaluated(models, path, client=client)
    assert there == evaluated(models, path)


def test_a_metric_of_ones_own_is_run_on_the_workers(
    client: Any, models: Any, path: str, tmp_path: Path
) -> None:
    (tmp_path / "neighbour.py").write_text("def right(a, b):\n    return a == b\n")
    script = tmp_path / "metric.py"
    script.write_text(
        "def score(outputs, labels):\n"
        "    from neighbour import right\n"
        "    return right(outputs[0].argmax(1), labels)\n"
    )
    metric = onnx2snn.script(f"{script}:score")
    there = evaluated(models, path, metric=metric, client=client)
    assert there == evaluated(models, path, metric=metric)


def test_progress_comes_from_finished_tasks(client: Any, models: Any, arrays: Any) -> None:
    told = []

    def progress(work: str, done: int, total: int) -> None:
        told.append((work, done, total))

    evaluated(models, arrays, client=client, progress=progress)
    assert told[-1] == ("evaluating", COUNT, COUNT)
    assert len(told) > 4
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def kill(client: Any, number: int) -> None:
    """Kill some workers."""
    for pid in list(client.run(os.getpid).values())[:number]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [1, 2])
def test_a_killed_worker_loses_nothing(client: Any, models: Any, arrays: Any, number: int) -> None:
    killed: list[int] = []

    def progress(work: str, done: int, total: int) -> None:
        if not killed:
            killed.append(done)
            kill(client, number)

    there = evaluated(models, arrays, client=client, progress=progress)
    assert killed and killed[0] < COUNT
    assert there == evaluated(models, arrays)


def test_an_error_of_the_data_is_the_same_there(client: Any, models: Any, arrays: Any) -> None:
    labels = arrays["labels"].copy()
    labels[1501] = 7
    said = []
    for options in ({}, {"client": client}):
        with pytest.raises(DataError) as caught:
            evaluated(models, arrays | {"labels": labels}, **options)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "sample 1501" in said[0]


def test_only_a_client_is_taken(models: Any, arrays: Any) -> None:
    with pytest.raises(UsageError, match=r"client is a str; give a distributed\.Client"):
        evaluated(models, arrays, client="tcp://127.0.0.1:8786")
