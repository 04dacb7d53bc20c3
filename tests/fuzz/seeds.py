"""Seeds of the corpus: small networks of every kind, what becomes of them, and their rollouts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
from helpers.networks import assemble, mlp, resnet

import onnx2snn


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes."""
    networks = {"mlp": mlp(), "resnet": resnet()}
    for name, network in networks.items():
        yield f"{name}.ann", network.SerializeToString()
    for name in ("mlp", "resnet"):
        yield from _spiking(name, networks[name])
    yield from _spiking("fixed", assemble(["relu"], batch=2))


def _spiking(name: str, network: onnx.ModelProto) -> Iterator[tuple[str, bytes]]:
    with warnings.catch_warnings():
        # there are no data
        warnings.simplefilter("ignore")
        made = onnx2snn.convert(network, preset="paper", method="max", timesteps=2).to_bytes()
    yield f"{name}.snn", made
    yield f"{name}.rollout", onnx2snn.rollout(made).SerializeToString()


def write_seeds(folder: Path) -> None:
    """Write the seeds that a corpus lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        path = folder / name
        if not path.exists():
            path.write_bytes(data)
