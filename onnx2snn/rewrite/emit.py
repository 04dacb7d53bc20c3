"""Spiking graph -> the step graph as a model: lowered, with neuron functions and a description
(docs/format.md).

The ANN's own inputs and outputs keep the names, types and shapes they came with; of the tensors
inside only type and rank are kept, which is enough to cut the graph and true at every resolution,
and the length of vectors, which are shapes of others at times.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from onnx2snn.aliases import Dim
from onnx2snn.graph.editing import constant, to_proto
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.prepare.weighted_sites import WeightedPartition
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.nodes import standard_opset
from onnx2snn.protos.unbatched import without_batch
from onnx2snn.rewrite.lowering import Lowering, onnx_type
from onnx2snn.rewrite.lowering_differential import Alphabet, Levels, lower_differential
from onnx2snn.rewrite.lowering_rules import lower
from onnx2snn.snn.description import read_metadata
from onnx2snn.snn.fast_neurons import function_for
from onnx2snn.snn.format import (
    FORMAT,
    SNN_DOMAIN,
    SNN_OPSET,
    WEIGHTED_FORMAT,
    Metadata,
    NeuronEntry,
    PartsEntry,
    describe,
)
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.step_model import State, boundaries, read_step_model
from onnx2snn.version import __version__

MINIMUM_IR = 10


@dataclass(frozen=True)
class ConversionFacts:
    """Facts about a conversion for its description; numbers are in steps."""

    settings: dict[str, object]
    timesteps: int
    delay: int
    delay_auto: int
    calibrated: bool


def annotate(
    graph: Graph, parts: Partition, model: LoadedModel, about: ConversionFacts
) -> onnx.ModelProto:
    """Return the emitted model.

    Args:
        graph: The folded spiking graph, which is changed.
        parts: The partition of the arranged ANN.
        model: The ANN as it was loaded.
        about: Facts for the description.
    """
    low = lower(graph, model, about.delay)
    proto = export_lowered(low, model)
    describe(proto, _description(proto, low, parts, model, about))
    return proto


def annotate_differential(
    graph: Graph,
    parts: WeightedPartition,
    model: LoadedModel,
    about: ConversionFacts,
    alphabet: Alphabet,
) -> onnx.ModelProto:
    """Return the emitted model with neurons in front of weighted operators.

    Args:
        graph: The folded spiking graph, which is changed.
        parts: The partition of the normalised ANN.
        model: The ANN as it was loaded.
        about: Facts for the description.
        alphabet: What spikes can say.
    """
    low = lower_differential(graph, model, alphabet)
    proto = export_lowered(low, model)
    metadata = _description(proto, low, parts, model, about, estimates=True)
    metadata["format"] = WEIGHTED_FORMAT
    metadata["weighted"] = list(parts.weighted)
    if isinstance(alphabet, Levels):
        metadata["coding"] = "rate"
        metadata["levels"] = alphabet.most
    else:
        metadata["coding"] = "differential"
        metadata["octaves"] = max(alphabet.octaves.values())
        metadata["digits"] = alphabet.digits
        if alphabet.changes:
            metadata["later_digits"] = alphabet.later_digits
        for neuron in metadata["neurons"]:
            if neuron["name"] in alphabet.at_once:
                neuron["digits"] = alphabet.at_once[neuron["name"]]
    describe(proto, metadata)
    return proto


def unbatched_file(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the emitted model of a network that takes a sample at a time, as its files have it.

    Its inputs and outputs lose the axis of one sample, and its parts are described anew.
    """
    metadata = read_metadata(proto, "model")
    made = without_batch(proto, metadata["unbatched"])
    step = read_step_model(made, "model")
    metadata["parts"] = PartsEntry(encoder=list(step.to_core), readout=list(step.taken))
    describe(made, metadata)
    return made


