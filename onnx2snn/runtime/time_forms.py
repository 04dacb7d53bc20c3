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
"""Input [K] of a time-batched core: its length is the number of steps, its values do not matter."""
STEPS = f"{OWN}steps"
"""K, int64 [1]."""


def unfolded_name(name: str) -> str:
    """Return the name of a tensor's unfolded form; nothing but a form has such a name."""
    return f"{OWN}{name}/unfolded"


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
            rank: Per time-step; axes of length 1 are put behind K to make it up. None is the
                tensor's own.

        Returns:
            The unfolded tensor.
        """
        own = self.core.facts.ranks[name]
        more = 0 if rank is None else rank - own
        output = unfolded_name(name)
        if more:
            output = f"{output}/{more}"
        if not self.build.has(output):
            shape = self._unfolded_shape(name, own, more)
            self.build.emit("Reshape", [name, shape], output)
        return output

    def _unfolded_shape(self, name: str, rank: int, more: int) -> str:
        """[K, 1, ..., 1, M, ...], where M is left to be found (-1)."""
        ones = [1] * more
        sizes = self.core.sizes(name, rank)
        if sizes is not None:
            # the sizes are numbers, so the shape is shared by all tensors of these sizes
            behind = self.ints([*ones, -1, *sizes])
            shape = f"{OWN}unfolded/{more}/{sizes}"
            return self.build.emit("Concat", [STEPS, behind], shape, axis=0)
        # sizes are told at run time: all of [K M, ...] but the leading one
        tail = f"{OWN}{name}/tail"
        self.build.emit("Shape", [name], tail, start=1)
        samples = self.ints([*ones, -1])
        shape = f"{OWN}{name}/unfolded/{more}/shape"
        return self.build.emit("Concat", [STEPS, samples, tail], shape, axis=0)

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
            # all sizes of [K, M, ...] but the first two
            tail = f"{OWN}{name}/folded/tail"
            self.build.emit("Shape", [unfolded], tail, start=2)
            leading = self.ints([-1])
            shape = f"{OWN}{name}/folded/shape"
            self.build.emit("Concat", [leading, tail], shape, axis=0)
        self.build.emit("Reshape", [unfolded, shape], name)

    def repeated(self, name: str) -> str:
        """Return a tensor constant in time, once for each time-step, in folded form."""
        rank = self.core.facts.ranks[name]
        # [M, ...] K times along the leading axis: [K M, ...]
        ones = self.ints([1] * (rank - 1))
        repeats = f"{OWN}{name}/repeats"
        self.build.emit("Concat", [STEPS, ones], repeats, axis=0)
        return self.build.emit("Tile", [name, repeats], f"{OWN}{name}/repeated")

    def ints(self, values: Sequence[int]) -> str:
        """Return a constant vector of whole numbers."""
        name = f"{OWN}ints/{list(values)}"
        return self.build.constant(name, np.array(values, np.int64))
