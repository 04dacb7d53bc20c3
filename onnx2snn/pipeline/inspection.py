"""Description of a model.

Of an ANN the role each node would take, of a spiking model its metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from onnx2snn.aliases import ModelSource
from onnx2snn.data.batches import filled
from onnx2snn.data.random import index_bounds, random_samples
from onnx2snn.data.split import open_calibration
from onnx2snn.errors import DataError, UnsupportedGraphError
from onnx2snn.graph.shape_inference import Trial
from onnx2snn.pipeline.calibration_data import trial_of
from onnx2snn.pipeline.foreseen import foreseen_work
from onnx2snn.prepare.activation_drives import drives_of
from onnx2snn.prepare.codings import choose_coding
from onnx2snn.prepare.normalise import normalise
from onnx2snn.prepare.roles import Row
from onnx2snn.prepare.weighted_sites import WeightedPartition
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.sessions import loading
from onnx2snn.protos.specs import TensorSpec, fixed_batch, input_specs, output_specs
from onnx2snn.protos.unbatched import by_sample, lacks_batch_axis
from onnx2snn.score.results import WeightedWork
from onnx2snn.score.synapses import weighted_work
from onnx2snn.settings import Settings
from onnx2snn.snn.description import read_rollout_metadata
from onnx2snn.snn.format import ROLLOUT_KEY, WeightedEntry, metadata_of
from onnx2snn.snn.step_model import read_step_model


class NodeRole(TypedDict):
    """A node of the graph in which neurons are about to be put, and the role it takes."""

    node: str
    op: str
    role: str
    reason: str


class Inspection(TypedDict):
    """Description of a model; `inputs` and `outputs` are its own, states left out.

    An ANN has `convertible`, `reason` (None where it is convertible), `summary` (nodes by role),
    `nodes`, the `coding` it would get, what drives its weighted operators (`driven`), and with
    neurons in place of activations the work that this is (`weighted`); a spiking model, and a
    rollout of one, has `metadata`, the former `weighted`, too, where its inputs have fixed sizes.
    """

    kind: Literal["ann", "snn", "rollout"]
    model: str
    inputs: list[str]
    outputs: list[str]
    convertible: NotRequired[bool]
    reason: NotRequired[str | None]
    summary: NotRequired[dict[str, int]]
    nodes: NotRequired[list[NodeRole]]
    metadata: NotRequired[Mapping[str, Any]]
    weighted: NotRequired[WeightedWork]
    coding: NotRequired[str]
    driven: NotRequired[list[WeightedEntry]]


def inspect(model: ModelSource, coding: str | None = None, sites: str | None = None) -> Inspection:
    """Describe a model of either kind, as plain data; the converter goes by the very same table.

    Args:
        model: Path, bytes or ModelProto of an ANN, a spiking model or a rollout.
        coding: "rate" or "differential", for an ANN; None: as `convert` chooses.
        sites: "activations" or "weighted", for an ANN; None: as `convert` chooses.

    Returns:
        Plain data, ready for JSON.

    Raises:
        ModelFileError: The file is no whole, valid ONNX model.
    """
    source = load_model(model)
    if metadata_of(source.proto, ROLLOUT_KEY) is not None:
        return _inspect_rollout(source)
    if metadata_of(source.proto) is not None:
        return _inspect_snn(source)
    return _inspect_ann(source, Settings(coding=coding, sites=sites))


def _inspect_rollout(source: LoadedModel) -> Inspection:
    return {
        "kind": "rollout",
        "model": source.name,
        "inputs": _as_texts(input_specs(source.proto)),
        "outputs": _as_texts(output_specs(source.proto)),
        "metadata": read_rollout_metadata(source.proto, source.name),
    }


def _inspect_snn(source: LoadedModel) -> Inspection:
    step = read_step_model(source.proto, source.name)
    inputs = [spec for spec in input_specs(source.proto) if spec.name in step.inputs]
    outputs = [spec for spec in output_specs(source.proto) if spec.name in step.outputs]
    about: Inspection = {
        "kind": "snn",
        "model": source.name,
        "inputs": _as_texts(inputs),
        "outputs": _as_texts(outputs),
        "metadata": step.metadata,
    }
    # the sizes of products depend on those of the inputs
    if all(spec.shape is not None and None not in _sizes(spec) for spec in inputs):
        samples, _ = random_samples(inputs, 1, 0, index_bounds(source.proto))
        with loading():
            about["weighted"] = weighted_work(step, filled(samples, [0], fixed_batch(inputs)).feed)
    return about


def _sizes(spec: TensorSpec) -> list[int | None]:
    """Return the sizes of a sample, None for each that is not fixed."""
    dims = (spec.shape or ())[1:]
    return [dim if isinstance(dim, int) else None for dim in dims]


def _inspect_ann(source: LoadedModel, settings: Settings) -> Inspection:
    reason = None
    coding = settings.coding or "rate"
    driven: Sequence[WeightedEntry] = ()
    rows: Sequence[Row] = ()
    work: WeightedWork | None = None
    given = source
    if lacks_batch_axis(source.proto):
        source = by_sample(source)
    try:
        trial = _random_trial(source)
        way = choose_coding(normalise(source, trial), trial, settings)
        coding, parts = way.coding, way.partition
        rows = parts.rows
        driven = drives_of(way.graph, parts)
        parts.require_convertible()
        if not isinstance(parts, WeightedPartition) and trial is not None:
            work = foreseen_work(source, way.graph, parts, trial)
    except UnsupportedGraphError as error:
        reason = str(error)
        if not rows and error.op:  # refused before there was a table
            rows = [Row(error.node, error.op, "refused", error.reason)]
    about: Inspection = {
        "kind": "ann",
        "model": source.name,
        "inputs": _as_texts(input_specs(given.proto)),
        "outputs": _as_texts(output_specs(given.proto)),
        "coding": coding,
        "convertible": reason is None,
        "reason": reason,
        "summary": dict(Counter(row.role for row in rows)),
        "nodes": [_node_role(row) for row in rows],
    }
    if driven:
        about["driven"] = list(driven)
    if work is not None:
        about["weighted"] = work
    return about


def _random_trial(source: LoadedModel) -> Trial | None:
    """Return random inputs to measure shapes with, or None where none can be made up."""
    specs = input_specs(source.proto)
    try:
        data = open_calibration(None, specs, 0, index_bounds(source.proto))
        return trial_of(data, specs)
    except DataError:
        return None


def _node_role(row: Row) -> NodeRole:
    return {"node": row.node, "op": row.op, "role": row.role, "reason": row.reason}


def _as_texts(specs: Sequence[TensorSpec]) -> list[str]:
    return [str(spec) for spec in specs]
