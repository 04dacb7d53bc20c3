"""Behaviour of onnx2snn.rewrite.emit: the step graph, its states, neurons and description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for, resnet, vgg
from helpers.stages import (
    Array,
    StepGraph,
    evaluator,
    network,
    reference,
    relative,
    samples,
    step_graph,
)
from onnx import TensorProto, helper, numpy_helper

import onnx2snn
from onnx2snn.errors import UsageError
from onnx2snn.graph.editing import Editor, to_graph, to_proto
from onnx2snn.pipeline.convert import run_conversion as run
from onnx2snn.protos.load import load_model
from onnx2snn.rewrite.fold import fold
from onnx2snn.rewrite.lowering_rules import lower
from onnx2snn.rewrite.spiking import rewrite
from onnx2snn.settings import Settings
from onnx2snn.snn.format import METADATA_KEY, SNN_DOMAIN
from onnx2snn.snn.neurons import IF
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, RUNNING_MEAN

TIMESTEPS = 12


@cache
def emitted(
    name: str, delay: int = 0, maxpool: str = "accumulate", count: int = 1
) -> onnx.ModelProto:
    """A network converted with maxima; `count` tells repeated conversions apart."""
    assert count
    data = inputs_for(name, 40)
    return converted(NETWORKS[name](), data, timesteps=TIMESTEPS, delay=delay, maxpool=maxpool)


def converted(proto: onnx.ModelProto, data: Array, **options: Any) -> onnx.ModelProto:
    """As `onnx2snn.convert`, without its warnings."""
    return run(proto, data, Settings.of({"method": "max", "threads": 1} | options)).model


def described(model: onnx.ModelProto) -> dict[str, Any]:
    (prop,) = [p for p in model.metadata_props if p.key == METADATA_KEY]
    found: dict[str, Any] = json.loads(prop.value)
    return found


def neurons(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.domain == SNN_DOMAIN]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def run_as_any_host(model: onnx.ModelProto, x: Array, timesteps: int) -> list[dict[str, Array]]:
    """Zeros of shape [1, ..., 1], run, feed the states back; nothing else."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    states = {s["input"]: np.zeros([1] * s["rank"], np.float32) for s in described(model)["states"]}
    steps = []
    for _ in range(timesteps):
        steps.append(dict(zip(names, session.run(None, {"input": x} | states), strict=True)))
        states = {s["input"]: steps[-1][s["output"]] for s in described(model)["states"]}
    return steps


# The file.


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("delay", [0, 5])
def test_it_is_a_valid_model_with_the_inputs_and_outputs_of_the_ann(name: str, delay: int) -> None:
    model, ann = emitted(name, delay), NETWORKS[name]()
    onnx.checker.check_model(model, full_check=True)
    states = described(model)["states"]
    assert [v.name for v in model.graph.input] == [v.name for v in ann.graph.input] + [
        s["input"] for s in states
    ]
    assert [v.name for v in model.graph.output] == [v.name for v in ann.graph.output] + [
        s["output"] for s in states
    ]
    for given, original in (
        (model.graph.input, ann.graph.input),
        (model.graph.output, ann.graph.output),
    ):
        for one, other in zip(given, original, strict=False):
            assert one.SerializeToString(deterministic=True) == other.SerializeToString(
                deterministic=True
            )


