"""Behaviour of onnx2snn.pipeline.verify.

Each stage against the one before, and the SNN against the ANN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from helpers.networks import BLOCKS, NETWORKS, Builder, assemble, inputs_for, mlp
from helpers.neurons import if_step
from helpers.stages import (
    Array,
    Staged,
    feed_for,
    job_of,
    network,
    random_networks,
    reference,
    relative,
    samples,
    stable,
    staged,
)
from hypothesis import given
from onnx import helper, numpy_helper

from onnx2snn.errors import StageMismatchError
from onnx2snn.graph.editing import to_proto
from onnx2snn.pipeline.stage_checks import (
    as_clipped,
    check_stage,
    relative_error,
    run_clipped,
    run_model,
)
from onnx2snn.pipeline.verify import Comparison, compare
from onnx2snn.rewrite.emit import ConversionFacts, annotate
from onnx2snn.rewrite.fold import fold
from onnx2snn.rewrite.spiking import rewrite

TOLERANCE = 1e-5


def clipped_by_hand(
    model: Staged, thetas: Sequence[Array], feed: Mapping[str, Array]
) -> list[Array]:
    """The ANN with Min(a, θ) behind every activation a, made by editing its nodes."""
    proto = to_proto(model.arranged)
    tensors = {site.tensor: theta for site, theta in zip(model.parts.sites, thetas, strict=True)}
    for node in list(proto.graph.node):
        node.input[:] = [f"{t}/clipped" if t in tensors else t for t in node.input]
    for tensor, theta in tensors.items():
        proto.graph.initializer.append(
            numpy_helper.from_array(theta.astype(np.float32), f"{tensor}/theta")
        )
        proto.graph.node.append(
            helper.make_node("Min", [tensor, f"{tensor}/theta"], [f"{tensor}/clipped"])
        )
    nodes, known = (
        list(proto.graph.node),
        {v.name for v in [*proto.graph.input, *proto.graph.initializer]} | {""},
    )
    del proto.graph.node[:]
    while nodes:  # sorted again
        ready = [node for node in nodes if known.issuperset(node.input)]
        nodes = [node for node in nodes if not known.issuperset(node.input)]
        known.update(name for node in ready for name in node.output)
        proto.graph.node.extend(ready)
    return reference(proto, feed)


def assert_stages_agree(
    model: Staged, feed: Mapping[str, Array], granularity: str = "channel"
) -> None:
    thetas = model.thresholds(0, granularity)
    wanted = clipped_by_hand(model, thetas, feed)
    balanced = run_clipped(
        job_of(model, feed["input"], granularity=granularity), model.arranged, thetas, feed
    )
    rewritten = rewrite(model.arranged, model.parts, thetas)
    spiking, _ = fold(rewritten.copy())
    for found in (balanced, run_model(as_clipped(spiking), feed, 1)):
        for one, other in zip(found, wanted, strict=True):
            assert relative(one, other) <= TOLERANCE


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_the_clipped_network_is_the_same_before_and_after_folding(
    name: str, granularity: str
) -> None:
    assert_stages_agree(network(name), samples(name, 3), granularity)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_clipped_network_is_the_same_whatever_lies_between(block: str) -> None:
    proto = assemble([block, "relu", block], seed=2)
    assert_stages_agree(staged(proto), feed_for(proto))


@given(random_networks())
@stable(20)
def test_any_clipped_network_is_the_same_before_and_after_folding(proto: onnx.ModelProto) -> None:
    assert_stages_agree(staged(proto), feed_for(proto))


def test_an_activation_that_is_an_output_is_clipped_as_well() -> None:
    b = Builder()
    b.name_output(b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 5)), "hidden")
    b.name_output(b.gemm("hidden", 5, 3), "output")
    model = staged(b.model({"hidden": ["batch", 5], "output": ["batch", 3]}))
    feed = {"input": np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)}
    theta = np.full((1, 5), 0.3)
    hidden, output = run_clipped(job_of(model, feed["input"]), model.arranged, [theta], feed)
    whole = reference(model.source.proto, feed)[0]
    assert whole.max() > 0.3
    np.testing.assert_allclose(hidden, np.minimum(whole, 0.3), rtol=1e-6)
    spiking, _ = fold(rewrite(model.arranged, model.parts, [theta]))
    for found, wanted in zip(
        run_model(as_clipped(spiking), feed, 1), (hidden, output), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_thresholds_matter() -> None:
    """The comparison above compares clipped networks: they differ from the ANN."""
    model, feed = network("vgg"), samples("vgg", 3)
    assert (
        relative(
            clipped_by_hand(model, model.thresholds(), feed)[0], reference(model.arranged, feed)[0]
        )
        > 0.05
    )


def test_a_copy_is_clipped_and_the_spiking_graph_left_alone() -> None:
    model = network("vgg")
    spiking, _ = fold(rewrite(model.arranged, model.parts, model.thresholds()))
    before = [(node.op, node.domain, dict(node.attrs)) for node in spiking.nodes]
    as_clipped(spiking)
    assert [(node.op, node.domain, dict(node.attrs)) for node in spiking.nodes] == before


# The check itself.


def test_a_difference_beyond_the_tolerance_is_an_error_that_names_the_stage() -> None:
    one = [np.ones((2, 3), np.float32)]
    other = [np.full((2, 3), 1.01, np.float32)]
    with pytest.raises(
        StageMismatchError, match=r"stage 'fold' changes the network's output by 0.01 .*report"
    ):
        check_stage("fold", one, other)
    assert check_stage("fold", one, other, tolerance=0.1) == pytest.approx(0.01, rel=1e-3)


def test_not_a_number_is_a_difference() -> None:
    with pytest.raises(StageMismatchError):
        check_stage("fold", [np.ones(2, np.float32)], [np.array([1, np.nan], np.float32)])


def test_integer_outputs_may_differ() -> None:
    assert check_stage("fold", [np.array([1])], [np.array([2])]) == 0.0


@pytest.mark.parametrize(
    ("found", "wanted", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([0.0, 0.0], [3.0, 4.0], 1.0),
        ([0.0], [0.0], 0.0),
        ([1.0], [0.0], np.inf),
        ([3.0, -np.inf, np.nan], [4.0, -np.inf, np.nan], 0.25),
        ([3.0, 0.0], [3.0, np.inf], np.inf),
    ],
)
def test_relative_error(found: list[float], wanted: list[float], error: float) -> None:
    assert relative_error(np.array(found), np.array(wanted)) == error


# The SNN against the ANN.


@dataclass(frozen=True)
class Simulation:
    """The three-layer network of `mlp` and its spiking counterpart in NumPy, in ANN units."""

    weights: Sequence[Array]
    biases: Sequence[Array]
    thetas: Sequence[Array]

    @staticmethod
    def of(proto: onnx.ModelProto, thetas: Sequence[Array]) -> Simulation:
        values = [numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer]
        return Simulation(values[0::2], values[1::2], thetas)

    def layer(self, number: int, x: Array) -> Array:
        out: Array = x @ self.weights[number].T + self.biases[number]
        return out

    def ann(self, x: Array) -> tuple[list[Array], Array]:
        activations = []
        for number in range(2):
            x = np.maximum(self.layer(number, x), 0)
            activations.append(x)
        return activations, self.layer(2, x)

    def snn(self, x: Array, timesteps: int) -> tuple[list[Array], list[Array], Array]:
        """Mean currents and mean outputs of both sites, and the answer without a delay."""
        currents: list[Array] = [np.zeros(())] * 2
        rates: list[Array] = [np.zeros(())] * 2
        potentials: list[Array] = [np.zeros((1, 1))] * 2
        for _ in range(timesteps):
            sent = x
            for site, theta in enumerate(self.thetas):
                current = self.layer(site, sent)
                spike, potentials[site] = if_step(current / theta, potentials[site])
                sent = theta * spike
                currents[site] = currents[site] + current / timesteps
                rates[site] = rates[site] + sent / timesteps
        return currents, rates, self.layer(2, rates[-1])


@pytest.mark.parametrize("timesteps", [4, 32])
@pytest.mark.parametrize("batch", [50, 3])
def test_errors_per_site_are_those_of_a_simulation(timesteps: int, batch: int) -> None:
    model, x = network("mlp"), inputs_for("mlp", 8)
    thetas = model.thresholds()
    simulation = Simulation.of(mlp(), thetas)
    activations, logits = simulation.ann(x)
    currents, rates, answer = simulation.snn(x, timesteps)
    verdict = judged(model, thetas, x, timesteps, batch)
    assert verdict.samples == 8
    assert verdict.agreement == pytest.approx(np.mean(answer.argmax(1) == logits.argmax(1)))
    for found, current, rate, a in zip(verdict.sites, currents, rates, activations, strict=True):
        expected = np.maximum(current, 0)
        wanted = [
            np.linalg.norm(d) / np.linalg.norm(a) for d in (rate - a, rate - expected, expected - a)
        ]
        np.testing.assert_allclose(
            [found.total, found.own, found.inherited], wanted, rtol=1e-3, atol=1e-6
        )
        assert found.total <= found.own + found.inherited + 1e-6  # theorem 1
    assert verdict.sites[0].inherited < 1e-5  # its current comes from the encoder


def judged(
    model: Staged, thetas: Sequence[Array], x: Array, timesteps: int, batch: int = 50
) -> Comparison:
    spiking, _ = fold(rewrite(model.arranged, model.parts, thetas))
    about = ConversionFacts({}, timesteps, delay=0, delay_auto=0, calibrated=True)
    snn = annotate(spiking, model.parts, model.source, about)
    return compare(job_of(model, x, timesteps=timesteps), thetas, snn, 0, batch)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_many_steps_and_high_thresholds_the_error_vanishes(name: str) -> None:
    model = network(name)
    thetas = [np.full(t.shape, 25.0) for t in model.thresholds()]
    thetas = [np.minimum(t, site.upper) for t, site in zip(thetas, model.parts.sites, strict=True)]
    few, many = (judged(model, thetas, inputs_for(name, 6), t) for t in (32, 512))
    assert many.agreement > 0.95
    for before, after in zip(few.sites, many.sites, strict=True):
        assert after.total < 0.25 * before.total
        assert after.total < 0.1


def test_low_agreement_is_worth_a_sentence_but_not_on_random_inputs() -> None:
    low, high = Comparison(0.5, 10, ()), Comparison(0.95, 10, ())
    assert low.warnings(8, random=True) == high.warnings(8, random=False) == []
    (said,) = low.warnings(8, random=False)
    assert "50.0%" in said and "T = 8" in said
