"""NIR graphs: the same spikes as the spiking model, and refusals that name what is in the way."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder, inputs_for, mlp, mobilenet, vgg
from helpers.nir_networks import cnn_1d, resnet_of_averages, vgg_of_averages
from helpers.nir_walk import Reader, walk

import onnx2snn
from onnx2snn import UnsupportedGraphError, UsageError
from onnx2snn.aliases import Array
from onnx2snn.cli.commands import main

nir = pytest.importorskip("nir")

pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN")

NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mlp": mlp,
    "1-d": cnn_1d,
    "vgg": vgg_of_averages,
    "resnet": resnet_of_averages,
    "mobilenet": mobilenet,
}


def samples(network: onnx.ModelProto, count: int, seed: int = 1) -> Array:
    dims = network.graph.input[0].type.tensor_type.shape.dim[1:]
    shape = [dim.dim_value for dim in dims]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def converted(network: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    chosen: dict[str, Any] = {"preset": "paper", "method": "max", "timesteps": 32} | options
    return onnx2snn.convert(network, samples(network, 20), **chosen).model


@cache
def spiking(name: str) -> onnx.ModelProto:
    return converted(NETWORKS[name]())


def read_back(graph: Any) -> Any:
    """The graph as `nir` reads it from its file."""
    file = io.BytesIO()
    nir.write(file, graph)
    return nir.read(file)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_walk_of_the_graph_counts_the_spikes_of_the_session(name: str) -> None:
    snn = spiking(name)
    x = samples(snn, 3, seed=7)
    session = onnx2snn.SpikingSession(snn, schedule="stepped", count_spikes=True)
    (answer,) = session.run(None, {"input": x}, 32)
    graph = read_back(onnx2snn.nir_graph(snn))
    walked = walk(graph, {"input": x}, 32)
    wanted = session.spike_counts()
    found = {graph.nodes[own].metadata["name"]: one for own, one in walked.counts.items()}
    assert found.keys() == wanted.keys()
    for layer, counts in wanted.items():
        # a spike that rounding moves may move others
        assert np.abs(found[layer] - counts).max() <= 1
        assert (found[layer] == counts).mean() > 0.99
    delay = graph.metadata["delay"]
    mean = np.mean(walked.outputs["logits"][delay:], axis=0)
    np.testing.assert_allclose(mean, answer, atol=0.02 * np.abs(answer).max())


def test_neurons_say_what_nir_has_no_argument_for() -> None:
    graph = read_back(onnx2snn.nir_graph(spiking("1-d")))
    neuron = graph.nodes["c1"]
    assert set(np.unique(neuron.r)) == set(np.unique(neuron.v_threshold)) == {1.0}
    assert neuron.metadata["reset"] == "subtract"
    assert neuron.metadata["v_init"] == 0.5
    assert graph.metadata["timesteps"] == 32
    assert graph.metadata["delay"] == 16


def test_initial_potentials_become_biases_where_that_is_asked_for() -> None:
    snn = spiking("resnet")
    graph = onnx2snn.nir_graph(snn)
    biased = onnx2snn.nir_graph(snn, 8, start_bias=True)
    assert biased.nodes["a1"].metadata["v_init"] == 0
    x = {"input": samples(snn, 3)}
    zero = Reader(starts=False)
    # v(0) = 1/2 is there after 8 steps of 1/16
    before, after = (walk(one, x, 8, zero).counts["stem"] for one in (graph, biased))
    by_steps = walk(graph, x, 8).counts["stem"]
    assert np.abs(after - by_steps).max() <= 1
    assert np.abs(after - by_steps).mean() < np.abs(before - by_steps).mean()
    difference = biased.nodes["conv3"].bias - graph.nodes["conv3"].bias
    np.testing.assert_allclose(difference, 0.5 / 8, rtol=1e-5)
    assert biased.nodes.keys() == graph.nodes.keys()


def test_potentials_of_a_correction_are_told_neuron_by_neuron() -> None:
    snn = converted(cnn_1d(), correct="potential", timesteps=4)
    graph = read_back(onnx2snn.nir_graph(snn))
    assert graph.nodes["c1"].metadata["v_init"].shape == (6, 16)
    x = {"input": samples(snn, 3)}
    session = onnx2snn.SpikingSession(snn, schedule="stepped", count_spikes=True)
    session.run(None, x, 4)
    assert (walk(graph, x, 4).counts["c2"] == session.spike_counts()["c2"]).mean() > 0.99
    with pytest.raises(UnsupportedGraphError, match=r"'c1'.*leave --start-bias out"):
        onnx2snn.nir_graph(snn, start_bias=True)


def test_a_shortcut_is_two_edges_and_a_kernel_of_one_element() -> None:
    graph = onnx2snn.nir_graph(spiking("resnet"))
    sources = {source for source, reader in graph.edges if reader == "a2"}
    scales = [name for name in sources if graph.nodes[name].weight.shape[2:] == (1, 1)]
    (scale,) = scales
    assert len(sources) == 2
    weight = graph.nodes[scale].weight[:, :, 0, 0]
    assert (weight == np.diag(np.diag(weight))).all()
    assert (scale, "a2") in graph.edges
    assert ("stem", scale) in graph.edges


def test_average_pools_are_sums_whose_factor_is_in_the_next_weights() -> None:
    graph = onnx2snn.nir_graph(spiking("vgg"))
    pools = [node for node in graph.nodes.values() if isinstance(node, nir.SumPool2d)]
    assert [tuple(pool.kernel_size) for pool in pools] == [(2, 2), (2, 2)]
    (flatten,) = [node for node in graph.nodes.values() if isinstance(node, nir.Flatten)]
    assert flatten.start_dim == 0
    assert not any(name.endswith("scale") for name in graph.nodes)


def test_what_is_not_linear_behind_the_neurons_is_left_to_the_host() -> None:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8))
    b.name_output(b.node("Softmax", b.gemm(x, 8, 3), name="prob"), "logits")
    snn = converted(b.model({"logits": ["batch", 3]}))
    with pytest.warns(UserWarning, match="'prob'"):
        graph = onnx2snn.nir_graph(snn)
    assert graph.metadata["left_to_host"] == "prob"
    (output,) = graph.outputs.values()
    assert tuple(output.output_type["output"]) == (3,)


def operated(make: Callable[[Builder, str], str]) -> onnx.ModelProto:
    """Conv, Relu, what `make` adds to [batch,4,6,6], Relu, Flatten, Gemm."""
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 6]), 2, 4))
    x = b.node("Relu", b.conv(make(b, x), 4, 4), name="last")
    b.name_output(b.gemm(b.node("Flatten", b.node("GlobalAveragePool", x)), 4, 3), "logits")
    return b.model({"logits": ["batch", 3]})


SAYABLE: dict[str, Callable[[Builder, str], str]] = {
    "twice the same": lambda b, x: b.node("Add", x, x),
    "a difference": lambda b, x: b.node("Sub", b.conv(x, 4, 4), x),
    "a negative": lambda b, x: b.node("Neg", x),
    "a number for each element": lambda b, x: b.node(
        "Mul", x, b.const(b.rng.uniform(0.5, 1, (4, 6, 6)))
    ),
    "a division": lambda b, x: b.node("Div", x, b.const([3.0])),
    "a bias": lambda b, x: b.node("Add", x, b.const(b.rng.standard_normal((4, 1, 1)))),
    "a flat kernel": lambda b, x: b.node(
        "Conv", x, b.const(b.rng.standard_normal((4, 4, 1, 3))), pads=[0, 1, 0, 1]
    ),
    "automatic padding": lambda b, x: b.node(
        "Conv", x, b.const(b.rng.standard_normal((4, 4, 2, 2))), auto_pad="SAME_LOWER"
    ),
    "dilation": lambda b, x: b.conv(x, 4, 4, dilations=[2, 2], pads=[2, 2, 2, 2]),
    "a padded mean": lambda b, x: b.node(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "a constant before a factor": lambda b, x: b.node("Mul", b.const([0.5]), x),
    "a sum over all places, and a mean": lambda b, x: b.node(
        "Sub",
        x,
        b.node("Mul", b.node("AveragePool", x, kernel_shape=[1, 1]), b.const([0.25])),
    ),
    "a sum that is read twice": lambda b, x: b.node("Add", x, b.node("Mul", x, b.const(0.5))),
}


@pytest.mark.parametrize("case", list(SAYABLE))
def test_operators_are_said_as_they_compute(case: str) -> None:
    network = operated(SAYABLE[case])
    snn = converted(network, timesteps=4)
    x = samples(network, 2, seed=5)
    session = onnx2snn.SpikingSession(snn, schedule="stepped", count_spikes=True)
    session.run(None, {"input": x}, 4)
    walked = walk(read_back(onnx2snn.nir_graph(snn)), {"input": x}, 4)
    assert (walked.counts["last"] == session.spike_counts()["last"]).mean() > 0.99


REFUSED: dict[str, tuple[Callable[[Builder, str], str], str]] = {
    "a max-pool": (
        lambda b, x: b.node("MaxPool", x, kernel_shape=[2, 2], name="pool"),
        r"'pool' \(MaxPool\).*average pool",
    ),
    "an analog operator": (
        lambda b, x: b.node("Tanh", b.conv(x, 4, 4), name="tanh"),
        "'tanh' are analog.*--strict",
    ),
    "a kernel that no square one equals": (
        lambda b, x: b.node("Conv", x, b.const(np.ones((4, 4, 2, 3))), name="flat"),
        "'flat'.*square",
    ),
    "means without a common divisor": (
        lambda b, x: b.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="mean"),
        "'mean'.*count_include_pad",
    ),
    "another operator": (
        lambda b, x: b.node("Transpose", x, perm=[0, 1, 3, 2], name="turn"),
        r"'turn' \(Transpose\)",
    ),
    "a volume": (
        lambda b, x: b.node(
            "Reshape",
            b.node(
                "AveragePool",
                b.node("Reshape", x, b.const([0, 4, 6, 6, 1], np.int64), name="volume"),
                kernel_shape=[1, 1, 1],
            ),
            b.const([0, 4, 6, 6], np.int64),
        ),
        "'volume'.*vectors alone",
    ),
    "automatic padding of a pool": (
        lambda b, x: b.node(
            "AveragePool",
            x,
            kernel_shape=[3, 3],
            auto_pad="SAME_UPPER",
            count_include_pad=1,
            name="mean",
        ),
        "'mean'.*automatic",
    ),
    "padding at one end": (
        lambda b, x: b.node(
            "AveragePool",
            x,
            kernel_shape=[2, 2],
            pads=[0, 0, 1, 1],
            count_include_pad=1,
            name="mean",
        ),
        "'mean'.*both ends",
    ),
    "windows beyond the end": (
        lambda b, x: b.node(
            "Conv",
            b.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, name="mean"),
            b.const(np.ones((4, 4, 1, 1))),
        ),
        "'mean'.*beyond",
    ),
    "a mean over one axis": (
        lambda b, x: b.node("ReduceMean", x, b.const([2], np.int64), name="mean"),
        "'mean'.*all spatial axes",
    ),
    "a number from outside": (
        lambda b, x: b.node("Add", x, b.node("ReduceMean", x, b.const([2, 3], np.int64)), name="m"),
        "'m'.*different shapes",
    ),
    "a tensor repeated along an axis": (
        lambda b, x: b.node(
            "Mul",
            b.node("GlobalAveragePool", x),
            b.const(np.ones((1, 4, 6, 6))),
            name="repeat",
        ),
        "'repeat'.*repeats",
    ),
    "a bias for each element": (
        lambda b, x: b.node("Add", x, b.const(b.rng.standard_normal((4, 6, 6))), name="shift"),
        "'shift'.*one number a channel",
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_nir_cannot_say_is_refused_by_name(case: str) -> None:
    make, sentence = REFUSED[case]
    with pytest.raises(UnsupportedGraphError, match=sentence):
        onnx2snn.nir_graph(converted(operated(make), timesteps=4))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"neuron": "signed"}, "'h1', 'h2' send spikes of both signs.*--neuron if$"),
        ({"levels": 2}, "'h1', 'h2' send spikes of several heights.*--levels 1$"),
        ({"neuron": "signed", "levels": 2}, "--neuron if --levels 1$"),
        ({"preset": "auto", "coding": "differential", "method": "max"}, "--coding rate$"),
        ({"sites": "weighted", "method": "max"}, "--sites activations$"),
    ],
    ids=str,
)
def test_other_codings_and_neurons_are_refused_with_the_option_that_helps(
    options: dict[str, Any], sentence: str
) -> None:
    snn = converted(mlp(), timesteps=4, **options)
    with pytest.raises(UnsupportedGraphError, match=sentence):
        onnx2snn.nir_graph(snn)


def test_an_inlined_file_is_refused() -> None:
    snn = onnx2snn.portable(converted(mlp(), timesteps=4))
    with pytest.raises(UsageError, match="'h1', 'h2' are written out"):
        onnx2snn.nir_graph(snn)


def test_a_neuron_or_a_sum_that_is_not_as_it_was_written_is_refused() -> None:
    bare = onnx.ModelProto()
    bare.CopyFrom(spiking("mlp"))
    (first, *_) = [node for node in bare.graph.node if node.op_type == "IF"]
    kept = [one for one in first.attribute if one.name != "v_init"]
    del first.attribute[:]
    first.attribute.extend(kept)
    with pytest.raises(UnsupportedGraphError, match=r"'h1'.*no attribute 'v_init'"):
        onnx2snn.nir_graph(bare)
    other = onnx.ModelProto()
    other.CopyFrom(spiking("mlp"))
    (added,) = [node for node in other.graph.node if node.output[0].endswith("sum/next")]
    added.op_type = "Sub"
    with pytest.raises(UnsupportedGraphError, match="is no sum of itself"):
        onnx2snn.nir_graph(other)


def test_open_sizes_are_asked_for() -> None:
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, "height", "width"]), 2, 4))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.gemm(x, 4, 3), "logits")
    data = inputs_for("resnet", 20)
    snn = onnx2snn.convert(b.model({"logits": ["batch", 3]}), data, method="max").model
    with pytest.raises(UsageError, match="--shape input="):
        onnx2snn.nir_graph(snn)
    graph = onnx2snn.nir_graph(snn, shapes={"input": (1, 2, 8, 8)})
    assert tuple(graph.input_type["input"]) == (2, 8, 8)


def test_the_command_writes_a_file_that_nir_reads(tmp_path: Path) -> None:
    onnx.save(converted(mlp(), timesteps=4), tmp_path / "snn.onnx")
    base = ["export", str(tmp_path / "snn.onnx"), "--to", "nir", "-o"]
    assert main([*base, str(tmp_path / "a.nir")]) == 0
    assert main([*base, str(tmp_path / "b.nir"), "--start-bias", "--timesteps", "8"]) == 0
    assert nir.read(tmp_path / "a.nir").nodes["h1"].metadata["v_init"] == 0.5
    assert nir.read(tmp_path / "b.nir").metadata["timesteps"] == 8


def test_the_command_refuses_with_exit_codes_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(converted(vgg(), timesteps=4), tmp_path / "snn.onnx")
    out = tmp_path / "out.nir"
    base = ["export", str(tmp_path / "snn.onnx"), "-o", str(out)]
    assert main([*base, "--to", "nir"]) == 3
    assert "MaxPool" in capsys.readouterr().err
    assert main([*base, "--to", "nir", "--inline"]) == 2
    assert main([*base, "--to", "step", "--start-bias"]) == 2
    assert "--start-bias belongs to --to nir" in capsys.readouterr().err
    monkeypatch.setattr("onnx2snn.snn.nir.export.find_spec", lambda _name: None)
    assert main([*base, "--to", "nir"]) == 2
    assert "onnx2snn[nir]" in capsys.readouterr().err
    assert not out.exists()
