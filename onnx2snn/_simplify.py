"""What onnxruntime does to normalise a model, what it has to be kept from, and what is refused before.

Its basic optimisation folds constants and BatchNormalization, lifts Constant nodes, drops Dropout and inlines
functions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort

from ._errors import ModelFileError, UnsupportedGraphError
from ._load import LoadedModel, one_line
from ._ort import session_options

MINIMUM_OPSET = 18

UNWANTED = ["MatMulAddFusion", "GemmTransposeFusion", "SliceConcatToSpaceToDepthFusion"]
"""Fusions that make of supported operators one that is not (a Gemm of a constant and a spiking tensor, or of a
transposed one; SpaceToDepth), under a name the model does not have."""


def simplify(model: LoadedModel) -> onnx.ModelProto:
    """The model at opset 18 or newer, optimised by onnxruntime.

    Raises ModelFileError where onnxruntime cannot load it, UnsupportedGraphError where its opset cannot be raised, a
    layer does not compute in float32, or a subgraph reads tensors from outside.
    """
    _require_float32(model.proto)
    proto = _optimise(_own_initializers(model.proto), model.name)
    raised = _raise_opset(proto)
    if raised is not proto:  # what were attributes may be Constant nodes now
        raised = _optimise(raised, model.name)
    _require_closed_subgraphs(raised.graph)
    return raised


def _require_float32(proto: onnx.ModelProto) -> None:
    """Refuse, by its own name, a layer that onnxruntime would hide behind casts to float32 or cannot load at all."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.value_info, *graph.output]}
    for node in graph.node:
        found = types.get(node.output[0]) if node.output and node.domain in ("", "ai.onnx") else None
        if found in _NOT_COMPUTED.get(node.op_type, ()):
            named = onnx.TensorProto.DataType.Name(found).lower().replace("double", "float64")
            raise UnsupportedGraphError(
                node.name or node.output[0], node.op_type, f"it computes in {named}; export the model in float32"
            )


_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_NOT_COMPUTED = dict.fromkeys(("Conv", "ConvTranspose"), (*_HALF, onnx.TensorProto.DOUBLE)) | dict.fromkeys(
    ("Gemm", "MatMul"), _HALF
)


def _require_closed_subgraphs(graph: onnx.GraphProto) -> None:
    """Refuse If, Loop and Scan whose bodies read tensors of the graph around them: no edge would tell of it."""
    fixed = {t.name for t in graph.initializer}
    for node in graph.node:
        for name in sorted(_read_from_outside(node) - fixed):
            reason = f"its subgraph reads '{name}' from outside; export the model without control flow"
            raise UnsupportedGraphError(node.name or node.output[0], node.op_type, reason)


def _read_from_outside(node: onnx.NodeProto) -> set[str]:
    """The names that a node's subgraphs use and do not define."""
    read: set[str] = set()
    for body in [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]:
        known = {v.name for v in [*body.input, *body.initializer]} | {o for n in body.node for o in n.output}
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
    with tempfile.TemporaryDirectory(prefix="onnx2snn-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        try:
            ort.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=UNWANTED
            )
        except Exception as error:
            raise ModelFileError(f"onnxruntime cannot load '{name}': {one_line(error)}") from error
        optimised = onnx.load(options.optimized_model_filepath)
    used = {node.domain or "" for node in optimised.graph.node} | {""}
    kept = [entry for entry in optimised.opset_import if (entry.domain if entry.domain != "ai.onnx" else "") in used]
    del optimised.opset_import[:]
    optimised.opset_import.extend(kept)
    return optimised


def _raise_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version >= MINIMUM_OPSET:
        return proto
    try:
        return onnx.version_converter.convert_version(proto, MINIMUM_OPSET)
    except Exception as error:
        reason = (
            f"opset {version} cannot be raised to {MINIMUM_OPSET} ({one_line(error)}); export with opset 18 or newer"
        )
        raise UnsupportedGraphError("", "", reason) from error
