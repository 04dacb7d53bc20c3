"""The table of rules: an operator of the step graph -> what it is in NIR.

A rule takes a node at its turn and returns its output as a signal, or refuses with a reason. It
refuses before it adds or changes anything: what is left to the host leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx2snn.protos.nodes import MAX_POOLS, standard
from onnx2snn.snn.neurons import IF
from onnx2snn.snn.nir import elementwise, pooling, weighted
from onnx2snn.snn.nir.neurons import integrate_and_fire
from onnx2snn.snn.nir.place import Place
from onnx2snn.snn.nir.shapes import cast, reshaped
from onnx2snn.snn.nir.sketch import Signal

Rule = Callable[[Place], Signal]

RULES: dict[str, Rule] = {
    "Conv": weighted.convolution,
    "Gemm": weighted.gemm,
    "MatMul": weighted.matmul,
    "AveragePool": pooling.average_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "ReduceMean": pooling.reduce_mean,
    "ReduceSum": pooling.reduce_sum,
    "Add": elementwise.add,
    "Sum": elementwise.add,
    "Sub": elementwise.subtract,
    "Mul": elementwise.multiply,
    "Div": elementwise.divide,
    "Neg": elementwise.negative,
    "BatchNormalization": elementwise.batch_normalization,
    "Flatten": reshaped,
    "Reshape": reshaped,
    "Squeeze": reshaped,
    "Unsqueeze": reshaped,
    "Identity": reshaped,
    "Dropout": reshaped,
    "Cast": cast,
}
"""Rules by operator of ONNX."""

_MAX_POOL = (
    "NIR has no max-pools; put an average pool, or a convolution with the same stride, in its "
    "place in the ANN, and convert that"
)


def said(place: Place) -> Signal:
    """Return a node's output in NIR (UnsupportedGraphError with the reason where it has none)."""
    node = place.node
    if not standard(node):
        if node.op_type == IF:
            return integrate_and_fire(place)
        raise place.refusal(f"NIR has no operators of domain '{node.domain}'")
    if node.op_type in MAX_POOLS:
        raise place.refusal(_MAX_POOL)
    if node.op_type not in RULES:
        raise place.refusal(
            "NIR has no equal of it where it stands; sums, pools of means, products with constant "
            "weights and neurons can be said"
        )
    return RULES[node.op_type](place)
