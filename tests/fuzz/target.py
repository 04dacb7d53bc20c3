"""What is fuzzed: a model file on its way through every entry of the package."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import onnx

import onnx2snn
from onnx2snn.errors import Onnx2snnError
from onnx2snn.options import Preset
from onnx2snn.prepare.normalise import normalise
from onnx2snn.protos import budget
from onnx2snn.protos.load import load_model
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.snn.format import METADATA_KEY

PRESETS: tuple[Preset, ...] = ("paper", "differential")
"""One of each coding."""

MEMORY = 2**28
"""Bytes that a fuzzed model may ask for: random samples of it are drawn in no time."""

LITTLE = 2**23
"""Bytes where executions have to be cheap."""

SIZE = 3
"""The size that a free dimension is given."""

MOST_VALUES = 2**16
"""Values of an input beyond which a spiking model is not run."""


def one_input(data: bytes) -> None:
    """Take bytes through the whole package; any other exception than its own is a finding."""
    with _bounded(MEMORY):
        _attempt(lambda: onnx2snn.inspect(data))
        for preset in PRESETS:
            _attempt(lambda: _run(_converted(data, preset)))  # noqa: B023 - called at once
        _attempt(lambda: _run(data))
        _attempt(lambda: onnx2snn.rollout(data, timesteps=3))


def one_way(data: bytes) -> None:
    """Take bytes through one entry of the package: which one, the bytes say.

    An execution that costs a tenth lets a fuzzer try ten times as much. An ANN is converted one
    time of eight, since what is wrong with a file is mostly met before.
    """
    chance = zlib.crc32(data) % 16
    with _bounded(LITTLE):
        if METADATA_KEY.encode() in data:
            _attempt((_SPIKING_WAYS[chance % len(_SPIKING_WAYS)])(data))
        elif chance < len(PRESETS):
            _attempt(lambda: _converted(data, PRESETS[chance]))
        elif chance < 8:
            _attempt(lambda: onnx2snn.inspect(data))
        else:
            _attempt(lambda: normalise(load_model(data)))


@contextlib.contextmanager
def _bounded(memory: int) -> Iterator[None]:
    budget.allow(memory)
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _attempt(work: Callable[[], object]) -> None:
    with contextlib.suppress(Onnx2snnError, MemoryError):
        work()


def _converted(data: bytes, preset: Preset) -> bytes:
    return onnx2snn.convert(data, preset=preset, timesteps=2).to_bytes()


def _run(data: bytes) -> None:
    session = onnx2snn.SpikingSession(data, threads=1)
    feed = {spec.name: _zeros(spec) for spec in session.inputs}
    if sum(array.size for array in feed.values()) < MOST_VALUES:
        session.run(None, feed, timesteps=3)
        _attempt(lambda: list(session.stream([feed, feed], 2)))


_SPIKING_WAYS: tuple[Callable[[bytes], Callable[[], object]], ...] = (
    lambda data: lambda: _run(data),
    lambda data: lambda: onnx2snn.inspect(data),
    lambda data: lambda: onnx2snn.rollout(data, timesteps=3),
)


def _zeros(spec: TensorSpec) -> np.ndarray:
    shape = [size if isinstance(size, int) else SIZE for size in spec.shape or (1, SIZE)]
    if np.prod(shape, dtype=np.float64) >= MOST_VALUES:
        shape = [0]
    return np.zeros(shape, spec.dtype)


def parses(data: bytes) -> bool:
    """Whether protobuf takes the bytes for a model."""
    try:
        onnx.ModelProto.FromString(data)
    except Exception:  # noqa: BLE001 - DecodeError, or one of upb's own
        return False
    return True
