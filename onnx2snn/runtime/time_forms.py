"""The two forms of a tensor that varies in time, each made where a node asks for it.

    folded, under its own name:  [K M, ...]     the steps one after the other along the leading axis
    unfolded:                    [K, M, ...]    the steps along an axis of their own

[M, ...] is its shape in one time-step, K the number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.protos.building import ProtoBuilder
from onnx2snn.runtime.time_core import OWN, TimedCore
from onnx2snn.snn.format import SNN_DOMAIN

TICKS = f"{SNN_DOMAIN}/ticks"
"""Input [K] of a time-batched core: its length is the number of time-steps, its values do not matter."""
STEPS = f"{OWN}steps"
"""K, int64 [1]."""


class Forms:
    """Makes the forms of a core's tensors, by nodes that it appends to a builder."""

    def __init__(self, core: TimedCore, build: ProtoBuilder) -> None:
        """Begin with K."""
        self.core = core
        self.build = build
        build.emit("Shape", [TICKS], STEPS)

    def unfolded(self, name: str, rank: int | None = None) -> str:
        """[K M, ...] -> [K, M, ...].

        Args:
            name: A tensor that varies in time.
            rank: Per time-step; axes of length 1 are put behind K to make it up. None is the tensor's own.

        Returns:
            The unfolded tensor.
        """
        own = self.core.facts.ranks[name]
        more = (rank or own) - own
        output = f"{OWN}{name}/unfolded"
        if more:
            output = f"{output}/{more}"
        if self.build.has(output):
            return output
        sizes = self.core.sizes(name, own)
        ones = [1] * more
        if sizes is not None:
            # [K, 1, ..., 1, M, sizes], where M is found from the rest
            shape = f"{OWN}unfolded/{more}/{sizes}"
            self.build.emit("Concat", [STEPS, self.ints([*ones, -1, *sizes])], shape, axis=0)
        else:
            tail = self.build.emit("Shape", [name], f"{OWN}{name}/tail", start=1)
            shape = f"{OWN}{name}/unfolded/{more}/shape"
            self.build.emit("Concat", [STEPS, self.ints([*ones, -1]), tail], shape, axis=0)
        return self.build.emit("Reshape", [name, shape], output)

    def fold(self, unfolded: str, name: str, rank: int) -> None:
        """[K, M, ...] -> [K M, ...].

        Args:
            unfolded: The tensor at hand.
            name: The tensor to make.
            rank: Per time-step.
        """
        sizes = self.core.sizes(name, rank)
        if sizes is not None:
            shape = self.ints([-1, *sizes])
        else:
            tail = self.build.emit("Shape", [unfolded], f"{OWN}{name}/folded/tail", start=2)
            parts = [self.ints([-1]), tail]
            shape = self.build.emit("Concat", parts, f"{OWN}{name}/folded/shape", axis=0)
        self.build.emit("Reshape", [unfolded, shape], name)

    def repeated(self, name: str) -> str:
        """Return a tensor constant in time, once for each time-step, in folded form."""
        ones = self.ints([1] * (self.core.facts.ranks[name] - 1))
        repeats = self.build.emit("Concat", [STEPS, ones], f"{OWN}{name}/repeats", axis=0)
        return self.build.emit("Tile", [name, repeats], f"{OWN}{name}/repeated")

    def ints(self, values: Sequence[int]) -> str:
        """Return a constant vector of whole numbers."""
        return self.build.constant(f"{OWN}ints/{list(values)}", np.array(values, np.int64))
