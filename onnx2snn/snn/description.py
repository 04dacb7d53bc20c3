"""Reads the description inside an emitted model and checks it whole, so that nothing behind it
meets a surprise.

Checked are the version, the keys and their types (`snn.schema`), the numbers, and that the states,
neurons and tensors named are those of the graph. The first fault found is told in one sentence.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import onnx

from onnx2snn.errors import ModelFileError
from onnx2snn.protos.nodes import attribute
from onnx2snn.snn import schema
from onnx2snn.snn.differential import MOST_OCTAVES
from onnx2snn.snn.format import (
    FORMATS,
    ROLLOUT_KEY,
    Metadata,
    NeuronEntry,
    RolloutMetadata,
    StateEntry,
    coding_of,
    holds_estimates,
    metadata_of,
)
from onnx2snn.snn.inlined import nodes_with_neurons
from onnx2snn.snn.neurons import BY_OP, neuron_nodes

LARGEST = 2**31 - 1
"""The largest number of time-steps; hosts count them in 32 bits."""


def read_metadata(proto: onnx.ModelProto, name: str) -> Metadata:
    """Return the description of a step graph; `name` is the file's, for errors.

    Raises:
        ModelFileError: The model is no step graph, or its description is damaged or of another
            format.
    """
    if metadata_of(proto, ROLLOUT_KEY) is not None:
        raise ModelFileError(
            f"'{name}' is a rollout, which runs by itself; give the spiking model it was made from"
        )
    text = metadata_of(proto)
    if text is None:
        raise ModelFileError(
            f"'{name}' is not a spiking model; convert it first: onnx2snn {name} -o OUT.onnx"
        )
    found = _parsed(text, name)
    version = found.get("format")
    if type(version) is not int or version not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise ModelFileError(
            f"'{name}' has format {version}; this version reads {known}: update onnx2snn"
        )
    metadata = cast(Metadata, found)
    # lazily: a check may rely on those before it
    every_fault = itertools.chain(
        schema.faults(found, Metadata),
        _faults_of_coding(metadata),
        _faults_of_numbers(metadata),
        _faults_of_states(metadata, proto),
        _faults_of_neurons(metadata, proto),
        _faults_of_names(metadata, proto),
    )
    _refuse(next(every_fault, None), name)
    return metadata


def read_rollout_metadata(proto: onnx.ModelProto, name: str) -> RolloutMetadata:
    """Return the description of a rollout; `name` is the file's, for errors.

    Raises:
        ModelFileError: The model is no rollout, or its description is damaged.
    """
    text = metadata_of(proto, ROLLOUT_KEY)
    if text is None:
        raise ModelFileError(f"'{name}' is not a rollout; make one: onnx2snn export {name}")
    found = _parsed(text, name)
    _refuse(next(schema.faults(found, RolloutMetadata), None), name)
    return cast(RolloutMetadata, found)


def _parsed(text: str, name: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged("it is no JSON", name) from error
    if not isinstance(found, dict):
        raise _damaged("it is no object", name)
    return found


def _refuse(fault: str | None, name: str) -> None:
    if fault is not None:
        raise _damaged(fault, name)


def _damaged(fault: str, name: str) -> ModelFileError:
    return ModelFileError(
        f"the description inside '{name}' is damaged ({fault}); convert the ANN again"
    )


def _faults_of_coding(metadata: Metadata) -> Iterator[str]:
    """Format 2 has keys of its own, by coding; format 1 is that of rate coding alone."""
    differential = coding_of(metadata) == "differential"
    if not holds_estimates(metadata):
        if differential:
            yield "'coding' does not fit the format"
        return
    numbers = {"octaves": MOST_OCTAVES, "digits": MOST_OCTAVES}
    if not differential:
        numbers = {"levels": LARGEST}
    for key in ("coding", "weighted", *numbers):
        if key not in metadata:
            yield f"'{key}' is missing"
    values: Mapping[str, Any] = metadata
    if differential and "later_digits" in metadata:
        numbers["later_digits"] = metadata["digits"]
    for key, most in numbers.items():
        if not 1 <= values[key] <= most:
            yield f"'{key}' is out of range"
    for neuron in metadata["neurons"]:
        if not 1 <= neuron.get("digits", 1) <= MOST_OCTAVES:
            yield f"'digits' of neuron '{neuron['name']}' are out of range"
    if metadata["delay"] != 0:
        yield "'delay' is not 0"


def _faults_of_numbers(metadata: Metadata) -> Iterator[str]:
    if not 1 <= metadata["timesteps"] <= LARGEST:
        yield "'timesteps' is out of range"
    if not 0 <= metadata["delay"] <= LARGEST:
        yield "'delay' is out of range"
    if not 0 <= metadata["delay_auto"] <= LARGEST:
        yield "'delay_auto' is out of range"
    entries: list[StateEntry | NeuronEntry] = [*metadata["states"], *metadata["neurons"]]
    for entry in entries:
        sizes = [size for size in entry["shape"] if isinstance(size, int)]
        if any(not 0 < size <= LARGEST for size in sizes):
            yield f"the shape {entry['shape']} has a size out of range"


def _faults_of_states(metadata: Metadata, proto: onnx.ModelProto) -> Iterator[str]:
    """The states stand behind the ANN's own inputs and outputs, in the order of the list."""
    states = metadata["states"]
    values = {"input": list(proto.graph.input), "output": list(proto.graph.output)}
    # the last inputs and outputs, in the list's order
    for side, given in values.items():
        named = [state["input"] if side == "input" else state["output"] for state in states]
        last = given[len(given) - len(named) :] if len(named) <= len(given) else []
        if [value.name for value in last] != named:
            yield f"'states' are not the last {side}s of the graph"
    declared = {value.name: value for value in values["input"]}
    named_by_states = {name for state in states for name in (state["input"], state["output"])}
    for value in [*values["input"], *values["output"]]:
        is_state = value.name in named_by_states
        if is_state and value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            yield f"state '{value.name}' is not float32 in the graph"
    for state in states:
        rank = len(declared[state["input"]].type.tensor_type.shape.dim)
        if state["rank"] != rank or len(state["shape"]) != rank:
            yield f"state '{state['input']}' has another rank in the graph"
    if holds_estimates(metadata):
        after = {state["output"] for state in states}
        if not after.issuperset(metadata["parts"]["readout"]):
            yield "'parts.readout' are not states"
        return
    if [state["kind"] for state in states].count("step") != 1:
        yield "it needs one state of kind 'step'"
    means = [state["mean"] for state in states if "mean" in state]
    if means != metadata["parts"]["readout"]:
        yield "'parts.readout' are not the means of 'states'"


