"""The form of a rollout with time folded into the batch axis.

The time-batched core is there once for each pass: first those over the delay, then, from sums that
start afresh, those over the evaluation window. Passes are written out if they are few, else
repeated in a Loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from onnx2snn.runtime.cut import Carried
from onnx2snn.runtime.plan import NEURON_STEPS, neurons_of
from onnx2snn.runtime.time_forms import TICKS
from onnx2snn.runtime.unrolling import OWN, Held, Unrolling, with_prefix

MOST_PASSES = 32
"""Passes of one stretch written out; onnxruntime's fastest layouts do not reach into a Loop."""


def unroll_folded(unrolling: Unrolling, core: onnx.ModelProto, total: int, start: int) -> None:
    """Append all time-steps, and the means over the evaluation window.

    Args:
        unrolling: The graph at work.
        core: The time-batched core.
        total: Number of time-steps T.
        start: The delay: steps left out of the means.
    """
    unrolling.add_constants(core)
    neurons = neurons_of(unrolling.step)
    most = max(1, NEURON_STEPS // neurons) if neurons else total
    passes = _Passes(unrolling, core, most)
    held = unrolling.all_zeros(unrolling.states)
    held = passes.stretch(held, f"{OWN}delay/", start)
    # the sums start afresh behind the delay
    held |= unrolling.all_zeros(unrolling.sums)
    held = passes.stretch(held, f"{OWN}window/", total - start)
    unrolling.answer(held, total - start)


@dataclass(frozen=True)
class _Passes:
    """Passes of a time-batched core, of at most `most` time-steps each."""

    unrolling: Unrolling
    core: onnx.ModelProto
    most: int

    def stretch(self, held: Held, prefix: str, steps: int) -> Held:
        """Append some time-steps; return the states behind them."""
        count = self._needed(steps)
        if count > MOST_PASSES:
            # equal passes in a Loop, then a last one for the steps that are left over
            each, steps = divmod(steps, count)
            held = self._repeated(held, f"{prefix}loop/", each, count)
            count = self._needed(steps)
        for index in range(count):
            # the passes left take equal shares of the steps left
            each = steps // (count - index)
            of_pass = f"{prefix}{index}/"
            for node in self._nodes(held, of_pass, each):
                self.unrolling.build.append(node)
            for value in self.core.graph.value_info:
                self.unrolling.types.append(_type_with_prefix(value, of_pass))
            held = self._after(of_pass)
            steps -= each
        return held

    def _needed(self, steps: int) -> int:
        """The fewest passes for some steps (rounded up)."""
        return -(-steps // self.most)

    def _repeated(self, held: Held, prefix: str, steps: int, repeats: int) -> Held:
        """Append a Loop over equal passes."""
        after = self._after(prefix)
        # in the body a state has the names of the pass
        inside = {}
        carried = []
        for state in self.unrolling.states:
            before = f"{prefix}{state.input}"
            inside[state.input] = before
            carried.append(Carried(before, after[state.input], state.rank))
        nodes = self._nodes(inside, prefix, steps)
        count = f"{OWN}repeats/{repeats}"
        scalar = np.array(repeats, np.int64)
        self.unrolling.build.constant(count, scalar)
        return self.unrolling.loop(prefix, count, nodes, carried, held)

    def _after(self, prefix: str) -> Held:
        """The states behind a pass."""
        return {state.input: f"{prefix}{state.output}" for state in self.unrolling.states}

    def _nodes(self, held: Mapping[str, str], prefix: str, steps: int) -> list[onnx.NodeProto]:
        """The core's nodes, for one pass of some steps from the states held."""
        build = self.unrolling.build
        ticks = f"{TICKS}/{steps}"
        # only the length of this input counts
        build.constant(ticks, np.zeros(steps, np.float32))
        given = {TICKS: ticks, **held}
        kept = {*build.constants, *self.unrolling.step.to_core}
        return [with_prefix(node, prefix, given, kept) for node in self.core.graph.node]


def _type_with_prefix(value: onnx.ValueInfoProto, prefix: str) -> onnx.ValueInfoProto:
    """Return a shape that a core declares, under the names of a pass.

    Each pass has a leading axis of its own.
    """
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = f"{prefix}{value.name}"
    leading = copy.type.tensor_type.shape.dim[0]
    leading.dim_param = f"{prefix}{leading.dim_param}"
    return copy
