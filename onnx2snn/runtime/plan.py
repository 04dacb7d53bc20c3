"""Plans of runs: which schedule a run takes, and into which chunks its batch is divided.

Figures of the CPU are measured (docs/performance.md). Time folded into the batch axis is faster as
long as several time-steps fit into one pass, and chunks with a thread each are faster than one
batch on all threads. On a device with memory of its own a batch stays whole, since its kernels are
quickest on much at once, and as many time-steps share a pass as a bound of memory allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.runtime.division import Division, Shape
from onnx2snn.runtime.parts import Parts
from onnx2snn.runtime.schedules import Batched, Stepped
from onnx2snn.runtime.states import CoreStates
from onnx2snn.runtime.tensors import Axes, Tensors
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel

Schedule = Literal["auto", "stepped", "batched"]
"""How the core is run: a pass for each time-step, many in one pass, or whichever is faster."""

NEURON_STEPS = 2**23
"""Neurons times time-steps in one pass.

Some five tensors of that many numbers are alive, and caches still help.
"""
DEVICE_NEURON_STEPS = 2**27
"""The same on a device, whose memory alone is the bound: some 3 GB; not measured."""
MOST_SCANS = 512
"""Layers of neurons, each a Scan, of a core of many time-steps.

onnxruntime opens 400 in 3 s, but 1,600 in minutes: each Scan knows all tensors around it.
"""
STEPS_TOGETHER = 8
"""Time-steps worth having in one pass before a batch is kept whole."""


@dataclass(frozen=True)
class Plan:
    """How one run goes: the way through time, for each chunk of the batch (None: all of it).

    `axes`: where what is divided has its samples.
    """

    way: Stepped | Batched
    chunks: Sequence[slice | None]
    axes: Axes


class Planner:
    """Plans the runs of one model, whose sessions it has opened."""

    def __init__(
        self, model: StepModel, division: Division, parts: Parts, states: CoreStates
    ) -> None:
        """Plan with these sessions and states."""
        self._model = model
        self._division = division
        self._parts = parts
        self._states = states
        self._neurons: dict[tuple[tuple[int, ...], ...], int] = {}
        """Neurons, by the shapes of what the encoder hands over."""

    def check(self, schedule: Schedule) -> None:
        """Refuse a schedule that the network forbids (UsageError)."""
        if schedule == "batched":
            self._parts.require_batched()

    def open_core(self, schedule: Schedule) -> None:
        """Open the core that a schedule needs first; UsageError where the network forbids it."""
        if self._is_stepped(schedule):
            self._parts.open_core()
        else:
            self._parts.open_batched_core()

    def plan(self, schedule: Schedule, feed: Mapping[str, Array], static: Tensors) -> Plan:
        """Plan a run of some inputs, of which the encoder made these tensors."""
        if self._is_stepped(schedule):
            return self._stepped()
        neurons = self.neurons(static)
        if not self._states.device.is_host:
            return self._on_device(schedule, neurons)
        to_core = self._shapes(static)
        chunks: Sequence[slice | None] = [None]
        batch = batch_of(feed)
        axes: Axes | None = {}
        wanted = chunks_of(batch, neurons, self._parts.opening.workers) if batch > 1 else []
        if len(wanted) > 1:
            axes = self._division.axes(feed, to_core)
            if axes is not None:
                chunks = wanted
        # not even two time-steps of all chunks at once fit into a pass
        if schedule == "auto" and neurons > len(chunks) * NEURON_STEPS // 2:
            return self._stepped()
        return self._batched(neurons, chunks, axes or {})

    def _on_device(self, schedule: Schedule, neurons: int) -> Plan:
        """Plan a run on a device with memory of its own: the batch stays whole."""
        # an empty batch has no neurons
        most = max(1, DEVICE_NEURON_STEPS // max(1, neurons))
        if schedule == "auto" and most == 1:
            return self._stepped()
        states = self._states
        way = Batched(self._parts.batched_core, states.carried, most, states.device)
        return Plan(way, [None], {})

    def _shapes(self, static: Tensors) -> dict[str, Shape]:
        """Return the shapes of what the core is handed of the encoder's tensors."""
        return {name: static.shape(name) for name in self._model.to_core}

    def neurons(self, static: Tensors) -> int:
        """Return how many neurons there are for these inputs.

        The model's description says it, or one step that is tried and forgotten.
        """
        to_core = self._shapes(static)
        shapes = tuple(to_core.values())
        if shapes not in self._neurons:
            of_sample = neurons_of(self._model)
            if of_sample is not None:
                found = of_sample * leading_of(to_core.values())
            else:
                found = self._neurons_tried(static)
            self._neurons[shapes] = found
        return self._neurons[shapes]

    def _neurons_tried(self, static: Tensors) -> int:
        """Count the potentials after one step."""
        core = self._parts.batched_core
        way = Batched(core, self._states.carried, 1, self._states.device)
        given = static.values_of(self._model.to_core)
        values = way.one_step(given, self._states.zeros)
        total = 0
        nodes = neuron_nodes(self._model.nodes)
        own = {node.input[1] for node in nodes}
        for state in self._model.states:
            if state.input in own:
                total += prod(values[state.input].shape())
        return total

    def _is_stepped(self, schedule: Schedule) -> bool:
        if schedule == "auto":
            many = len(self._model.metadata["neurons"]) > MOST_SCANS
            return many or self._parts.refusal is not None
        return schedule == "stepped"

    def _stepped(self) -> Plan:
        way = Stepped(self._parts.core, self._states.carried, self._states.device)
        return Plan(way, [None], {})

    def _batched(self, neurons: int, chunks: Sequence[slice | None], axes: Axes) -> Plan:
        # neurons of a chunk, rounded up
        of_chunk = -(-neurons // len(chunks))
        # an empty batch has none
        most = max(1, NEURON_STEPS // max(1, of_chunk))
        core = self._parts.batched_core_for(len(chunks))
        way = Batched(core, self._states.carried, most)
        return Plan(way, chunks, axes)


def neurons_of(model: StepModel) -> int | None:
    """Return the neurons of one sample, or None where the description does not tell."""
    total = 0
    for neuron in model.metadata["neurons"]:
        shape = neuron["shape"][1:]
        sizes = [size for size in shape if isinstance(size, int)]
        if len(sizes) < len(shape):
            return None
        total += prod(sizes)
    return total


def batch_of(feed: Mapping[str, Array]) -> int:
    """Return the samples in some inputs; 1 where their leading axes differ."""
    return leading_of(array.shape for array in feed.values())


def leading_of(shapes: Iterable[Shape]) -> int:
    """Return the leading size that some shapes have in common; 1 where they differ."""
    sizes = {shape[0] for shape in shapes if shape}
    return sizes.pop() if len(sizes) == 1 else 1


def chunks_of(samples: int, neurons: int, workers: int) -> list[slice]:
    """Divide a batch so that one pass still holds several time-steps of a chunk.

    Args:
        samples: The size of the batch.
        neurons: Of the whole batch.
        workers: Chunks that run at once. There are as many chunks, or a multiple, as far as there
            are samples.
    """
    # the most samples n of a chunk: n * (neurons / samples) * STEPS_TOGETHER <= NEURON_STEPS
    most = NEURON_STEPS * samples // (max(1, neurons) * STEPS_TOGETHER)
    most = max(1, most)
    # chunks run in rounds of one for each worker; -(-a // b) rounds up
    rounds = -(-samples // (most * workers))
    count = min(samples, workers * rounds)
    # as even as possible
    bounds = np.linspace(0, samples, count + 1)
    whole = [int(bound) for bound in bounds]
    return [slice(start, end) for start, end in pairwise(whole)]
