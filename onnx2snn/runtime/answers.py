"""The answer of a run: sums over an evaluation window -> their means -> the readout.

The core adds up what the readout takes, since the first step. So the mean over the steps start + 1
to end of a run is
    mean = (sum[end] - sum[start]) / (end - start),
and one simulation answers for any number of windows, if the sums at their starts are kept (paper,
section 5). Where states are estimates the readout takes these themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.runtime.parts import Parts, with_outputs
from onnx2snn.runtime.runs import Run
from onnx2snn.snn.step_model import StepModel

Sums = dict[str, Array]
"""Sums over time since the first step, by the tensor that the readout takes their mean as."""


@dataclass(frozen=True)
class Span:
    """An evaluation window: the answer is the mean over the steps `start` + 1 to `end`."""

    start: int
    end: int


class Answers:
    """Answers of one model, from the sums that its core has made so far."""

    def __init__(self, model: StepModel, parts: Parts) -> None:
        """Answer with the readout of these sessions."""
        self._outputs = model.outputs
        self._needed = {*model.to_readout, *model.outputs}
        self._parts = parts
        self._means = not model.estimates
        self._inputs: dict[str, str] = {}
        """The state that holds a sum, by the tensor that the readout takes it or its mean as."""
        for state in model.states:
            tensor = state.mean if self._means else state.output
            if tensor in model.taken:
                self._inputs[tensor] = state.input

    def sums(self, run: Run, *, copy: bool = True) -> Sums:
        """Return a run's sums after its last step; those not copied hold until the next one."""
        sums = {}
        for mean, name in self._inputs.items():
            sums[mean] = run.value(name, copy=copy)
        return sums

    def answer(
        self, static: Mapping[str, Array], sums: Mapping[int, Sums], span: Span
    ) -> list[Array]:
        """Return the answer for a window, in the order of the model's outputs.

        Args:
            static: What is constant in time, by name.
            sums: The sums at the window's start (unless that is 0) and end, by step.
            span: The window.
        """
        steps = np.float32(span.end - span.start)
        # nothing else is looked at: it may lie in the memory of a device
        known = {name: static[name] for name in static if name in self._needed}
        for mean, total in sums[span.end].items():
            if not self._means:
                # the estimate so far
                known[mean] = total
            elif span.start:
                # mean = (sum[end] - sum[start]) / (end - start)
                before = sums[span.start][mean]
                known[mean] = (total - before) / steps
            else:
                known[mean] = total / steps
        found = with_outputs(self._parts.readout, known)
        return [found[name] for name in self._outputs]


def last_uses(spans: Sequence[Span]) -> dict[int, int]:
    """Return how long the sums at the start of windows are needed: start -> their last end."""
    needed: dict[int, int] = {}
    for span in spans:
        if span.start:
            last = needed.get(span.start, 0)
            needed[span.start] = max(span.end, last)
    return needed
