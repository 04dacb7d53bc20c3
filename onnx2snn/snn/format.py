"""TODO."""

from __future__ import annotations

import onnx

SNN_DOMAIN = "onnx2snn"
"""Domain of the neuron functions, and of the stateful operators a graph holds until they are lowered."""


METADATA_KEY = "onnx2snn"


ROLLOUT_KEY = "onnx2snn_rollout"
"""The `metadata_props` key under which an emitted model holds its description."""


def metadata_of(proto: onnx.ModelProto, key: str = METADATA_KEY) -> str | None:
    """The JSON that marks a model as emitted by this tool, or with `ROLLOUT_KEY` as a rollout of one, or None."""
    return next((p.value for p in proto.metadata_props if p.key == key), None)


FORMAT = 1


def is_emitted(proto: onnx.ModelProto) -> bool:
    """Return whether this tool made a model, a step graph or a rollout of one."""
    return any(metadata_of(proto, key) is not None for key in (METADATA_KEY, ROLLOUT_KEY))
