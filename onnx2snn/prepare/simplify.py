"""What onnxruntime does to normalise a model, what it has to be kept from, and what is refused before.

Its basic optimisation folds constants and BatchNormalization, lifts Constant nodes, drops Dropout and inlines
functions.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from onnx2snn.errors import ModelFileError, UnsupportedGraphError, one_line
from onnx2snn.protos import large
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.opset import raised
from onnx2snn.protos.sessions import session_options, session_with
from onnx2snn.protos.walk import bodies

MINIMUM_OPSET = 18

UNWANTED = ["MatMulAddFusion", "GemmTransposeFusion", "SliceConcatToSpaceToDepthFusion"]
"""Fusions that make of supported operators one that is not (a Gemm of a constant and a spiking tensor, or of a
transposed one; SpaceToDepth), under a name the model does not have."""


def simplify(model: LoadedModel) -> onnx.ModelProto:
    """The model at opset 18 or newer, optimised by onnxruntime.

    Raises ModelFileError where onnxruntime cannot load it, UnsupportedGraphError where its opset cannot be raised, it
    is quantised, or a subgraph reads tensors from outside.
    """
    _require_unquantised(model.proto.graph)
    proto = _optimise(_own_initializers(model.proto), model.name)
    newer = raised(proto, MINIMUM_OPSET)
    if newer is not proto:  # what were attributes may be Constant nodes now
        newer = _optimise(newer, model.name)
    _require_closed_subgraphs(newer.graph)
    return newer


LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear")
QUANTISED = re.compile(
    r"QLinear\w+|\w+Integer|QGemm|QAttention|QEmbed\w+|DynamicQuantize(MatMul|LSTM)|MatMulNBits"
)
"""Operators that compute with integer weights (ONNX's own and onnxruntime's)."""


def _require_unquantised(graph: onnx.GraphProto) -> None:
    """Refuse a quantised network: its integers would have to be real numbers again before neurons replace anything.

    Dequantised weights are constants, and what is quantised before the first or after the last layer stays as it is.
    """
    nodes = list(graph.node)
    forth = _behind(nodes, lambda n: n.input, lambda n: n.output)
    back = reversed(_behind(nodes[::-1], lambda n: n.output, lambda n: n.input))
    for node, after, before in zip(nodes, forth, back, strict=True):
        if QUANTISED.fullmatch(node.op_type) or (after and before and node.op_type in QUANTISING):
            reason = "the network is quantised; give the floating-point model it was made from"
            raise UnsupportedGraphError(node.name or node.output[0], node.op_type, reason)


def _behind(
    nodes: Sequence[onnx.NodeProto], entering: Callable[..., Any], leaving: Callable[..., Any]
) -> list[bool]:
    """Of each node, in the order given, whether a layer with weights stands before it."""
    lit: set[str] = set()
    found = []
    for node in nodes:
        found.append(not lit.isdisjoint(entering(node)))
        if found[-1] or node.op_type in LAYERS:
            lit.update(filter(None, leaving(node)))
    return found


def _require_closed_subgraphs(graph: onnx.GraphProto) -> None:
    """Refuse If, Loop and Scan whose bodies read tensors of the graph around them: no edge would tell of it."""
    fixed = {t.name for t in graph.initializer}
    for node in graph.node:
        for name in sorted(_read_from_outside(node) - fixed):
            reason = (
                f"its subgraph reads '{name}' from outside; export the model without control flow"
            )
            raise UnsupportedGraphError(node.name or node.output[0], node.op_type, reason)


def _read_from_outside(node: onnx.NodeProto) -> set[str]:
    """The names that a node's subgraphs use and do not define."""
    read: set[str] = set()
    for body in bodies(node):
        known = {v.name for v in [*body.input, *body.initializer]} | {
            o for n in body.node for o in n.output
        }
        read |= {v.name for v in body.output} - known
        for inner in body.node:
            read |= ({t for t in inner.input if t} | _read_from_outside(inner)) - known
    return read


def _own_initializers(proto: onnx.ModelProto) -> onnx.ModelProto:
    """An initializer listed among the inputs (IR 3) could be overridden, so nothing would be folded: unlist it."""
    given = {t.name for t in proto.graph.initializer}
    if not given.intersection(v.name for v in proto.graph.input):
        return proto
    own = onnx.ModelProto()
    own.CopyFrom(proto)
    kept = [v for v in own.graph.input if v.name not in given]
    del own.graph.input[:]
    own.graph.input.extend(kept)
    own.ir_version = max(own.ir_version, 4)  # before IR 4 every initializer had to be an input
    return own


def _optimise(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    options = session_options(None)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry(
        "session.disable_quant_qdq", "1"
    )  # or quantised weights would not be folded
    with tempfile.TemporaryDirectory(prefix="onnx2snn-", ignore_cleanup_errors=True) as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        if not large.fits(proto):
            for key, value in (
                ("file_name", "optimised.data"),
                ("min_size_in_bytes", str(large.HEAVY)),
            ):
                options.add_session_config_entry(
                    f"session.optimized_model_external_initializers_{key}", value
                )
        try:
            session_with(proto, options, disabled_optimizers=UNWANTED)
        except Exception as error:
            raise ModelFileError(f"onnxruntime cannot load '{name}': {one_line(error)}") from error
        optimised = onnx.load(options.optimized_model_filepath)
    used = {node.domain or "" for node in optimised.graph.node} | {""}
    kept = [
        entry
        for entry in optimised.opset_import
        if (entry.domain if entry.domain != "ai.onnx" else "") in used
    ]
    del optimised.opset_import[:]
    optimised.opset_import.extend(kept)
    return optimised