def _faults_of_neurons(metadata: Metadata, proto: onnx.ModelProto) -> Iterator[str]:
    """The neurons of the list are those of the graph, each with the states of its kind."""
    neurons = neuron_nodes(nodes_with_neurons(proto, metadata))
    nodes = {node.name: node for node in neurons}
    states = {state["input"]: state for state in metadata["states"]}
    written_out = {(function.domain, function.name) for function in proto.functions}
    for node in neuron_nodes(proto.graph.node):
        if (node.domain, node.op_type) not in written_out:
            yield f"neuron '{node.name}' has no function for {node.op_type}"
    listed = [neuron["name"] for neuron in metadata["neurons"]]
    if sorted(listed) != sorted(nodes):
        yield "'neurons' are not the neurons of the graph"
    for neuron in metadata["neurons"]:
        node = nodes[neuron["name"]]
        if neuron["kind"] != node.op_type or neuron["spikes"] != node.output[0]:
            yield f"neuron '{node.name}' is another one in the graph"
        # behind the input current come the states, in the order of the operator
        wanted = [kind for _, kind in BY_OP[neuron["kind"]].states]
        kept = [states.get(tensor) for tensor in node.input[1 : 1 + len(wanted)]]
        # behind these C, where steps differ in their digits
        most = 1 + len(wanted) + ("later_digits" in metadata)
        found = [state["kind"] if state else None for state in kept]
        if found != wanted or len(node.input) > most:
            yield f"neuron '{node.name}' has not the states of its kind"
        if any(state is not None and state["shape"] != neuron["shape"] for state in kept):
            yield f"neuron '{node.name}' has not the shape of its states"
        told = neuron.get("digits", metadata.get("digits"))
        # an inlined neuron has no attributes
        if attribute(node, "digits", told) != told:
            yield f"neuron '{neuron['name']}' sends other digits in the graph"
        if neuron["channels"] is not None and not 0 < neuron["channels"] <= LARGEST:
            yield f"neuron '{node.name}' has no channels, or too many"


def _faults_of_names(metadata: Metadata, proto: onnx.ModelProto) -> Iterator[str]:
    nodes = {node.name for node in proto.graph.node}
    made = {tensor for node in proto.graph.node for tensor in node.output}
    known = made.union(value.name for value in proto.graph.input)
    for node in metadata["analog"]:
        if node not in nodes:
            yield f"the graph has no node '{node}'"
    for tensor in metadata["parts"]["encoder"]:
        if tensor not in known:
            yield f"the graph has no tensor '{tensor}'"
    for tensor in metadata["parts"]["readout"]:
        if tensor not in made:
            yield f"no node makes the mean '{tensor}'"
