"""Flow of spikes through a step graph: forwards the analog elements, backwards the synapses.

A spike is followed through operators that are linear and have no weights of their own (pools,
reshapes, concats, scales) to the next weighted operators; the products there that it takes part in
are its synapses. Where it joins a current instead (an identity shortcut, or the state of an
operator that does not spike) it is one synapse.

Each tensor that depends on a spike or on the marked tensors is in `analog`; the others are
constants.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import NodeProto

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import SHAPE_ONLY, attribute, standard
from onnx2snn.score.connections import CONNECTIVITY, SCALING, data_inputs
from onnx2snn.score.node_runs import NodeRun
from onnx2snn.score.products import NUMBERS_ONLY, WITH_PRODUCTS, fan_out, operations
from onnx2snn.score.taps import window_size
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP, ESTIMATING

POOLS = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "LpPool")
"""Operators that cost an operation for each element they read."""

ARITHMETIC = (*SCALING, "ReduceMean", "ReduceSum", "CumSum", "Resize", "Upsample")
"""Linear operators that compute; the others only move elements, or add currents."""

EXACT = 2**24
"""Whole numbers up to this are exact in float32."""


@dataclass
class SpikeFlow:
    """Analog elements of each tensor (the rest are spikes), and the synapses of a spike there."""

    values: Mapping[str, Array]
    """Every tensor of the model in one run."""
    opset: int
    averaged: Mapping[str, str]
    """By running mean the tensor it is the mean of; spikes pass as if straight through."""
    analog: dict[str, Array] = field(default_factory=dict)
    """Marks of the elements that are analog."""
    counts: dict[str, Array] = field(default_factory=dict)
    """Synapses of a spike at each element."""
    held: dict[str, str] = field(default_factory=dict)
    """By the spikes of a site what was sent so far: to a product a weight."""
    before: set[str] = field(default_factory=set)
    """What was sent before the step: the weights of a product's first term."""
    limits: Set[str] = frozenset()
    """What the neurons' own activations make: they cost what neurons do."""

    # --- forwards ---

    def mark(self, name: str, marks: Array | bool) -> None:
        """Say which elements of a tensor are analog."""
        if name in self.values:
            shape = self.values[name].shape
            self.analog[name] = np.broadcast_to(marks, shape)

    def forward(self, nodes: Iterable[NodeProto]) -> list[NodeProto]:
        """Mark all tensors downstream of neurons and marks, and return the nodes there."""
        return [node for node in nodes if self._mark_outputs(node)]

    def _mark_outputs(self, node: NodeProto) -> bool:
        """Mark what a node makes, and return whether it depends on a spike or a mark."""
        mean = self._mean(node)
        if mean is not None:
            averaged = self.averaged[mean]
            self.mark(mean, self.analog[averaged])
            return True
        if is_neuron(node):
            self.mark(node.output[0], False)
            if node.op_type in ESTIMATING:
                self.held[node.output[0]] = node.output[1]
            return True
        runs = self.runs(node)
        shape_only = node.op_type in SHAPE_ONLY and standard(node)
        if not runs or shape_only or self._is_held(node):
            return False
        linear = self._is_linear(node, runs)
        for output, name in enumerate(node.output):
            if not linear:
                # behind a node that is not linear, everything is analog
                self.mark(name, True)
            elif name:
                of_output = self.runs(node, output)
                self.mark(name, self._pushed(of_output))
        return True

    def _pushed(self, runs: Sequence[NodeRun]) -> Array:
        """Return the marks of a linear node's output: a sum with an analog element is analog."""
        joined = np.zeros(runs[0].out_shape, bool)
        connectivity = CONNECTIVITY[runs[0].node.op_type]
        for run in runs:
            marks = self.analog[run.name]
            if marks.any():
                joined = joined | connectivity(run).push(marks)
        return joined

    # --- backwards ---

    def synapses(self, name: str) -> Array:
        """Return the synapses of a spike at each element of a tensor, as far as counted."""
        if name in self.counts:
            return self.counts[name]
        return np.broadcast_to(np.float32(0), self.values[name].shape)

    def backward(self, nodes: Sequence[NodeProto], wanted: Collection[str]) -> None:
        """Count synapses, from the last node to the first; those of `wanted` tensors are kept."""
        for node in reversed(nodes):
            mean = self._mean(node)
            if mean is not None:
                averaged = self.averaged[mean]
                self._add(averaged, self.synapses(mean))
            elif is_neuron(node):
                # it joins the membrane potential
                self._add(node.input[0], 1.0)
            else:
                self._count_inputs(node)
            # all that reads its outputs has been met: they are complete, and carried on
            for name in node.output:
                if name not in wanted:
                    self.counts.pop(name, None)

    def _count_inputs(self, node: NodeProto) -> None:
        runs = self.runs(node)
        linear = self._is_linear(node, runs)
        for run in runs:
            if self.analog[run.name].all():
                continue  # no spike comes this way
            if node.op_type in WITH_PRODUCTS and len(runs) == 1:
                self._add(run.name, fan_out(run))
            elif linear:
                self._pull(run)
            else:
                # it is read as a number, once
                self._add(run.name, 1.0)

    def _pull(self, run: NodeRun) -> None:
        """Carry the counts of a linear node's outputs back to one of its inputs."""
        connectivity = CONNECTIVITY[run.node.op_type]
        for output, name in enumerate(run.node.output):
            if not name:
                continue
            onward = self.synapses(name)
            runs = self.runs(run.node, output)
            others = [other for other in runs if other.index != run.index]
            if others:
                # where another input is analog the spike joins a current: one synapse
                joined = self._pushed(others)
                onward = np.where(joined, 1.0, onward)
            own = replace(run, output=output)
            arriving = connectivity(own).pull(onward)
            self._add(run.name, arriving)

    def _add(self, name: str, counts: Array | float) -> None:
        if name not in self.analog:
            return
        before = self.counts.get(name)
        if before is None:
            shape = self.values[name].shape
            total = np.broadcast_to(counts, shape)
        else:
            total = np.add(before, counts, dtype=np.float64)
        self.counts[name] = _compact(total)

    # --- costs ---

    def cost(self, node: NodeProto) -> float:
        """Return the floating-point operations of a node that are no synapses."""
        runs = self.runs(node)
        is_mean = self._mean(node) is not None
        if not runs or is_neuron(node) or is_mean or not self.limits.isdisjoint(node.output):
            return 0.0
        run = runs[0]
        if node.op_type in WITH_PRODUCTS and standard(node):
            marks = self.analog[run.name]
            if len(runs) > 1 or marks.all():
                return operations(run)
            # spikes' products are synapses; those of analog elements are operations
            products = fan_out(run) * marks
            return float(products.sum())
        if node.op_type in NUMBERS_ONLY and standard(node):
            return operations(run)
        if node.op_type in POOLS:
            made = math.prod(run.out_shape)
            return float(made * window_size(run))
        linear = self._is_linear(node, runs)
        if linear and node.op_type not in ARITHMETIC:
            return 0.0
        # one operation for each element that is made; of a reduction, for each that is read
        made = 0
        for name in node.output:
            if name in self.values:
                made += self.values[name].size
        if node.op_type.startswith("Reduce"):
            read = math.prod(run.in_shape)
            made = max(made, read)
        return float(made)

    # --- about nodes ---

    def runs(self, node: NodeProto, output: int = 0) -> list[NodeRun]:
        """Return a node's inputs that depend on a spike or a mark, with one of its outputs."""
        return [
            NodeRun(node, self.opset, self.values, index, output)
            for index, name in enumerate(node.input)
            if name in self.analog
        ]

    def _is_held(self, node: NodeProto) -> bool:
        """Return whether a node tells what was sent before this step, a weight to a product."""
        if node.op_type != "Sub":
            return False
        sent, spikes = node.input
        if self.held.get(spikes) != sent:
            return False
        self.before.add(node.output[0])
        return True

    def _mean(self, node: NodeProto) -> str | None:
        """Return the running mean that a node makes, if any."""
        for name in node.output:
            if name in self.averaged:
                return str(name)
        return None

    def _is_linear(self, node: NodeProto, runs: Sequence[NodeRun]) -> bool:
        """Return whether spikes go on behind a node that has no weights."""
        if not standard(node) or node.op_type not in CONNECTIVITY:
            return False
        if _combines(node):
            return False
        if node.op_type == "Mul" and len(runs) > 1:
            return False  # a product of two that vary
        data = data_inputs(node)
        return all(run.index in data for run in runs)


def _compact(counts: Array) -> Array:
    """Return counts in float32 where that holds them exactly."""
    if counts.max(initial=0) < EXACT:
        return counts.astype(np.float32)
    return np.asarray(counts, np.float64)


def is_neuron(node: NodeProto) -> bool:
    """Return whether a node is a layer of neurons."""
    return node.domain == SNN_DOMAIN and node.op_type in BY_OP


def _combines(node: NodeProto) -> bool:
    """Return whether a scattering adds, multiplies or compares in place of moving."""
    return attribute(node, "reduction", b"none") not in (b"", b"none")
