"""Seeds of the corpus: small networks of every kind, what becomes of them, and their rollouts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from helpers.networks import assemble, mlp, resnet

import onnx2snn
from onnx2snn.errors import Onnx2snnError


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes."""
    for name, network in _networks().items():
        yield f"{name}.ann", network.SerializeToString()
        for coding, options in CODINGS.items():
            yield from _spiking(f"{name}.{coding}", network, options)


def _networks() -> dict[str, onnx.ModelProto]:
    return {
        "mlp": mlp(),
        "resnet": resnet(),
        "attention": assemble(["gate", "attention"]),
        "fixed": assemble(["relu"], batch=2),
    }


CODINGS: dict[str, dict[str, Any]] = {
    "rate": {"preset": "paper", "timesteps": 2},
    "signed": {"preset": "low-latency", "timesteps": 2},
    "differential": {"preset": "differential", "timesteps": 2},
    "digits": {"preset": "differential", "timesteps": 2, "digits": 2, "encode_input": True},
}
"""Options of the spiking models among the seeds."""


def _spiking(
    name: str, network: onnx.ModelProto, options: dict[str, Any]
) -> Iterator[tuple[str, bytes]]:
    with warnings.catch_warnings():
        # there are no data
        warnings.simplefilter("ignore")
        try:
            made = onnx2snn.convert(network, **options).to_bytes()
        except Onnx2snnError:
            return  # not every network has neurons of every kind
    yield f"{name}.snn", made
    yield f"{name}.rollout", onnx2snn.rollout(made).SerializeToString()


MOST_BYTES = 2**14
"""Bytes of a fuzzed file: small ones are read, changed and refused faster."""


def write_seeds(folder: Path) -> None:
    """Write the seeds that a corpus lacks, as far as they are small."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        path = folder / name
        if len(data) <= MOST_BYTES and not path.exists():
            path.write_bytes(data)
