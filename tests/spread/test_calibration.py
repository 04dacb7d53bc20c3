"""Statistics on a Dask cluster: a conversion writes the same bytes as on one machine."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
from helpers.networks import NETWORKS, inputs_for

import onnx2snn
from onnx2snn.calibrate import sample_passes
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.spread.opening import spread_of

METHODS: dict[str, dict[str, Any]] = {
    "max": {"method": "max"},
    "percentile": {"method": "percentile", "percentile": 99.5},
    "mmse": {"method": "mmse", "coding": "rate", "granularity": "layer"},
    "differential": {"preset": "differential"},
    "weighted": {"coding": "rate", "sites": "weighted"},
    "local": {"method": "local", "iterations": 6},
    "corrected": {"method": "max", "correct": "bias"},
}


def converted(data: Any, options: dict[str, Any], *arguments: Any, network: str = "mlp") -> bytes:
    settings = Settings(timesteps=4, threads=1, batch_size=20, **options)
    model = run_conversion(NETWORKS[network](), data, settings, *arguments).model
    found: bytes = model.SerializeToString(deterministic=True)
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(file, **{"input": inputs_for("mlp", 630)})
    return str(file)


def unheard(work: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("name", METHODS)
def test_a_conversion_writes_the_same_bytes(
    client: Any, path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so that a mini-batch takes several passes, which workers share
    monkeypatch.setattr(sample_passes, "CACHED", 2**6)
    options = METHODS[name]
    there = converted(path, options, unheard, None, spread_of(client))
    assert there == converted(path, options)


def test_arrays_are_sent_to_the_workers(client: Any) -> None:
    data, options = inputs_for("mobilenet", 60), METHODS["differential"]
    there = converted(data, options, unheard, None, spread_of(client), network="mobilenet")
    assert there == converted(data, options, network="mobilenet")


def test_random_inputs_are_sent_to_the_workers(client: Any) -> None:
    options = METHODS["differential"]
    there = converted(None, options, unheard, None, spread_of(client))
    assert there == converted(None, options)


@pytest.mark.parametrize("stage", ["histograms", "local threshold balancing"])
def test_a_killed_worker_loses_nothing(
    client: Any, path: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_passes, "CACHED", 2**6)
    method = METHODS["local" if "local" in stage else "percentile"]
    killed: list[int] = []

    def progress(work: str, done: int, total: int) -> None:
        if work == stage and not killed:
            killed.append(done)
            pid = next(iter(client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)

    there = converted(path, method, progress, None, spread_of(client))
    assert killed
    assert there == converted(path, method)


def test_the_function_takes_a_client(client: Any, path: str) -> None:
    options: dict[str, Any] = {"timesteps": 4, "threads": 1, "preset": "differential"}
    there = onnx2snn.convert(NETWORKS["mlp"](), inputs_for("mlp", 60), client=client, **options)
    here = onnx2snn.convert(NETWORKS["mlp"](), inputs_for("mlp", 60), **options)
    assert there.model == here.model
