"""The states a core hands from one time-step to the next.

A state's value is an array per chunk of the batch, since chunks are simulated side by side. At the
start it is zeros of shape [1, ..., 1], which broadcast to any batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnxruntime as ort

from onnx2snn.runtime.cut import Carried
from onnx2snn.runtime.device import HOST, Device, Values


class CoreStates:
    """The states of a core; no values, so that all runs share it."""

    def __init__(
        self,
        carried: Sequence[Carried],
        restarted: Collection[str],
        membranes: Sequence[str],
        *,
        all_go_on: bool = False,
        device: Device = HOST,
    ) -> None:
        """Take note of the states.

        Args:
            carried: The states.
            restarted: Names of those that each run starts at zero, such as the sums of the answer.
            membranes: Names of the membrane potentials of neurons that take no spikes back.
            all_go_on: Whether a run on other inputs goes on from all that are not restarted.
            device: The memory that their values stay in.
        """
        self.carried = carried
        self.all_go_on = all_go_on
        self.device = device
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
                by_rank[rank] = self.device.put(zero)
            zeros[state.input] = by_rank[rank]
        return zeros
