"""The emitted file: its domain, its keys, its versions and its description. docs/format.md is the
specification.

A step graph carries one JSON object, `Metadata`, in `metadata_props["onnx2snn"]`; a rollout of one
carries `RolloutMetadata` in `metadata_props["onnx2snn_rollout"]`. Readers refuse formats that they
do not know and ignore keys that they do not know; `snn.description` reads and checks both objects.
"""

from __future__ import annotations

import json
from typing import Literal, NotRequired, TypedDict

import onnx
from onnx import helper

from onnx2snn.aliases import Dim

FORMAT = 1
"""The version of the description that rate-coded files have."""

WEIGHTED_FORMAT = 2
"""The version of files with neurons in front of weighted operators, in either coding."""

FORMATS = (FORMAT, WEIGHTED_FORMAT)
"""The versions that this package reads."""

SNN_DOMAIN = "onnx2snn"
"""Domain of the neuron functions, and of stateful operators until they are lowered."""

SNN_OPSET = 1
"""Version of that domain."""

METADATA_KEY = "onnx2snn"
"""The `metadata_props` key under which a step graph holds its description."""

ROLLOUT_KEY = "onnx2snn_rollout"
"""The `metadata_props` key under which a rollout holds its description."""

NeuronOp = Literal["IF", "SignedIF", "GradedIF", "SignedGradedIF", "RateIF", "DifferentialIF"]
"""The neuron operators of the domain; `snn.neurons` and `snn.differential` define them."""

Coding = Literal["rate", "differential"]
"""What a spike says: that a value is there (and its mean is the answer), or that it has changed."""

Drive = Literal["spiking", "encoder", "analog"]
"""What drives a weighted operator: spikes, the input once, or real numbers at each step."""

StateKind = Literal["membrane", "count", "sum", "step", "history"]
"""What a state holds: a membrane potential, spikes sent less spikes taken back, a sum since the
start, the number of time-steps, or the value that an output was made of in the step before."""


class StateEntry(TypedDict):
    """One state of the step graph.

    `input` and `output` name the graph's input and output; `mean` names the tensor for which a sum
    is kept, the mean that the readout takes.
    """

    input: str
    output: str
    rank: int
    shape: list[Dim]
    kind: StateKind
    mean: NotRequired[str]


class NeuronEntry(TypedDict):
    """One layer of neurons.

    `name` names its node, `source` the activation of the ANN it stands for, and `spikes` the tensor
    of its spikes, which has `shape`; `channels` is null where their number is not static. `digits`:
    the most spikes that its neurons may send in one step, where these are not the file's.
    """

    name: str
    kind: NeuronOp
    source: str
    spikes: str
    channels: int | None
    shape: list[Dim]
    digits: NotRequired[int]


class WeightedEntry(TypedDict):
    """One weighted operator of the ANN: its node, what drives it, and why."""

    node: str
    op: str
    drive: Drive
    reason: str


class PartsEntry(TypedDict):
    """Where the graph can be cut: the encoder's tensors for the core, and what the readout takes.

    The readout takes the means of a file of format 1, and states after the step of one of format 2.
    """

    encoder: list[str]
    readout: list[str]


class Metadata(TypedDict):
    """The description of a step graph; `timesteps`, `delay`, `delay_auto` count steps.

    The last keys are those of format 2: the coding, what drives each weighted operator, and in
    differential coding the powers of two a spike can have and the spikes a neuron may send in a
    step, and in each step after the first where these are fewer, in rate coding the most thresholds
    that a spike is high. `unbatched`: inputs and outputs
    without a batch axis, in a network that takes a sample at a time.
    """

    format: int
    tool: str
    source_sha256: str
    settings: dict[str, object]
    timesteps: int
    delay: int
    delay_auto: int
    states: list[StateEntry]
    neurons: list[NeuronEntry]
    analog: list[str]
    parts: PartsEntry
    calibrated: bool
    unbatched: NotRequired[list[str]]
    coding: NotRequired[Coding]
    octaves: NotRequired[int]
    digits: NotRequired[int]
    later_digits: NotRequired[int]
    levels: NotRequired[int]
    weighted: NotRequired[list[WeightedEntry]]


class RolloutMetadata(TypedDict):
    """The description of a rollout; `form` says in words how the steps are laid out."""

    timesteps: int
    delay: int
    form: str
    source_sha256: str
    exit_margin: NotRequired[float]


def metadata_of(proto: onnx.ModelProto, key: str = METADATA_KEY) -> str | None:
    """Return the JSON text of a model's description under a key, or None where it has none."""
    for entry in proto.metadata_props:
        if entry.key == key:
            return str(entry.value)
    return None


def coding_of(metadata: Metadata) -> Coding:
    """Return the coding of a step graph; format 1 knows one alone."""
    return metadata.get("coding", "rate")


def holds_estimates(metadata: Metadata) -> bool:
    """Return whether states are estimates, from which an answer is read, in place of means."""
    return metadata["format"] == WEIGHTED_FORMAT


def is_emitted(proto: onnx.ModelProto) -> bool:
    """Return whether this tool made a model, a step graph or a rollout of one."""
    return any(metadata_of(proto, key) is not None for key in (METADATA_KEY, ROLLOUT_KEY))


def describe(proto: onnx.ModelProto, metadata: Metadata) -> None:
    """Write the description of a step graph into it, behind all other properties."""
    _write(proto, METADATA_KEY, metadata)


def describe_rollout(proto: onnx.ModelProto, metadata: RolloutMetadata) -> None:
    """Write the description of a rollout into it, behind all other properties."""
    _write(proto, ROLLOUT_KEY, metadata)


def _write(proto: onnx.ModelProto, key: str, metadata: Metadata | RolloutMetadata) -> None:
    props = {entry.key: entry.value for entry in proto.metadata_props if entry.key != key}
    props[key] = json.dumps(metadata, sort_keys=True)
    helper.set_model_props(proto, props)
