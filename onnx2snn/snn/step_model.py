"""TODO."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx

from onnx2snn.errors import ModelFileError
from onnx2snn.snn.format import FORMAT, ROLLOUT_KEY, SNN_DOMAIN, metadata_of
from onnx2snn.snn.neurons import BY_OP


@dataclass(frozen=True)
class State:
    """One state of the step graph; `mean` names the tensor a readout sum is the numerator of."""

    input: str
    output: str
    rank: int
    kind: str
    mean: str | None = None


@dataclass(frozen=True)
class StepModel:
    """An emitted model with its metadata, and the tensors at which it can be cut."""

    proto: onnx.ModelProto
    metadata: dict[str, Any]
    states: tuple[State, ...]
    to_core: tuple[str, ...]
    to_readout: tuple[str, ...]
    """Tensors the readout takes from the encoder."""

    @cached_property
    def means(self) -> tuple[str, ...]:
        """Tensors the readout takes from the core: means over the evaluation window."""
        return tuple(s.mean for s in self.states if s.mean is not None)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The ANN's own outputs."""
        given = {s.output for s in self.states}
        return tuple(v.name for v in self.proto.graph.output if v.name not in given)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The ANN's own inputs."""
        given = {s.input for s in self.states}
        return tuple(v.name for v in self.proto.graph.input if v.name not in given)


def read_step_model(proto: onnx.ModelProto, name: str) -> StepModel:
    """Read an emitted model's description (ModelFileError where it has none, or one that is damaged or newer)."""
    text = metadata_of(proto)
    if metadata_of(proto, ROLLOUT_KEY) is not None:
        raise ModelFileError(
            f"'{name}' is a rollout, which runs by itself; give the spiking model it was made from"
        )
    if text is None:
        raise ModelFileError(
            f"'{name}' is not a spiking model; convert it first: onnx2snn {name} -o OUT.onnx"
        )
    try:
        metadata = json.loads(text)
        version = metadata.get("format")
        if version != FORMAT:
            raise ModelFileError(
                f"'{name}' has format {version}; this version reads {FORMAT}: update onnx2snn"
            )
        states = tuple(
            State(s["input"], s["output"], s["rank"], s["kind"], s.get("mean"))
            for s in metadata["states"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"the description inside '{name}' is damaged; convert the ANN again"
        ) from error
    return StepModel(proto, metadata, states, *_boundaries(proto, states))


def _boundaries(
    proto: onnx.ModelProto, states: Sequence[State]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    nodes = proto.graph.node
    known = {t.name for t in proto.graph.initializer}
    moving = time_varying_tensors(proto, states)
    needed = needed_tensors(proto, states)
    core = [n for n in nodes if moving.intersection(n.output) and needed.intersection(n.output)]
    means = {s.mean for s in states}
    readout = [
        n
        for n in nodes
        if moving.intersection(n.output)
        and not needed.intersection(n.output)
        and not means.intersection(n.output)
    ]
    return _static_inputs(core, moving, known), _static_inputs(readout, moving, known)


def needed_tensors(proto: onnx.ModelProto, states: Sequence[State]) -> set[str]:
    """The tensors that the next states are made of, themselves among them."""
    needed = {s.output for s in states}
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def time_varying_tensors(proto: onnx.ModelProto, states: Sequence[State]) -> set[str]:
    """The tensors that depend on a state, the states themselves among them."""
    moving = {s.input for s in states}
    for node in proto.graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
    return moving


def _static_inputs(
    nodes: Iterable[onnx.NodeProto], moving: set[str], known: set[str]
) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(t for n in nodes for t in n.input if t and t not in moving and t not in known)
    )


def neuron_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The neuron nodes of an emitted model; input 1 is the membrane potential."""
    return [n for n in proto.graph.node if n.domain == SNN_DOMAIN and n.op_type in BY_OP]
