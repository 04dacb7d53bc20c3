"""Facts about single nodes: the standard domain, opsets, attributes, and classes of operators.

Domains and operators' names hold for nodes of either kind, `onnx.NodeProto` and the graph's
(`graph.types.Node`).
"""

from __future__ import annotations

from typing import Any, Protocol

import onnx
from onnx import helper

STANDARD_DOMAINS = ("", "ai.onnx", None)
"""Spellings of ONNX's own domain; onnx-graphsurgeon has None for it."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Weighted operators: with constant weights their inputs cross synapses."""

RECURRENT = ("RNN", "GRU", "LSTM")
"""Operators that hand a state of their own from element to element of a sequence."""

RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
"""Operators that draw random numbers."""

MAX_POOLS = ("MaxPool", "GlobalMaxPool")
"""Operators whose output is the maximum over a window of their input."""

SHAPE_ONLY = ("Shape", "Size", "EyeLike")
"""Operators whose output depends on the shape of their input alone: constant in time, too."""


class HasDomain(Protocol):
    """A node of either kind."""

    @property
    def domain(self) -> str | None:
        """The domain its operator belongs to."""


def standard(node: HasDomain) -> bool:
    """Return whether a node's operator belongs to ONNX's own domain."""
    return node.domain in STANDARD_DOMAINS


def standard_opset(proto: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model imports (1 where it imports none)."""
    for entry in proto.opset_import:
        if entry.domain in STANDARD_DOMAINS:
            return int(entry.version)
    return 1


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of an attribute, or the default where it is left out."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default
