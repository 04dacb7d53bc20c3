"""TODO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper

from onnx2snn.graph.editing import add_node, dims_of, make_constant, unique_name, variable
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.snn.format import StateEntry, StateKind


@dataclass
class Lowering:
    """The lowering at work: the graph, its float type, and the states found so far."""

    graph: Graph
    dtype: Any
    dims: frozenset[str]
    taken: set[str]
    states: list[StateEntry] = field(default_factory=list)
    extra: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def node(
        self,
        op: str,
        label: str,
        inputs: Sequence[Tensor],
        like: Tensor | None = None,
        dtype: Any = None,
        **attrs: Any,
    ) -> Tensor:
        """Append a node and return its output."""
        name = unique_name(self.taken, label)
        out = variable(name, like=like, dtype=dtype)
        add_node(self.graph, op, name, inputs, [out], attrs)
        return out

    def number(self, label: str, value: float) -> Tensor:
        """A constant of shape [1]."""
        return make_constant(unique_name(self.taken, label), np.array([value], self.dtype))

    def shape(self, tensor: Tensor) -> list[int | str | None]:
        """A state's shape for the metadata: sizes, dimension names of the inputs, or null."""
        return [d if isinstance(d, int) or d in self.dims else None for d in dims_of(tensor)]

    def state(
        self, label: str, like: Tensor, kind: StateKind, mean: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """A new state of a tensor's rank: (the value fed in, the tensor that will hold the next value)."""
        rank = len(like.shape or ())
        before = variable(unique_name(self.taken, label), shape=[None] * rank, dtype=self.dtype)
        after = variable(
            unique_name(self.taken, f"{label}/next"), shape=[None] * rank, dtype=self.dtype
        )
        entry: StateEntry = {
            "input": before.name,
            "output": after.name,
            "rank": rank,
            "shape": self.shape(like),
            "kind": kind,
        }
        if mean is not None:
            entry["mean"] = mean
        self.states.append(entry)
        self.extra.append((before, after))
        return before, after

    def emit(self, op: str, inputs: Sequence[Tensor], output: Tensor, **attrs: Any) -> None:
        """Append a node that makes a tensor already there."""
        add_node(
            self.graph,
            op,
            unique_name(self.taken, f"{output.name}/{op.lower()}"),
            inputs,
            [output],
            attrs,
        )

    def computed(self, x: Tensor) -> Tensor:
        """A tensor in the type states have."""
        if x.dtype is None or x.dtype == self.dtype:
            return x
        return self.node(
            "Cast", f"{x.name}/computed", [x], like=x, dtype=self.dtype, to=onnx_type(self.dtype)
        )

    def emit_computed(self, op: str, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Append a node that computes in the type states have, for a tensor of maybe another."""
        if output.dtype is None or output.dtype == self.dtype:
            self.emit(op, inputs, output)
        else:
            computed = self.node(
                op, f"{output.name}/{op.lower()}", inputs, like=output, dtype=self.dtype
            )
            self.emit("Cast", [computed], output, to=onnx_type(output.dtype))

    def number_for(self, number: Tensor, x: Tensor) -> Tensor:
        """A tensor of shape [1] for use beside x, whose rank it must not raise."""
        if x.shape:
            return number
        return self.node(
            "Squeeze", f"{number.name}/for/{x.name}", [number], like=x, dtype=self.dtype
        )


def onnx_type(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
