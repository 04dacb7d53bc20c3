"""Networks that compute with NaN or infinity are refused: no threshold stands for such a value.

* a constant of a weighted operator or a BatchNormalization has to be finite;
* no attribute is NaN, and none of a weighted operator infinite;
* no other constant is NaN; infinity may stand in masks and bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Graph, Node
from onnx2snn.protos.nodes import WEIGHTED, standard

FINITE = (*WEIGHTED, "BatchNormalization", "InstanceNormalization", "LayerNormalization", "PRelu")
"""Operators whose constants weigh or shift activations."""


def require_finite(graph: Graph) -> None:
    """Refuse a graph whose weights are not finite.

    Raises:
        UnsupportedGraphError: With the node and the tensor.
    """
    for node in graph.nodes:
        fault = next(_faults(node), None)
        if fault is not None:
            reason = f"{fault}; export the model from weights that are finite"
            raise UnsupportedGraphError(node.name, node.op, reason)


def _faults(node: Node) -> Iterator[str]:
    weighs = standard(node) and node.op in FINITE
    for name, value in node.attrs.items():
        if isinstance(value, float) and _bad(np.asarray(value), weighs):
            yield f"its attribute '{name}' is {value}"
    for tensor in node.inputs:
        value = constant(tensor)
        if value is None or value.dtype.kind != "f":
            continue
        if _bad(value, weighs):
            yield f"its constant '{tensor.name}' holds {_named(value)}"


def _bad(value: Array, weighs: bool) -> bool:
    """Return whether a constant holds NaN, or infinity where it weighs activations."""
    # the sum tells without a copy: finite float32 numbers do not overflow float64
    with np.errstate(invalid="ignore", over="ignore"):
        total = value.sum(dtype=np.float64)
    if np.isfinite(total):
        return False
    return bool(np.isnan(value).any() or (weighs and np.isinf(value).any()))


def _named(value: Array) -> str:
    return "NaN" if np.isnan(value).any() else "infinity"


def not_a_number(names: Sequence[str], outputs: Sequence[Array]) -> str | None:
    """Return the name of the first output that holds NaN, or None where none does."""
    for name, output in zip(names, outputs, strict=True):
        if output.dtype.kind == "f" and np.isnan(output).any():
            return name
    return None
