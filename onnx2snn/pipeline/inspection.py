"""What a model is: for an ANN what would become of each node, for a spiking model what was made."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from onnx2snn.aliases import ModelSource
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.prepare.arrange import arrange
from onnx2snn.prepare.normalise import normalise
from onnx2snn.prepare.partition import partition
from onnx2snn.prepare.roles import Row
from onnx2snn.protos.load import load_model
from onnx2snn.protos.specs import input_specs, output_specs
from onnx2snn.snn.description import read_rollout_metadata
from onnx2snn.snn.format import ROLLOUT_KEY, metadata_of
from onnx2snn.snn.step_model import read_step_model


def inspect(model: ModelSource) -> dict[str, Any]:
    """Describe a model of either kind, as plain data; the converter goes by the very same table.

    ANN: {"kind": "ann", "convertible": bool, "reason": str | None, "inputs", "outputs", "summary": {role: nodes},
    "nodes": [{"node", "op", "role", "reason"}]}; nodes are those of the graph in which neurons
    are about to be put.
    SNN: {"kind": "snn", "inputs", "outputs", "metadata": {...}}; a rollout of one: the same with {"kind": "rollout"}.
    """
    source = load_model(model)
    about: dict[str, Any] = {
        "model": source.name,
        "inputs": [str(s) for s in input_specs(source.proto)],
        "outputs": [str(s) for s in output_specs(source.proto)],
    }
    if metadata_of(source.proto, ROLLOUT_KEY) is not None:
        described = read_rollout_metadata(source.proto, source.name)
        return {"kind": "rollout", **about, "metadata": described}
    if metadata_of(source.proto) is not None:
        step = read_step_model(source.proto, source.name)
        about["inputs"] = [str(s) for s in input_specs(source.proto) if s.name in step.inputs]
        about["outputs"] = [str(s) for s in output_specs(source.proto) if s.name in step.outputs]
        return {"kind": "snn", **about, "metadata": step.metadata}
    reason = None
    rows: list[dict[str, str]] = []
    try:
        graph, arrangement = arrange(normalise(source))
        parts = partition(graph, arrangement)
        rows = [asdict(row) for row in parts.rows]
        parts.require_convertible()
    except UnsupportedGraphError as error:
        reason = str(error)
        if not rows and error.op:  # refused before there was a table
            rows = [asdict(Row(error.node, error.op, "refused", error.reason))]
    summary = dict(Counter(row["role"] for row in rows))
    return {
        "kind": "ann",
        **about,
        "convertible": reason is None,
        "reason": reason,
        "summary": summary,
        "nodes": rows,
    }
