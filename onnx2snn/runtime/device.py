"""The memory that a provider computes in, where the states of a core stay from step to step.

Providers of a device with memory of its own get their tensors there: what one step hands on is
bound as the input of the next one, and nothing crosses to the host but what somebody reads. All
other providers take the host's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.protos.providers import Provider, name_of, options_of, short

Values = dict[str, ort.OrtValue]
"""Tensors as onnxruntime holds them, by name."""

KINDS = {"cuda": "cuda", "tensorrt": "cuda", "dml": "dml", "cann": "cann"}
"""onnxruntime's name for a provider's memory, by short names."""

FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
"""Types of the tensors that a device computes with; sizes and indices stay with the host."""


@dataclass(frozen=True)
class Device:
    """One device's memory, by onnxruntime's name for its kind and its number."""

    kind: str = "cpu"
    number: int = 0

    @property
    def is_host(self) -> bool:
        """Whether that is the host's own memory."""
        return self.kind == "cpu"

    def put(self, array: Array) -> ort.OrtValue:
        """Return an array as onnxruntime takes it there; in the host's memory it is not copied."""
        # an OrtValue of the host shares the memory of the array, which has to be in one piece
        contiguous = np.ascontiguousarray(array)
        if contiguous.dtype.kind != "f":
            return ort.OrtValue.ortvalue_from_numpy(contiguous)
        return ort.OrtValue.ortvalue_from_numpy(contiguous, self.kind, self.number)

    def empty_like(self, value: ort.OrtValue) -> ort.OrtValue:
        """Return a buffer for a state of the same shape."""
        return ort.OrtValue.ortvalue_from_shape_and_type(
            value.shape(), np.float32, self.kind, self.number
        )

    def read(self, value: ort.OrtValue) -> Array:
        """Return a tensor as an array; the host's own is not copied."""
        found: Array = value.numpy()
        return found

    def bind_output(self, binding: ort.IOBinding, name: str) -> None:
        """Let onnxruntime make an output there."""
        binding.bind_output(name, self.kind, self.number)


HOST = Device()


def device_of(providers: Sequence[Provider]) -> Device:
    """Return the memory of the first provider, which computes all that it can."""
    first = providers[0]
    kind = KINDS.get(short(name_of(first)))
    if kind is None:
        return HOST
    return Device(kind, int(options_of(first).get("device_id", 0)))
