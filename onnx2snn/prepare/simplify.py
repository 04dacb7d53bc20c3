"""Simplification by onnxruntime: which of its fusions are kept away, and which models are refused.

Its basic optimisation folds constants and BatchNormalization, lifts Constant nodes, drops Dropout
and inlines functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime as ort

from onnx2snn.errors import ModelFileError, UnsupportedGraphError, one_line, out_of_memory
from onnx2snn.prepare.captures import make_captures_explicit
from onnx2snn.protos import apart, large
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.nodes import STANDARD_DOMAINS, WEIGHTED
from onnx2snn.protos.opset import raised
from onnx2snn.protos.reach import spread
from onnx2snn.protos.sessions import session_options, session_with
from onnx2snn.protos.temporary import no_room, temporary_folder
from onnx2snn.protos.walk import graphs

MINIMUM_OPSET = 18

UNWANTED = ["MatMulAddFusion", "GemmTransposeFusion", "SliceConcatToSpaceToDepthFusion"]
"""Fusions that make of supported operators one that is not (a Gemm of a constant and a spiking
tensor, or of a transposed one; SpaceToDepth), under a name the model does not have."""

QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear")

QUANTISED = re.compile(
    r"QLinear\w+|\w+Integer|QGemm|QAttention|QEmbed\w+|DynamicQuantize(MatMul|LSTM)|MatMulNBits"
)
"""Operators that compute with integer weights (ONNX's own and onnxruntime's)."""


def simplify(model: LoadedModel) -> onnx.ModelProto:
    """Return the model at opset 18 or newer, optimised by onnxruntime.

    Raises: ModelFileError: onnxruntime cannot load it. UnsupportedGraphError: Its opset cannot be
        raised, it is quantised, or a subgraph reads something that is no tensor.
    """
    _require_unquantised(model.proto.graph)
    with _undeclared(model.proto):
        proto = _optimise(_own_initializers(model.proto), model.name)
    newer = raised(proto, MINIMUM_OPSET)
    if newer is not proto:  # what were attributes may be Constant nodes now
        newer = _optimise(newer, model.name)
    make_captures_explicit(newer)
    return newer


def _require_unquantised(graph: onnx.GraphProto) -> None:
    """Refuse a quantised network: neurons replace activations of real numbers alone.

    Dequantised weights are constants, and what is quantised before the first or behind the last
    weighted operator stays as it is.
    """
    nodes = list(graph.node)
    if not any(map(_quantised, {node.op_type for node in nodes})):
        return
    between = _between_weighted(nodes)
    for position, node in enumerate(nodes):
        inside = position in between and node.op_type in QUANTISING
        if inside or QUANTISED.fullmatch(node.op_type):
            reason = "the network is quantised; give the floating-point model it was made from"
            raise UnsupportedGraphError(_label(node), node.op_type, reason)


def _quantised(operator: str) -> bool:
    """Return whether an operator makes or takes integers for real numbers."""
    return operator in QUANTISING or QUANTISED.fullmatch(operator) is not None


def _between_weighted(nodes: list[onnx.NodeProto]) -> set[int]:
    """Return the positions of the sorted nodes before and behind which weighted operators stand.

    Their weights need not be constants here: those of a quantised network are dequantised.
    """

    def takes(position: int) -> Iterable[str]:
        return filter(None, nodes[position].input)

    def makes(position: int) -> Iterable[str]:
        return filter(None, nodes[position].output)

    def weighted(position: int) -> bool:
        return nodes[position].op_type in WEIGHTED

    positions = range(len(nodes))
    behind = spread(positions, (), takes, makes, weighted)
    before = spread(reversed(positions), (), makes, takes, weighted)
    return set(behind.nodes) & set(before.nodes)


def _label(node: onnx.NodeProto) -> str:
    """Return the name of a node for a sentence: that of its first output where it has none."""
    return node.name or node.output[0]


def _own_initializers(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model none of whose inputs has an initializer.

    One that has (IR 3) could be overridden, so that nothing would be folded.
    """
    given = {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name not in given]
    if len(kept) == len(proto.graph.input):
        return proto
    own = onnx.ModelProto()
    own.CopyFrom(proto)
    del own.graph.input[:]
    own.graph.input.extend(kept)
    own.ir_version = max(own.ir_version, 4)  # before IR 4 every initializer had to be an input
    return own


@contextmanager
def _undeclared(proto: onnx.ModelProto) -> Iterator[None]:
    """Take the shapes of inner tensors and outputs out of a model for a while.

    They may be stale, as after an edit of the inputs, and onnxruntime believes them.
    """
    inner = [graph.value_info for graph in graphs(proto.graph)]
    declared = [list(values) for values in inner]
    outputs = [_copied(value) for value in proto.graph.output]
    for values in inner:
        del values[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        yield
    finally:
        for values, kept in zip(inner, declared, strict=True):
            values.extend(kept)
        for value, output in zip(proto.graph.output, outputs, strict=True):
            value.CopyFrom(output)


def _copied(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    return copy


def _optimise(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a model as onnxruntime's basic optimisation leaves it; `name` is for the error."""
    options = session_options(None, once=True)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # otherwise quantised weights would not be folded
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    with temporary_folder() as folder:
        written = folder / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        if not large.fits(proto):
            external = "session.optimized_model_external_initializers_"
            options.add_session_config_entry(f"{external}file_name", "optimised.data")
            options.add_session_config_entry(f"{external}min_size_in_bytes", str(large.HEAVY))
        try:
            session_with(proto, options, disabled_optimizers=UNWANTED)
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError(one_line(error)) from error
            if written.exists():
                # onnxruntime begins the file when it has loaded the model
                raise no_room(one_line(error)) from error
            raise ModelFileError(f"onnxruntime cannot load '{name}': {one_line(error)}") from error
        optimised = large.set_apart(_read_back(str(written), name))
    _drop_unused_domains(optimised)
    return optimised


def _read_back(path: str, name: str) -> onnx.ModelProto:
    """Return the model that onnxruntime has written.

    Weights that it left as they were stand where they stood, if that is apart.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
        beside = Path(path).parent
        for tensor in proto.graph.initializer:
            if apart.is_apart(tensor) and not apart.is_known(tensor):
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(beside))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        return proto
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError(one_line(error)) from error
        raise ModelFileError(
            f"what onnxruntime makes of '{name}' cannot be read back ({one_line(error)}); set "
            "TMPDIR to a folder with free space, or export the model again"
        ) from error


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    """Drop the imports of domains that no node uses: onnxruntime adds all it knows."""
    used = {node.domain for node in model.graph.node}
    used.update(domain for domain in STANDARD_DOMAINS if domain is not None)
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
