"""The states a core hands from one time-step to the next, and their values between two runs.

A state's value is an array per chunk of the batch, since chunks are simulated side by side. At the
start it is zeros of shape [1, ..., 1], which broadcast to any batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.runtime.cut import Carried

Values = dict[str, ort.OrtValue]
"""Tensors as onnxruntime holds them, by name."""


class CoreStates:
    """The states of a core after the last pass, by the names of their inputs."""

    def __init__(self, carried: Sequence[Carried], restarted: Collection[str]) -> None:
        """Start with no value.

        Args:
            carried: The states.
            restarted: Names of those that each run starts at zero, such as the sums of the answer.
        """
        self.carried = carried
        self.chunks: list[Values] = []
        """The values, one entry a chunk of the batch; empty before the first step."""
        self._restarted = set(restarted)

    @cached_property
    def zeros(self) -> Values:
        """Every state at the start; states of the same rank share one value."""
        by_rank: dict[int, ort.OrtValue] = {}
        zeros = {}
        for state in self.carried:
            rank = state.rank
            if rank not in by_rank:
                zero = np.zeros([1] * rank, np.float32)
                by_rank[rank] = ort.OrtValue.ortvalue_from_numpy(zero)
            zeros[state.input] = by_rank[rank]
        return zeros

    def value(self, name: str, *, copy: bool = True) -> Array:
        """Return a state after the last step, the chunks of the batch together.

        What is not copied holds until the next step.
        """
        # a state without a batch axis is the same for all chunks
        found = [values[name].numpy() for values in self.chunks]
        has_batch = found[0].ndim >= 2
        if len(found) > 1 and has_batch:
            return np.concatenate(found)
        return np.array(found[0], copy=copy)

    def going_on(self) -> dict[str, Array]:
        """Return copies of the states that a run without a reset goes on from."""
        if not self.chunks:
            return {}
        kept = {}
        for state in self.carried:
            if state.input not in self._restarted:
                kept[state.input] = self.value(state.input)
        return kept


def ort_values(arrays: Mapping[str, Array], chunk: slice | None = None) -> Values:
    """Return arrays as onnxruntime takes them.

    Args:
        arrays: By name. Those without a batch axis (one axis or none, or of length 1) stay whole.
        chunk: The samples to take; None takes all of them.
    """
    values = {}
    for name, array in arrays.items():
        has_batch = array.ndim > 1 and len(array) > 1
        if chunk is not None and has_batch:
            array = array[chunk]
        # an OrtValue shares the memory of the array, which has to be in one piece
        contiguous = np.ascontiguousarray(array)
        values[name] = ort.OrtValue.ortvalue_from_numpy(contiguous)
    return values