@pytest.mark.parametrize("name", NETWORKS)
def test_states_declare_type_and_rank_only_and_nothing_has_a_default(name: str) -> None:
    model = emitted(name, 5)
    values = {v.name: v.type.tensor_type for v in [*model.graph.input, *model.graph.output]}
    for state in described(model)["states"]:
        for side in ("input", "output"):
            declared = values[state[side]]
            assert declared.elem_type == TensorProto.FLOAT
            assert len(declared.shape.dim) == state["rank"]
            assert not any(
                d.HasField("dim_value") or d.HasField("dim_param") for d in declared.shape.dim
            )
    assert not {t.name for t in model.graph.initializer} & {v.name for v in model.graph.input}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_description_has_the_agreed_keys(name: str) -> None:
    model = emitted(name, 5)
    found = described(model)
    assert set(found) == {
        "format", "tool", "source_sha256", "settings", "timesteps", "delay", "delay_auto",
        "states", "neurons", "analog", "parts", "calibrated",
    }  # fmt: skip
    assert (found["format"], found["timesteps"], found["delay"], found["calibrated"]) == (
        1,
        TIMESTEPS,
        5,
        True,
    )
    assert found["tool"] == f"onnx2snn {onnx2snn.__version__}"
    assert found["source_sha256"] == load_model(NETWORKS[name]()).sha256
    assert found["settings"]["method"] == "max"
    assert [set(n) for n in found["neurons"]] == [
        {"name", "kind", "source", "spikes", "channels", "shape"} for _ in neurons(model)
    ]
    for state in found["states"]:
        assert {"input", "output", "rank", "shape", "kind"} == set(state) - {"mean"}
        assert state["kind"] in {"membrane", "count", "sum", "step", "history"}
        assert len(state["shape"]) == state["rank"]
    tensors = {t for node in model.graph.node for t in node.output} | {
        v.name for v in model.graph.input
    }
    assert set(found["parts"]) == {"encoder", "readout"}
    assert tensors.issuperset(found["parts"]["encoder"] + found["parts"]["readout"])
    assert tensors.issuperset(n["spikes"] for n in found["neurons"])
    assert found["analog"] == []
    assert model.metadata_props[-1].key == METADATA_KEY


def test_neurons_are_described_by_shape_and_source() -> None:
    found = {n["name"]: n for n in described(emitted("resnet"))["neurons"]}
    assert list(found) == ["stem", "a1", "a2", "b1", "b2"]
    assert found["b1"]["shape"] == ["batch", 8, 2, 2]
    assert (found["b1"]["channels"], found["b1"]["source"], found["b1"]["kind"]) == (8, "b1", IF)
    assert described(emitted("segmenter"))["neurons"][0]["shape"][:2] == ["batch", 6]


@pytest.mark.parametrize("name", NETWORKS)
def test_neurons_say_what_is_true_of_them(name: str) -> None:
    model, sites = emitted(name), network(name).parts.sites
    assert [node.name for node in neurons(model)] == [site.name for site in sites]
    for node, site in zip(neurons(model), sites, strict=True):
        said = attributes(node)
        assert (node.op_type, said["threshold"], said["reset"], said["signed"], said["levels"]) == (
            IF, 1.0, b"subtract", 0, 1,
        )  # fmt: skip
        assert numpy_helper.to_array(said["v_init"]).tolist() == [0.5]
        assert numpy_helper.to_array(said["scale"]).shape == site.threshold_shape("channel")


@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_the_scale_of_a_neuron_is_its_threshold_in_ann_units(granularity: str) -> None:
    """Spikes times scale are the ANN's activations, in the mean."""
    model = network("vgg")
    thetas = [t * 8 for t in model.thresholds(0, granularity)]
    graph = step_graph(fold(rewrite(model.arranged64, model.parts, thetas))[0], model)
    for node, theta in zip(neurons(graph.proto), thetas, strict=True):
        scale = numpy_helper.to_array(attributes(node)["scale"])
        np.testing.assert_array_equal(scale, theta.astype(np.float32))
    spikes = graph.spikes(graph.run(samples("vgg", 2, np.float64), 400))
    ann = model.arranged.copy()
    ann.outputs = [ann.tensors()[site.tensor] for site in model.parts.sites]
    for site, theta, a in zip(
        model.parts.sites, thetas, reference(ann, samples("vgg", 2)), strict=True
    ):
        assert relative(theta * spikes[site.name].mean(axis=0), a) < 0.05


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_converting_again_gives_the_same_bytes(name: str) -> None:
    one, other = (
        emitted(name, 5, count=count).SerializeToString(deterministic=True) for count in (1, 2)
    )
    assert one == other


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("delay", [0, 5])
def test_any_host_gets_the_answer_with_zeros_of_one_element(name: str, delay: int) -> None:
    model = emitted(name, delay)
    x = inputs_for(name, 3)
    steps = run_as_any_host(model, x, 96)
    for output, wanted in zip(
        NETWORKS[name]().graph.output, reference(NETWORKS[name](), {"input": x}), strict=True
    ):
        assert steps[-1][output.name].shape == wanted.shape
        assert relative(steps[-1][output.name], wanted) < 0.3
        assert all(np.all(np.isfinite(step[output.name])) for step in steps)
    for state in described(model)["states"]:
        shape = steps[0][state["output"]].shape
        assert len(shape) == state["rank"]
        assert all(
            d in (None, "batch", "height", "width") or d == size
            for d, size in zip(state["shape"], shape, strict=True)
        )


