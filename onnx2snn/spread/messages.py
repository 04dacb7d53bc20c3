"""Models as bytes that travel."""

from __future__ import annotations

import onnx

from onnx2snn.protos import large, wire
from onnx2snn.spread.work import StaysHere


def message(proto: onnx.ModelProto, name: str) -> bytes:
    """Return the bytes of a model, with weights that stand apart inside; StaysHere over 2 GiB."""
    if not large.fits(proto):
        raise StaysHere(f"'{name}' has more than 2 GiB")
    return b"".join(wire.parts(proto))
