"""A step graph as plain arrays and one JSON object, for toolchains that read no ONNX.

docs/arrays.md is the specification. The JSON object is the description of the step graph with its
nodes and connections; every constant is an array, by the name of its tensor. What no input has a
part in is computed: the start of an estimate is there, not the operators that make it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

import numpy as np
import onnx
from onnx import NodeProto

from onnx2snn.aliases import Array, Dim, ModelSource
from onnx2snn.errors import ModelFileError, UnsupportedGraphError, UsageError
from onnx2snn.protos.constant_part import constants_and_rest
from onnx2snn.protos.destination import is_replaced
from onnx2snn.protos.load import load_model
from onnx2snn.protos.nodes import standard_opset
from onnx2snn.protos.safetensors import write_safetensors
from onnx2snn.protos.save import write_npz
from onnx2snn.protos.specs import TensorSpec, value_spec
from onnx2snn.protos.walk import bodies
from onnx2snn.snn.dumped_values import ArrayTable, Said
from onnx2snn.snn.format import NeuronEntry, StateEntry
from onnx2snn.snn.portable import Form, Shapes, in_form
from onnx2snn.snn.step_model import StepModel, read_step_model
from onnx2snn.snn.topology import Part, Topology

ARRAYS_FORMAT = 1
"""The version of docs/arrays.md."""

DESCRIPTION = "onnx2snn_arrays"
"""The name that the JSON object has among the arrays, or in the metadata of .safetensors."""

SUFFIXES = (".npz", ".safetensors")
"""Endings of the files that a dump is written to."""


class NodeEntry(TypedDict):
    """One node: its operator and tensors as in ONNX; `part` is where it runs."""

    name: str
    op: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Said]
    part: Part


@dataclass(frozen=True)
class Dump:
    """A spiking model as arrays.

    Attributes:
        arrays: The constants of the graph and of the neurons, by name.
        description: The JSON object of docs/arrays.md.
    """

    arrays: dict[str, Array]
    description: dict[str, object]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, whole or not at all: .npz, or .safetensors if the path ends in that.

        Raises:
            UsageError: The path ends in something else.
            OutputError: The file cannot be written.
        """
        check_suffix(path)
        text = json.dumps(self.description, sort_keys=True)
        if Path(path).suffix == ".safetensors":
            write_safetensors(path, self.arrays, {DESCRIPTION: text})
            return
        letters = np.frombuffer(text.encode(), np.uint8)
        write_npz(path, {DESCRIPTION: letters, **self.arrays})


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose name says that it holds something else (UsageError)."""
    if Path(path).suffix not in SUFFIXES and is_replaced(path):
        raise UsageError(
            f"'{path}' is no file of arrays; give a name that ends in {' or '.join(SUFFIXES)}"
        )


def dump(
    model: ModelSource,
    *,
    batch: int | None = None,
    shapes: Shapes = MappingProxyType({}),
) -> Dump:
    """Return a spiking model as arrays and a description of its neurons, nodes and connections.

    Args:
        model: A path, bytes or ModelProto: what `convert` made.
        batch: The sizes of inputs, outputs and states for a batch of so many samples.
        shapes: Those for inputs of these shapes, by name.

    Raises:
        ModelFileError: The file is no step graph, or its neurons are written out.
        UsageError: An input is not there, or sizes do not fit the model.
        UnsupportedGraphError: A node holds something that no array is.
    """
    loaded = load_model(model)
    name = os.fspath(loaded.name)
    step = read_step_model(loaded.proto, name)
    if step.inlined:
        raise ModelFileError(
            f"the neurons in '{name}' are written out, and their attributes gone; give the file as "
            "it was made without --inline"
        )
    _check_nodes(loaded.proto)
    proto = in_form(loaded.proto, Form(batch=batch, shapes=shapes), step.states)
    return _Dumping(proto, step).dump()


def _check_nodes(proto: onnx.ModelProto) -> None:
    """Refuse what no JSON of this specification says (UnsupportedGraphError)."""
    for node in proto.graph.node:
        if bodies(node):
            raise UnsupportedGraphError(
                node.name, node.op_type, "it holds a graph, which arrays do not say; use --to step"
            )


class _Dumping:
    """One dump at work; `proto` declares the sizes that are asked for."""

    def __init__(self, proto: onnx.ModelProto, step: StepModel) -> None:
        self.proto = proto
        self.step = step
        self.topology = Topology(step)
        constants, self.nodes = constants_and_rest(proto)
        self.table = ArrayTable(reserved={DESCRIPTION, *step.names})
        for name, values in constants.items():
            self.table.put(name, values)
        declared = [*proto.graph.input, *proto.graph.output]
        self.specs = {value.name: value_spec(value) for value in declared}
        self.shapes = {state["input"]: self._shape(state) for state in step.metadata["states"]}

    def dump(self) -> Dump:
        """Return everything that a reader needs."""
        nodes = {node.name: self._node(node) for node in self.nodes}
        neurons = [self._neuron(row, nodes[row["name"]]) for row in self.step.metadata["neurons"]]
        entries = self.step.metadata["states"]
        states = [{**row, "shape": self.shapes[row["input"]]} for row in entries]
        description: dict[str, object] = {
            **self.step.metadata,
            "arrays": ARRAYS_FORMAT,
            "opset": standard_opset(self.proto),
            "inputs": [_tensor(self.specs[name]) for name in self.step.inputs],
            "outputs": [self._output(name) for name in self.step.outputs],
            "states": states,
            "neurons": neurons,
            "nodes": list(nodes.values()),
        }
        return Dump(self.table.arrays, description)

    def _output(self, name: str) -> Mapping[str, object]:
        return {**_tensor(self.specs[name]), **self._connections(name)}

    def _shape(self, state: StateEntry) -> list[Dim]:
        """Return the sizes of a state that are declared, or else those of the description."""
        declared = self.specs[state["input"]].shape
        if declared is not None and all(isinstance(size, int) for size in declared):
            return list(declared)
        return state["shape"]

    def _node(self, node: NodeProto) -> NodeEntry:
        attributes = {held.name: self.table.said(node, held) for held in node.attribute}
        return {
            "name": node.name,
            "op": node.op_type,
            "domain": node.domain,
            "inputs": list(node.input),
            "outputs": list(node.output),
            "attributes": attributes,
            "part": self.topology.part_of(node),
        }

    def _neuron(self, entry: NeuronEntry, node: NodeEntry) -> Mapping[str, object]:
        """Return a layer of neurons with its parameters and its connections."""
        current, *states = node["inputs"]
        return {
            **entry,
            **node["attributes"],
            "shape": self.shapes[states[0]],
            "input": current,
            **self._connections(current),
        }

    def _connections(self, tensor: str) -> Mapping[str, list[str]]:
        return vars(self.topology.behind(tensor))


def _tensor(spec: TensorSpec) -> Mapping[str, object]:
    return {"name": spec.name, "dtype": str(spec.dtype), "shape": spec.shape}
