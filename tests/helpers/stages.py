"""What the tests of the graph stages share.

A model taken through the stages, its step graph run by the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from helpers.networks import ASSEMBLED_INPUT, BLOCKS, NETWORKS, assemble, inputs_for
from onnx2snn.data.samples import open_samples
from onnx2snn.data.split import CalibrationData
from onnx2snn.graph.editing import to_graph, to_proto
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.arrange import Arrangement, arrange
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.normalise import normalise
from onnx2snn.prepare.partition import Partition, partition
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.specs import input_specs
from onnx2snn.rewrite.emit import export_lowered, neuron_entries
from onnx2snn.rewrite.lowering_rules import lower
from onnx2snn.settings import Settings
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import Neuron, attributes

Array = NDArray[Any]


def stable(examples: int) -> settings:
    """Hypothesis settings that make every run the same."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=slow
    )


@st.composite
def random_networks(draw: st.DrawFn, *more: str) -> onnx.ModelProto:
    """Networks of a few random blocks, or `more` of them.

    Activations are drawn more often, so that some fire.
    """
    kinds = st.sampled_from(sorted(BLOCKS) + ["relu"] * 8 + list(more))
    blocks = draw(st.lists(kinds, min_size=2, max_size=6))
    batch: int | str = "batch" if draw(st.booleans()) else 2
    return assemble(blocks, draw(st.integers(0, 2**16)), batch=batch)


def feed_for(model: onnx.ModelProto, dtype: Any = np.float32) -> dict[str, Array]:
    """Two samples for an assembled network."""
    values = np.random.default_rng(7).standard_normal((2, *ASSEMBLED_INPUT))
    return {model.graph.input[0].name: values.astype(dtype)}


class ConvTranspose(OpRun):
    """Transposed convolution over two axes; the reference's own fails for groups."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attrs: Any) -> tuple[Array]:
        group, strides, pads = (
            attrs["group"] or 1,
            attrs["strides"] or [1, 1],
            attrs["pads"] or [0] * 4,
        )
        n, h, width = x.shape[0], *x.shape[2:]
        (per_group, kh, kw), block = w.shape[1:], x.shape[1] // group
        full = np.zeros(
            (n, group * per_group, (h - 1) * strides[0] + kh, (width - 1) * strides[1] + kw),
            x.dtype,
        )
        for g, i, j in np.ndindex(group, kh, kw):
            part = np.einsum(
                "nchw,cm->nmhw",
                x[:, g * block : (g + 1) * block],
                w[g * block : (g + 1) * block, :, i, j],
            )
            rows, columns = (
                slice(i, i + h * strides[0], strides[0]),
                slice(j, j + width * strides[1], strides[1]),
            )
            full[:, g * per_group : (g + 1) * per_group, rows, columns] += part
        y = full[:, :, pads[0] : full.shape[2] - pads[2], pads[1] : full.shape[3] - pads[3]]
        return (y if b is None else y + b.reshape(1, -1, 1, 1),)


def evaluator(proto: onnx.ModelProto) -> ReferenceEvaluator:
    """ONNX's reference implementation."""
    return ReferenceEvaluator(proto, new_ops=[ConvTranspose])


def reference(model: onnx.ModelProto | Graph, feed: Mapping[str, Array]) -> list[Array]:
    """A model's outputs as the reference implementation of ONNX computes them."""
    proto = model if isinstance(model, onnx.ModelProto) else to_proto(model)
    return list(evaluator(proto).run(None, dict(feed)))


def relative(found: Array, wanted: Array) -> float:
    """||found - wanted|| / ||wanted||."""
    error = float(np.linalg.norm((found.astype(np.float64) - wanted).ravel()))
    return error / max(float(np.linalg.norm(wanted.astype(np.float64).ravel())), 1e-30)


@dataclass(frozen=True)
class Staged:
    """A model and what the graph stages make of it."""

    source: LoadedModel
    normalised: Graph
    arranged: Graph
    arrangement: Arrangement
    parts: Partition

    @property
    def arranged64(self) -> Graph:
        """The arranged graph in float64, in which onnxruntime's own passes know no convolution."""
        return to_graph(in_float64(to_proto(self.arranged)))

    def thresholds(self, seed: int = 0, granularity: str = "channel") -> list[Array]:
        """Thresholds in the range of the activations, per site."""
        rng = np.random.default_rng(seed)
        return [
            np.minimum(rng.uniform(0.3, 1.5, site.threshold_shape(granularity)), site.upper)
            for site in self.parts.sites
        ]


def staged(model: onnx.ModelProto) -> Staged:
    """Take a model to the partition."""
    source = load_model(model)
    normalised = normalise(source)
    arranged, arrangement = arrange(normalised.copy())
    return Staged(source, normalised, arranged, arrangement, partition(arranged, arrangement))


