"""Which schedule a run takes, and into which chunks its batch is divided.

All figures are measured (docs/performance.md): time folded into the batch axis is faster as long as several time-steps
fit into one pass, and chunks with a thread each are faster than one batch on all threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.runtime.parts import Parts
from onnx2snn.runtime.schedules import Batched, Stepped
from onnx2snn.runtime.states import CoreStates, ort_values
from onnx2snn.snn.step_model import StepModel

Schedule = Literal["auto", "stepped", "batched"]
"""How the core is run: a pass for each time-step, many time-steps in one pass, or whichever is faster."""

NEURON_STEPS = 2**23
"""Neurons times time-steps in one pass: some five tensors of that many numbers are alive, and caches still help."""
STEPS_TOGETHER = 8
"""Time-steps worth having in one pass before a batch is kept whole."""


@dataclass(frozen=True)
class Plan:
    """How one run goes: the way through time, taken by each chunk of the batch (None: all of it)."""

    way: Stepped | Batched
    chunks: Sequence[slice | None]


class Planner:
    """Plans the runs of one model, whose sessions it has opened."""

    def __init__(
        self, model: StepModel, inputs: Sequence[TensorSpec], parts: Parts, states: CoreStates
    ) -> None:
        """Plan with these sessions and states; `inputs` are the ANN's own."""
        self._model = model
        self._parts = parts
        self._states = states
        self._neurons: dict[tuple[tuple[int, ...], ...], int] = {}
        """Neurons, by the shapes of what the encoder hands over."""
        self._divides = _has_free_batch(inputs) and _neurons_have_batch(model)

    def open_core(self, schedule: Schedule) -> None:
        """Open the core that a schedule needs first; UsageError where the network forbids it."""
        if self._is_stepped(schedule):
            _ = self._parts.core
        else:
            _ = self._parts.batched_core

    def plan(self, schedule: Schedule, to_core: Mapping[str, Array]) -> Plan:
        """Plan a run of a core that is handed these tensors."""
        if self._is_stepped(schedule):
            return self._stepped()
        neurons = self.neurons(to_core)
        chunks = self._chunks(batch_of(to_core), neurons)
        if schedule == "auto" and neurons > len(chunks) * NEURON_STEPS // 2:
            return self._stepped()  # not even two time-steps fit into a pass
        neurons_of_chunk = -(-neurons // len(chunks))
        most = max(1, NEURON_STEPS // neurons_of_chunk)
        side_by_side = len(chunks) > 1 and self._parts.opening.workers > 1
        if side_by_side:
            core = self._parts.batched_core_of_a_worker
        else:
            core = self._parts.batched_core
        return Plan(Batched(core, self._states.carried, most), chunks)

    def neurons(self, to_core: Mapping[str, Array]) -> int:
        """Return how many neurons there are for these inputs.

        The model's description says it, or one step that is tried and forgotten.
        """
        shapes = tuple(array.shape for array in to_core.values())
        if shapes not in self._neurons:
            of_sample = neurons_of(self._model)
            if of_sample is not None:
                self._neurons[shapes] = of_sample * batch_of(to_core)
            else:
                self._neurons[shapes] = self._tried(to_core)
        return self._neurons[shapes]

    def _tried(self, to_core: Mapping[str, Array]) -> int:
        once = Batched(self._parts.batched_core, self._states.carried, 1)
        values = once.one_step(ort_values(to_core), self._states.zeros)
        membranes = [state.input for state in self._model.states if state.kind == "membrane"]
        return sum(prod(values[name].shape()) for name in membranes)

    def _is_stepped(self, schedule: Schedule) -> bool:
        if schedule == "auto":
            return self._parts.refusal is not None
        return schedule == "stepped"

    def _stepped(self) -> Plan:
        return Plan(Stepped(self._parts.core, self._states.carried), [None])

    def _chunks(self, samples: int, neurons: int) -> Sequence[slice | None]:
        if samples <= 1 or not self._divides:
            return [None]
        return chunks_of(samples, neurons, self._parts.opening.workers)


def neurons_of(model: StepModel) -> int | None:
    """Return the neurons of one sample, or None where the description does not know their number."""
    total = 0
    for neuron in model.metadata["neurons"]:
        shape = neuron["shape"][1:]
        sizes = [size for size in shape if isinstance(size, int)]
        if len(sizes) < len(shape):
            return None
        total += prod(sizes)
    return total


def batch_of(to_core: Mapping[str, Array]) -> int:
    """Return the samples in what the encoder hands over; 1 where its tensors do not agree on a leading axis."""
    sizes = {array.shape[0] if array.ndim else 1 for array in to_core.values()}
    return sizes.pop() if len(sizes) == 1 else 1


def chunks_of(samples: int, neurons: int, workers: int) -> list[slice]:
    """Divide a batch so that one pass still holds several time-steps of a chunk.

    Args:
        samples: The size of the batch.
        neurons: Of the whole batch.
        workers: Chunks that run at once. There are as many chunks, or a multiple, as far as there are samples.
    """
    # the most samples of which STEPS_TOGETHER steps fit into a pass: n * neurons / samples * steps <= NEURON_STEPS
    most = max(1, NEURON_STEPS * samples // (neurons * STEPS_TOGETHER))
    rounds = -(-samples // (most * workers))
    count = min(samples, workers * rounds)
    bounds = np.linspace(0, samples, count + 1).astype(int)
    return [slice(int(start), int(end)) for start, end in pairwise(bounds)]


def _has_free_batch(inputs: Sequence[TensorSpec]) -> bool:
    """Whether every input takes any number of samples."""
    return all(spec.shape and not isinstance(spec.shape[0], int) for spec in inputs)


def _neurons_have_batch(model: StepModel) -> bool:
    """Whether every neuron's state has a batch axis beside others."""
    return all(len(neuron["shape"]) > 1 for neuron in model.metadata["neurons"])