def _description(
    proto: onnx.ModelProto,
    low: Lowering,
    parts: Partition,
    model: LoadedModel,
    about: ConversionFacts,
    *,
    estimates: bool = False,
) -> Metadata:
    """Return what both codings have in their descriptions, as one of format 1."""
    # the readout's tensors are known by the states, the core's by the model's edges
    states = [State.of(entry) for entry in low.states]
    border = boundaries(proto, states, estimates=estimates)
    analog = parts.names("analog")
    described = Metadata(
        format=FORMAT,
        tool=f"onnx2snn {__version__}",
        source_sha256=model.sha256,
        settings=about.settings,
        timesteps=about.timesteps,
        delay=about.delay,
        delay_auto=about.delay_auto,
        states=low.states,
        neurons=neuron_entries(low, parts),
        analog=[node.name for node in low.graph.nodes if node.name in analog],
        parts=PartsEntry(encoder=list(border.to_core), readout=list(border.taken)),
        calibrated=about.calibrated,
    )
    if model.unbatched:
        described["unbatched"] = list(model.unbatched)
    return described


def neuron_entries(low: Lowering, parts: Partition) -> list[NeuronEntry]:
    """Return the neuron sites of a lowered graph for the description, in topological order."""
    own = [node for node in low.graph.nodes if node.domain == SNN_DOMAIN]
    nodes = {node.name: node for node in own}
    entries = []
    for site in parts.sites:
        node = nodes[site.name]
        spikes = node.outputs[0]
        entry = NeuronEntry(
            name=site.name,
            kind=BY_OP[node.op].op,
            source=site.source,
            spikes=spikes.name,
            channels=site.channels,
            shape=low.shape(spikes),
        )
        entries.append(entry)
    return entries


def export_lowered(low: Lowering, model: LoadedModel) -> onnx.ModelProto:
    """Return a lowered graph as a model, not yet described; `model` is the ANN."""
    ir_version = max(MINIMUM_IR, model.proto.ir_version)
    proto = to_proto(low.graph, ir_version)
    _import_own_domain(proto)
    _add_functions(proto, single=low.dtype == np.float32)
    proto.producer_name = "onnx2snn"
    proto.producer_version = __version__
    proto.graph.name = model.proto.graph.name or "snn"
    # class names, strides and the like, which loaders read
    proto.metadata_props.extend(model.proto.metadata_props)
    _restore_values(proto.graph.input, model.proto.graph.input)
    _restore_values(proto.graph.output, model.proto.graph.output)
    _keep_ranks(low.graph, proto)
    return proto


def _import_own_domain(proto: onnx.ModelProto) -> None:
    own = [opset for opset in proto.opset_import if opset.domain == SNN_DOMAIN]
    if not own:
        proto.opset_import.append(helper.make_opsetid(SNN_DOMAIN, SNN_OPSET))
    for opset in own:
        opset.version = SNN_OPSET


def _add_functions(proto: onnx.ModelProto, *, single: bool) -> None:
    """Add the function of each kind of neuron in the model; `single`: it computes in float32."""
    opset = standard_opset(proto)
    own = [node for node in proto.graph.node if node.domain == SNN_DOMAIN]
    for op in BY_OP:
        nodes = [node for node in own if node.op_type == op]
        if nodes:
            function = function_for(op, opset, nodes, single=single)
            proto.functions.append(function)


def _restore_values(
    values: MutableSequence[onnx.ValueInfoProto], originals: Sequence[onnx.ValueInfoProto]
) -> None:
    """Give the ANN's own inputs or outputs the declarations they had."""
    by_name = {value.name: value for value in originals}
    for value in values:
        if value.name in by_name:
            value.CopyFrom(by_name[value.name])


def _keep_ranks(graph: Graph, proto: onnx.ModelProto) -> None:
    """Declare type and rank of all inner tensors that are known by both, and lengths of vectors."""
    # inferred sizes would hold at one resolution only
    del proto.graph.value_info[:]
    outer = {value.name for value in [*proto.graph.input, *proto.graph.output]}
    for name, tensor in sorted(graph.tensors().items()):
        if name not in outer and constant(tensor) is None:
            _declare_rank(proto, name, tensor)


def _declare_rank(proto: onnx.ModelProto, name: str, tensor: Tensor) -> None:
    if tensor.dtype is None or tensor.shape is None:
        return
    sizes: list[Dim] = [None] * len(tensor.shape)
    length = tensor.shape[0] if len(tensor.shape) == 1 else None
    # a Resize by a vector of unknown length is refused, where that crosses a cut; one of one
    # element is a number
    if isinstance(length, int) and length > 1:
        sizes = [length]
    kind = onnx_type(tensor.dtype)
    proto.graph.value_info.append(helper.make_tensor_value_info(name, kind, sizes))