def test_a_fixed_batch_stays_fixed_in_the_file() -> None:
    model = converted(resnet(batch=2), inputs_for("resnet", 20), timesteps=4)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 2, 8, 8]
    assert described(model)["neurons"][0]["shape"][0] == 2


def test_the_core_holds_no_max_pool_state_where_the_paper_is_followed() -> None:
    kinds = [
        [s["kind"] for s in described(emitted("vgg", 0, rule))["states"]]
        for rule in ("accumulate", "current")
    ]
    assert sorted(kinds[0]) == sorted([*kinds[1], "sum", "history"])


def test_an_emitted_model_is_not_converted_again() -> None:
    with pytest.raises(UsageError, match="is a spiking model already"):
        onnx2snn.convert(emitted("mlp"), inputs_for("mlp", 4))


# The stateful operators, each lowered alone.


def alone(
    op: str, shape: tuple[int, ...], delay: int = 0, attrs: Mapping[str, Any] | None = None
) -> StepGraph:
    """A step graph of one stateful operator: x -> y."""
    b = Builder(0, np.float64)
    x = b.input("x", [None] * len(shape))
    b.name_output(b.node("Identity", x), "y")
    model = load_model(b.model({"y": [None] * len(shape)}))
    graph = to_graph(model.proto)
    graph.nodes.clear()
    (source,), (target,) = graph.inputs, graph.outputs
    source.outputs.clear()
    target.inputs.clear()
    Editor(graph).append(op, "op", [source], [target], dict(attrs or {}), domain=SNN_DOMAIN)
    step = lower(graph, model, delay, np.float64)
    return StepGraph(to_proto(graph), step.states, [], np.float64)


def fed(graph: StepGraph, values: Array) -> list[Array]:
    """y(t) for x(t) = values[t]."""
    session = evaluator(graph.proto)
    names = [v.name for v in graph.proto.graph.output]
    states = {s["input"]: np.zeros([1] * s["rank"]) for s in graph.states}
    found = []
    for x in values:
        made = dict(zip(names, session.run(None, {"x": x} | states), strict=True))
        states = {s["input"]: made[s["output"]] for s in graph.states}
        found.append(made["y"])
    return found


@pytest.mark.parametrize("delay", [0, 1, 3, 9])
def test_the_answer_is_the_mean_since_the_delay_and_before_that_since_the_start(delay: int) -> None:
    spikes = (np.random.default_rng(0).random((9, 2, 3)) < 0.5).astype(np.float64)
    for t, found in enumerate(fed(alone(RUNNING_MEAN, (2, 3), delay), spikes), 1):
        window = spikes[delay:t] if t > delay else spikes[:t]
        np.testing.assert_allclose(found, window.mean(axis=0), atol=1e-12)


def test_without_a_delay_nothing_is_computed_for_one() -> None:
    ops = [
        [node.op_type for node in alone(RUNNING_MEAN, (2, 3), delay).proto.graph.node]
        for delay in (0, 4)
    ]
    assert sorted(ops[0]) == ["Add", "Add", "Div"]
    assert {"Where", "Greater", "Equal"} <= set(ops[1])
    names = {node.name for node in emitted("resnet", 0).graph.node}
    assert not [name for name in names if name.startswith("delay")]


