"""The tools that lowering rules work with: standard nodes, numbers, and states of the step graph.

A state is a pair of tensors, the value fed in and the value for the next step. It is
floating-point, of the rank of the tensor it is kept for, and zeros of shape [1, ..., 1] will do at
the first step: rules only use it where it broadcasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

from onnx2snn.aliases import Dim
from onnx2snn.graph.dims import dims_of
from onnx2snn.graph.editing import Editor, tidy
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.specs import input_specs
from onnx2snn.snn.format import StateEntry, StateKind


class Lowering:
    """The lowering at work: the graph, its float type, and the states found so far.

    `states` describes each state for the metadata; `state_tensors` holds, in the same order, the
    value fed in and the value for the next step.
    """

    def __init__(self, graph: Graph, dtype: Any, dims: frozenset[str]) -> None:
        """Start without states.

        Args:
            graph: The spiking graph, which is changed.
            dtype: The type of all states: float32, or float64 for a reference.
            dims: Names of the dimensions of the model's inputs, which a state's shape may be told
                by.
        """
        self.graph = graph
        self.editor = Editor(graph)
        self.dtype = np.dtype(dtype)
        self.dims = dims
        self.states: list[StateEntry] = []
        self.state_tensors: list[tuple[Tensor, Tensor]] = []

    def state(
        self, label: str, like: Tensor, kind: StateKind, mean: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make a state.

        Args:
            label: The name of the state's input, if it is free.
            like: The tensor whose rank and shape the state has.
            kind: The meaning of the state.
            mean: The tensor that holds the mean, where the state is the sum of that.

        Returns:
            The value fed in, and the tensor that has to hold the next value.
        """
        unknown: list[Dim] = [None] * len(like.shape or ())
        before = self._variable(label, unknown)
        after = self._variable(f"{label}/next", unknown)
        entry: StateEntry = {
            "input": before.name,
            "output": after.name,
            "rank": len(unknown),
            "shape": self.shape(like),
            "kind": kind,
        }
        if mean is not None:
            entry["mean"] = mean
        self.states.append(entry)
        self.state_tensors.append((before, after))
        return before, after

    def _variable(self, label: str, shape: list[Dim]) -> Tensor:
        return self.editor.variable(label, shape=shape, dtype=self.dtype)

    def shape(self, tensor: Tensor) -> list[Dim]:
        """Return a shape for the metadata: sizes, dimension names of the inputs, or None."""
        told: list[Dim] = []
        for size in dims_of(tensor):
            known = isinstance(size, int) or size in self.dims
            told.append(size if known else None)
        return told

    def number(self, label: str, value: float) -> Tensor:
        """Return a constant of shape [1]."""
        values = np.array([value], self.dtype)
        return self.editor.constant(label, values)

    def beside(self, number: Tensor, x: Tensor) -> Tensor:
        """Return a tensor of shape [1] for use beside x, whose rank it must not raise."""
        if x.shape:
            return number
        label = f"{number.name}/for/{x.name}"
        return self.node("Squeeze", label, [number], x, self.dtype)

    def node(
        self,
        op: str,
        label: str,
        inputs: Sequence[Tensor],
        like: Tensor | None = None,
        dtype: Any = None,
        **attrs: Any,
    ) -> Tensor:
        """Append a node whose output has its name, and return that output.

        Args:
            op: The standard operator.
            label: The name of node and output, if it is free.
            inputs: The tensors that the node reads.
            like: A tensor of the output's shape, and of its type where `dtype` is None.
            dtype: The output's type.
            **attrs: The node's attributes.
        """
        out = self.editor.variable(label, like=like, dtype=dtype)
        self.editor.append(op, out.name, inputs, [out], attrs)
        return out

    def emit(self, op: str, inputs: Sequence[Tensor], output: Tensor, **attrs: Any) -> None:
        """Append a node that makes a tensor already there."""
        self.editor.node(op, f"{output.name}/{op.lower()}", inputs, [output], attrs)

    def in_state_type(self, x: Tensor) -> Tensor:
        """Return a tensor in the type states have."""
        if self._has_state_type(x):
            return x
        kind = onnx_type(self.dtype)
        label = f"{x.name}/computed"
        return self.node("Cast", label, [x], x, self.dtype, to=kind)

    def emit_from_states(self, op: str, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Append a node that computes in the type states have, for a tensor of maybe another."""
        if self._has_state_type(output):
            self.emit(op, inputs, output)
            return
        label = f"{output.name}/{op.lower()}"
        computed = self.node(op, label, inputs, output, self.dtype)
        kind = onnx_type(output.dtype)
        self.emit("Cast", [computed], output, to=kind)

    def finish(self) -> None:
        """Make inputs and outputs of the graph of its states, and drop what nobody needs."""
        for before, after in self.state_tensors:
            self.graph.inputs.append(before)
            self.graph.outputs.append(after)
        tidy(self.graph)

    def _has_state_type(self, x: Tensor) -> bool:
        # an unknown type is taken for the usual one
        return x.dtype is None or x.dtype == self.dtype


def onnx_type(dtype: Any) -> int:
    """Return the number ONNX has for a NumPy type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def dimension_names(model: LoadedModel) -> frozenset[str]:
    """Return the names of the dimensions of a model's inputs."""
    names: set[str] = set()
    for spec in input_specs(model.proto):
        shape = spec.shape or ()
        names.update(size for size in shape if isinstance(size, str))
    return frozenset(names)