def job_of(model: Staged, x: Array, **options: Any) -> Job:
    """The job of a staged model, fitted and scored on the same samples, on one thread."""
    specs = input_specs(model.source.proto)
    samples = open_samples({specs[0].name: x}, specs)
    data = CalibrationData(samples, samples, samples, random=False)
    return Job(model.arranged, model.parts, specs, data, Settings(threads=1, **options))


@cache
def network(name: str) -> Staged:
    """One of NETWORKS taken to the partition; not to be changed."""
    return staged(NETWORKS[name]())


def samples(name: str, count: int, dtype: Any = np.float32) -> dict[str, Array]:
    """A feed for one of NETWORKS."""
    return {"input": inputs_for(name, count, dtype=dtype)}


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with every float32 tensor in float64 that may be."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    for value in [*double.graph.input, *double.graph.output, *double.graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for target in [
        a for n in double.graph.node if n.op_type == "Cast" for a in n.attribute if a.name == "to"
    ]:
        target.i = TensorProto.DOUBLE if target.i == TensorProto.FLOAT else target.i
    single = {
        name for node in double.graph.node if node.op_type == "Resize" for name in node.input[1:]
    }
    for fixed in double.graph.initializer:
        if fixed.data_type == TensorProto.FLOAT and fixed.name not in single:
            values = onnx.numpy_helper.to_array(fixed).astype(np.float64)
            fixed.CopyFrom(onnx.numpy_helper.from_array(values, fixed.name))
    return double


@dataclass(frozen=True)
class StepGraph:
    """A step graph that also returns every neuron's spikes."""

    proto: onnx.ModelProto
    states: Sequence[Mapping[str, Any]]
    neurons: Sequence[Mapping[str, Any]]
    dtype: Any

    def run(self, feed: Mapping[str, Array], timesteps: int) -> list[dict[str, Array]]:
        """All outputs of each step, by name, from states that are zeros of shape [1, ..., 1]."""
        runner = evaluator(self.proto)
        names = [value.name for value in self.proto.graph.output]
        states = {s["input"]: np.zeros([1] * s["rank"], self.dtype) for s in self.states}
        steps = []
        for _ in range(timesteps):
            steps.append(dict(zip(names, runner.run(None, {**feed, **states}), strict=True)))
            states = {s["input"]: steps[-1][s["output"]] for s in self.states}
        return steps

    def spikes(self, steps: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Per neuron site, the spikes [time, ...]."""
        return {n["name"]: np.stack([step[n["spikes"]] for step in steps]) for n in self.neurons}

    def margin(self, steps: Sequence[Mapping[str, Array]]) -> float:
        """How close any membrane came to its threshold."""
        potentials = {s["output"].removesuffix("/potential/next"): s["output"] for s in self.states}
        gaps = [
            np.min(np.abs(step[potentials[n["name"]]] + step[n["spikes"]] - 0.5))
            for n in self.neurons
            for step in steps
        ]
        return float(min(gaps))


def step_graph(spiking: Graph, model: Staged, delay: int = 0, dtype: Any = np.float64) -> StepGraph:
    """Lower a spiking graph (which is changed) in float32 or float64."""
    source = (
        replace(model.source, proto=in_float64(model.source.proto))
        if dtype == np.float64
        else model.source
    )
    step = lower(spiking, source, delay, dtype)
    neurons = neuron_entries(step, model.parts)
    proto = export_lowered(step, source)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for neuron in neurons:
        dims = [None] * len(neuron["shape"])
        proto.graph.output.append(helper.make_tensor_value_info(neuron["spikes"], kind, dims))
    onnx.checker.check_model(proto, full_check=True)
    return StepGraph(proto, step.states, neurons, dtype)


def neuron_model(
    neuron: Neuron, levels: int, v_init: Array, rank: int, opset: int = 18
) -> onnx.ModelProto:
    """A model of one time-step of a layer of neurons alone.

    (x, states) -> (spike, next states), of one rank.
    """
    states = [label for label, _ in neuron.states]
    names = (["x", *states], ["spike", *(f"{label}/next" for label in states)])
    node = helper.make_node(
        neuron.op, *names, "neuron", domain=SNN_DOMAIN, **attributes(neuron, levels, v_init, 1.0)
    )
    kind = onnx.TensorProto.FLOAT
    before, after = (
        [helper.make_tensor_value_info(n, kind, [None] * rank) for n in side] for side in names
    )
    graph = helper.make_graph([node], "neuron", before, after)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(SNN_DOMAIN, 1)]
    return helper.make_model(
        graph, opset_imports=opsets, functions=[neuron.function(opset)], ir_version=10
    )
