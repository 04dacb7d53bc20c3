"""The states a core hands from one time-step to the next, and how onnxruntime takes their values.

A state's value is an array per chunk of the batch, since chunks are simulated side by side. At the
start it is zeros of shape [1, ..., 1], which broadcast to any batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.protos.batch_arrays import samples_of
from onnx2snn.protos.batch_types import BatchAxis
from onnx2snn.runtime.cut import Carried

Axes = Mapping[str, BatchAxis]
"""The batch axes of the tensors that are divided, by name."""
Values = dict[str, ort.OrtValue]
"""Tensors as onnxruntime holds them, by name."""


class CoreStates:
    """The states of a core; no values, so that all runs share it."""

    def __init__(
        self,
        carried: Sequence[Carried],
        restarted: Collection[str],
        membranes: Sequence[str],
        *,
        all_go_on: bool = False,
    ) -> None:
        """Take note of the states.

        Args:
            carried: The states.
            restarted: Names of those that each run starts at zero, such as the sums of the answer.
            membranes: Names of the membrane potentials of neurons that take no spikes back.
            all_go_on: Whether a run on other inputs goes on from all that are not restarted.
        """
        self.carried = carried
        self.all_go_on = all_go_on
        names = [state.input for state in carried]
        self.kept = [name for name in names if name not in set(restarted)]
        """Names of those that a run on the same inputs goes on from."""
        self.membranes = tuple(membranes)
        """Names of those that a run on other inputs goes on from, in part."""
        self.zeros = self._zeros()

    def _zeros(self) -> Values:
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


def ort_values(
    arrays: Mapping[str, Array], chunk: slice | None = None, axes: Axes | None = None
) -> Values:
    """Return arrays as onnxruntime takes them.

    Args:
        arrays: By name.
        chunk: The samples to take; None takes all of them.
        axes: The batch axes of the arrays that are divided; all others stay whole.
    """
    values = {}
    for name, array in arrays.items():
        place = axes.get(name) if axes else None
        if chunk is not None and place is not None:
            array = samples_of(array, place, chunk.start, chunk.stop)
        # an OrtValue shares the memory of the array, which has to be in one piece
        contiguous = np.ascontiguousarray(array)
        values[name] = ort.OrtValue.ortvalue_from_numpy(contiguous)
    return values