def pooled(x: Array) -> Array:
    """3x3 max-pool with stride 2, padded by 1 on every side, in NumPy."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    out: Array = windows[:, :, ::2, ::2].max(axis=(4, 5))
    return out


WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_a_pool_of_the_accumulated_current_is_exact_at_every_step(scale: float) -> None:
    """With whole numbers not even rounding differs."""
    currents = np.random.default_rng(0).integers(-9, 9, (10, 2, 3, 5, 6)) * scale
    found = np.cumsum(
        fed(alone(ACCUMULATED_MAX_POOL, (2, 3, 5, 6), 0, {"pool": "MaxPool"} | WINDOW), currents),
        axis=0,
    )
    for t in range(len(currents)):
        np.testing.assert_array_equal(found[t], pooled(currents[: t + 1].sum(axis=0)))
    biased = np.sum([pooled(x) for x in currents], axis=0)
    assert np.all(biased >= found[-1]) and np.any(biased > found[-1] + scale)


def test_a_global_pool_accumulates_too() -> None:
    currents = np.random.default_rng(0).integers(-9, 9, (10, 2, 3, 5, 6)).astype(np.float64)
    found = np.sum(
        fed(alone(ACCUMULATED_MAX_POOL, (2, 3, 5, 6), 0, {"pool": "GlobalMaxPool"}), currents),
        axis=0,
    )
    np.testing.assert_array_equal(found, currents.sum(axis=0).max(axis=(2, 3), keepdims=True))


@pytest.mark.parametrize("maxpool", ["accumulate", "current"])
def test_the_paper_pools_each_steps_current_and_the_default_their_sum(maxpool: str) -> None:
    """In a whole network: what comes out of the second pool against what went in."""
    model = network("vgg")
    graph = fold(rewrite(model.arranged64, model.parts, model.thresholds(), maxpool))[0]
    node = next(node for node in graph.nodes if node.name == "pool")
    inside, outside = node.inputs[0].name, node.outputs[0].name
    whole = step_graph(graph, model)
    for name in (inside, outside):
        whole.proto.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None] * 4)
        )
    steps = whole.run(samples("vgg", 2, np.float64), 10)
    went_in, came_out = (np.stack([step[name] for step in steps]) for name in (inside, outside))
    assert np.ptp(went_in, axis=0).max() > 0.1  # it fluctuates

    def pool(x: Array) -> Array:
        n, c, h, w = x.shape
        out: Array = x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
        return out

    sums = [pool(went_in[: t + 1].sum(axis=0)) for t in range(10)]
    wanted = (
        np.diff(sums, axis=0, prepend=0) if maxpool == "accumulate" else [pool(x) for x in went_in]
    )
    np.testing.assert_allclose(came_out, wanted, atol=1e-12)


def test_the_answer_so_far_is_the_readout_of_the_mean_spikes() -> None:
    model = network("mlp")
    thetas = model.thresholds()
    for delay in (0, 3):
        graph = step_graph(fold(rewrite(model.arranged64, model.parts, thetas))[0], model, delay)
        steps = graph.run(samples("mlp", 2, np.float64), 8)
        spikes = graph.spikes(steps)["h2"]
        last = [
            numpy_helper.to_array(t).astype(np.float64)
            for t in model.source.proto.graph.initializer
        ][-2:]
        for t, step in enumerate(steps, 1):
            mean = (spikes[delay:t] if t > delay else spikes[:t]).mean(axis=0) * thetas[1]
            np.testing.assert_allclose(step["logits"], mean @ last[0].T + last[1], atol=1e-9)


def test_lowering_needs_no_shapes_but_ranks() -> None:
    """Every resolution and batch size goes through the same file."""
    model = emitted("segmenter", 3)
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 4, 4), (3, 1, 10, 6)):
        last = run_as_any_host(model, rng.standard_normal(shape).astype(np.float32), 4)[-1]
        assert last["classes"].shape == (shape[0], 3, *shape[2:])


def test_an_output_of_the_encoder_alone_is_there_at_every_step() -> None:
    b = Builder()
    x = b.input("input", ["batch", 4])
    b.name_output(b.node("Sigmoid", x), "static")
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 4, 5)), 5, 3), "output")
    proto = b.model({"static": ["batch", 4], "output": ["batch", 3]})
    data = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    model = converted(proto, data, timesteps=4)
    for step in run_as_any_host(model, data, 3):
        np.testing.assert_allclose(step["static"], 1 / (1 + np.exp(-data)), rtol=1e-5)


def test_the_sources_names_are_not_lost() -> None:
    model = emitted("vgg")
    assert model.graph.name == vgg().graph.name
    assert (model.producer_name, model.producer_version) == ("onnx2snn", onnx2snn.__version__)
    assert [f.name for f in model.functions] == [IF]
    assert {o.domain: o.version for o in model.opset_import} == {"": 18, SNN_DOMAIN: 1}
