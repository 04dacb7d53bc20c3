"""Behaviour of calibrate.instrument, calibrator: statistics are NumPy's, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for, resnet
from helpers.stages import Array, Staged, job_of, network, reference, samples, stable, staged
from hypothesis import given
from hypothesis import strategies as st

from onnx2snn.aliases import Progress, silent_progress
from onnx2snn.calibrate import rules, sample_passes
from onnx2snn.calibrate.calibrator import Calibrator
from onnx2snn.calibrate.histograms import Counter
from onnx2snn.calibrate.instrument import BINS, RATE, instrument, threshold_input
from onnx2snn.calibrate.statistics import Counts, Statistics
from onnx2snn.data.positions import spread_step
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.graph.editing import to_proto
from onnx2snn.pipeline.stage_checks import run_model
from onnx2snn.protos.specs import input_specs

GRANULARITIES = ["channel", "layer"]


# A network whose every value NumPy knows: three 1x1 convolutions, Relu or Clip(0, 6) between.


@dataclass(frozen=True)
class Plain:
    """What NumPy needs of the network `plain` makes."""

    model: Staged
    weights: Sequence[Array]
    biases: Sequence[Array]
    upper: float

    def layer(self, number: int, x: Array) -> Array:
        z: Array = np.einsum("oc,nchw->nohw", self.weights[number], x.astype(np.float64))
        return z + self.biases[number].reshape(1, -1, 1, 1)

    def balance(
        self, x: Array, thetas: Sequence[Array], rate: float, granularity: str
    ) -> tuple[list[Array], Array]:
        """Statistics g of both sites and the output; each clips at its updated threshold."""
        found = []
        for number, theta in enumerate(thetas):
            z = self.layer(number, x)
            over = (np.minimum(z, self.upper) - theta) * (z > theta)
            axes = (0, 2, 3) if granularity == "channel" else (0, 1, 2, 3)
            found.append(over.mean(axis=axes, keepdims=True))
            updated = np.minimum(theta + 2 * rate * found[-1], self.upper)
            x = np.minimum(np.maximum(z, 0), np.minimum(updated, self.upper))
        return found, self.layer(2, x)

    def activations(self, x: Array) -> list[Array]:
        found = []
        for number in range(2):
            x = np.clip(self.layer(number, x), 0, self.upper)
            found.append(x)
        return found


def plain(
    upper: float = float("inf"),
    batch: int | str = "batch",
    spread: float = 3.0,
    size: tuple[int, int] = (3, 4),
) -> Plain:
    b = Builder(2)
    weights = [b.rng.standard_normal(shape) * spread for shape in ((4, 2), (3, 4), (2, 3))]
    biases = [b.rng.standard_normal(len(w)) for w in weights]
    biases[0][1] = -1e3  # a channel that is never active
    x = b.input("input", [batch, 2, *size])
    for number, (w, bias) in enumerate(zip(weights, biases, strict=True)):
        x = b.node("Conv", x, b.const(w[:, :, None, None]), b.const(bias))
        if number < 2:
            bounds = [b.const(0.0), b.const(upper)] if np.isfinite(upper) else []
            x = b.node("Clip" if bounds else "Relu", x, *bounds)
    b.name_output(x, "output")
    proto = b.model({"output": [batch, 2, *size]})
    rounded, rounded_biases = (
        [v.astype(np.float32) for v in values] for values in (weights, biases)
    )
    return Plain(staged(proto), rounded, rounded_biases, upper)


def images(count: int, seed: int = 0, size: tuple[int, int] = (3, 4)) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 2, *size)).astype(np.float32)


def opened(model: Staged, data: Array) -> Samples:
    return open_samples({"input": data}, input_specs(model.source.proto))


def calibrator(
    model: Staged, data: Array, batch: int = 100, granularity: str = "channel"
) -> Calibrator:
    return Calibrator(job_of(model, data, batch_size=batch, granularity=granularity))


def close(found: Sequence[Array], wanted: Sequence[Array], tolerance: float = 1e-5) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# Local threshold balancing.


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("upper", [float("inf"), 6.0])
@pytest.mark.parametrize("theta", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_the_graph_clips_and_measures_as_numpy_does(
    granularity: str, upper: float, theta: float, rate: float
) -> None:
    net = plain(upper)
    model, x = net.model, images(5)
    sites = model.parts.sites
    thetas = [np.full(site.threshold_shape(granularity), theta) for site in sites]
    wanted, output = net.balance(x, thetas, rate, granularity)
    graph = instrument(model.arranged, sites, "overshoot", granularity, keep_outputs=True)
    feed = {
        threshold_input(site): t.astype(np.float32) for site, t in zip(sites, thetas, strict=True)
    }
    found = run_model(graph, {"input": x, RATE: np.array([2 * rate], np.float32)} | feed, 1)
    close(found, [output, *wanted], 1e-4)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("upper", [float("inf"), 6.0])
def test_balancing_is_the_same_loop_in_numpy(granularity: str, upper: float) -> None:
    net, x = plain(upper), images(6)
    thetas: list[Array] = [
        np.zeros(site.threshold_shape(granularity)) for site in net.model.parts.sites
    ]
    for _ in range(7):
        found, _ = net.balance(x, thetas, 1.0, granularity)
        thetas = [rules.local_update(t, g, 1.0, upper) for t, g in zip(thetas, found, strict=True)]
    assert all(np.all(t <= upper) for t in thetas)
    close(calibrator(net.model, x, len(x), granularity).local(7, 0, silent_progress), thetas, 1e-4)


def test_a_silent_channel_stays_at_zero_and_is_settled_later() -> None:
    net = plain()
    first, _ = calibrator(net.model, images(6)).local(5, 0, silent_progress)
    assert first.ravel()[1] == 0
    assert rules.settle(first).silent == (1,)


def test_a_fixed_batch_size_means_several_passes_at_one_threshold_and_one_update() -> None:
    """The first site's current does not depend on thresholds: each iteration is known exactly."""
    fixed, free = plain(batch=2), plain()
    x = images(6)
    thetas = np.zeros((1, 4, 1, 1))
    z = free.layer(0, x)
    for iterations in (1, 2, 3):
        thetas = thetas + 2 * np.mean(np.maximum(z - thetas, 0), axis=(0, 2, 3), keepdims=True)
        found = calibrator(fixed.model, x, 6).local(iterations, 0, silent_progress)
        np.testing.assert_allclose(found[0], thetas, rtol=1e-5)


def test_the_passes_of_a_fixed_batch_are_averaged() -> None:
    fixed, x = plain(batch=2), images(6)
    counter = calibrator(fixed.model, x, 6)
    zero = [np.zeros(site.threshold_shape("channel")) for site in fixed.model.parts.sites]
    feeds = counter.theta_feeds(zero) | {RATE: np.array([2.0], np.float32)}
    (taken,) = counter.work("overshoot", Statistics).opened.taken([np.arange(6)], feeds)
    wanted = [fixed.balance(x[start : start + 2], zero, 1.0, "channel")[0] for start in (0, 2, 4)]
    for site, passes in enumerate(taken.by_output):
        close(passes, [one[site] for one in wanted], 1e-4)


@pytest.mark.parametrize("count", [5, 6])
def test_a_fixed_batch_is_always_full(count: int) -> None:
    counter = calibrator(plain(batch=2).model, images(6), 6)
    assert [batch.fed for batch in counter.passes.of([np.arange(count)])] == [2, 2, 2]


def test_passes_of_large_activations_are_small_and_their_statistics_weighed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first site's current does not depend on thresholds: its update is the whole batch's."""
    net, x = plain(), images(7)
    monkeypatch.setattr(sample_passes, "CACHED", 3 * 4 * 12)
    counter = calibrator(net.model, x, 7)
    assert [batch.fed for batch in counter.passes.of([np.arange(7)])] == [3, 2, 2]
    close(counter.means(), [a.mean(axis=(0, 2, 3), keepdims=True) for a in net.activations(x)])
    wanted = 2 * np.mean(np.maximum(net.layer(0, x), 0), axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(counter.local(1, 0, silent_progress)[0], wanted, rtol=1e-5)


def test_the_order_of_the_samples_is_that_of_the_seed() -> None:
    net, x = plain(), images(20)
    one, same, other = (
        calibrator(net.model, x, 4).local(6, seed, silent_progress)[1] for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_each_epoch_sees_every_sample_once() -> None:
    net = plain()
    order = calibrator(net.model, images(12), 4).passes.shuffled(3)
    epochs = [np.concatenate([next(order) for _ in range(3)]) for _ in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_balanced_thresholds_lie_below_the_maximum() -> None:
    model = network("resnet")
    data = inputs_for("resnet", 30)
    counter = calibrator(model, data, 10)
    maxima = counter.maxima(silent_progress)
    thetas = counter.local(50, 0, silent_progress)
    for theta, maximum in zip(thetas, maxima, strict=True):
        assert np.all(theta > 0) and np.all(theta <= maximum * 1.001)


# Means, maxima and percentiles over all samples.


def axes(granularity: str) -> tuple[int, ...]:
    return (0, 2, 3) if granularity == "channel" else (0, 1, 2, 3)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("batch", [100, 4, 1])
@pytest.mark.parametrize("upper", [float("inf"), 6.0])
def test_means_and_maxima_are_numpys(granularity: str, batch: int, upper: float) -> None:
    net, x = plain(upper), images(7)
    counter = calibrator(net.model, x, batch, granularity)
    found = net.activations(x)
    close(counter.means(), [a.mean(axis=axes(granularity), keepdims=True) for a in found])
    close(
        counter.maxima(silent_progress),
        [a.max(axis=axes(granularity), keepdims=True) for a in found],
    )


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("batch", [100, 3])
def test_sizes_of_what_may_be_negative_are_largest_at_an_extreme(
    granularity: str, batch: int
) -> None:
    """Of the currents of both sites, from centres on either side of the middle."""
    net, x = plain(), images(7)
    before = {node.outputs[0].name: node.inputs[0].name for node in net.model.arranged.nodes}
    sites = [replace(site, tensor=before[site.tensor]) for site in net.model.parts.sites]
    model = replace(net.model, parts=replace(net.model.parts, sites=tuple(sites)))
    job = job_of(model, x, batch_size=batch, granularity=granularity)
    counter = Calibrator(job, signed=True)
    first = net.layer(0, x)
    found = [first, net.layer(1, np.maximum(first, 0))]
    means = [z.mean(axis=axes(granularity), keepdims=True) for z in found]
    close(counter.means(), means, 1e-4)
    for shift in (-20.0, 0.0, 20.0):
        counter.centres = [mean + shift for mean in means]
        wanted = [
            np.abs(z - centre).max(axis=axes(granularity), keepdims=True)
            for z, centre in zip(found, counter.centres, strict=True)
        ]
        close(counter.maxima(silent_progress), wanted, 1e-4)


def percentiles(counter: Calibrator, percent: float, progress: Progress) -> list[Array]:
    return counter.from_histograms(partial(rules.percentile, percent=percent), progress)


def per_channel(a: Array, granularity: str) -> Array:
    return np.moveaxis(a, 1, 0).reshape(a.shape[1] if granularity == "channel" else 1, -1)


@given(st.integers(1, 9), st.floats(1, 100), st.sampled_from(GRANULARITIES), st.integers(0, 99))
@stable(20)
def test_a_percentile_is_numpys_within_one_bin(
    count: int, percent: float, granularity: str, seed: int
) -> None:
    net, x = plain(), images(count, seed)
    found = percentiles(calibrator(net.model, x, 4, granularity), percent, silent_progress)
    for theta, a, site in zip(found, net.activations(x), net.model.parts.sites, strict=True):
        rows = per_channel(a, granularity)
        assert theta.shape == site.threshold_shape(granularity)
        gap = np.abs(theta.ravel() - np.percentile(rows, percent, axis=1))
        assert np.all(gap <= rows.max(axis=1) / BINS * 1.01)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(
    ("size", "counted"),
    [
        ((3, 4), 12),
        ((9, 10), 90),
        ((20, 21), 84),
        ((1, 480), 44),
    ],
    ids=["small", "not quite large", "large", "long"],
)
def test_histograms_count_every_activation_of_small_maps_and_some_of_large_ones(
    granularity: str, size: tuple[int, int], counted: int
) -> None:
    net, x = plain(size=size), images(5, size=size)
    sites = net.model.parts.sites
    maxima = [np.full(site.threshold_shape(granularity), 30.0) for site in sites]
    graph = instrument(net.model.arranged, sites, "histogram", granularity)
    feed = {
        threshold_input(site): maximum.astype(np.float32)
        for site, maximum in zip(sites, maxima, strict=True)
    }
    step = spread_step(size, 48) if counted < 90 else 1
    for bins, whole in zip(
        run_model(graph, {"input": x} | feed, 1), net.activations(x), strict=True
    ):
        a = whole.reshape(*whole.shape[:2], -1)[:, :, ::step]
        assert a.shape[2] == counted
        rows = per_channel(a, granularity)
        wanted = [np.histogram(np.minimum(row, 29.999), BINS, (0, 30.0))[0] for row in rows]
        of_rows = per_channel(bins, granularity)
        found = np.array([np.bincount(row, minlength=BINS) for row in of_rows])
        assert found.sum() == a.size
        # an activation on the border of two bins may be rounded into either
        assert np.all(np.abs(np.cumsum(found, axis=1) - np.cumsum(wanted, axis=1)) <= 2)


def upsampled(how: str) -> Staged:
    """A convolution and a map that is upsampled by a stride, with a Relu behind each."""
    b = Builder(3)
    stride = 3 if "3" in how else 2
    size = 24 if stride == 3 else 28
    x = b.input("input", ["batch", 2, size // stride, size // stride])
    x = b.node("Relu", b.conv(x, 2, 4))
    if "shuffled" in how:
        x = b.node("DepthToSpace", b.conv(x, 4, 4 * stride**2), blocksize=stride, mode="CRD")
    else:
        kernel = b.const(b.rng.standard_normal((4, 4, stride, stride)))
        x = b.node("ConvTranspose", x, kernel, strides=[stride, stride])
    # one more phase is far larger than the others
    single = np.zeros((1, 1, size, size))
    single[:, :, 1::stride, 0::stride] = 9.0
    x = b.node("Add", x, b.const(single))
    if "last" in how:
        x = b.node("Transpose", x, perm=[0, 2, 3, 1])
    x = b.node("Relu", x)
    if "last" in how:
        x = b.node("Transpose", x, perm=[0, 3, 1, 2])
    b.name_output(b.conv(x, 4, 2), "output")
    return staged(b.model({"output": ["batch", 2, size, size]}))


@pytest.mark.parametrize(
    "how", ["transposed by 2", "transposed by 3", "shuffled by 2", "shuffled by 3, channels last"]
)
def test_thresholds_behind_an_upsampling_are_those_of_all_its_phases(how: str) -> None:
    model = upsampled(how)
    site = model.parts.sites[-1]
    size = 8 if "3" in how else 14
    x = images(700, size=(size, size))
    *_, theta = percentiles(calibrator(model, x), 90.0, silent_progress)
    graph = model.arranged.copy()
    graph.outputs = [graph.tensors()[site.tensor]]
    (a,) = reference(graph, {"input": x})
    rows = np.moveaxis(a, site.axis, 0).reshape(4, -1)
    # a ninth of the positions is far larger: the percentile is close to the border between the two
    np.testing.assert_allclose(theta.ravel(), np.percentile(rows, 90.0, axis=1), rtol=0.04)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_statistics_of_any_layer_lie_along_its_channels(name: str, granularity: str) -> None:
    """Against the activations themselves, for convolutions and dense layers."""
    model = network(name)
    data = inputs_for(name, 6)
    graph = model.arranged.copy()
    graph.outputs = [graph.tensors()[site.tensor] for site in model.parts.sites]
    found = reference(graph, samples(name, 6))
    counter = calibrator(model, data, 4, granularity)
    means, maxima = counter.means(), counter.maxima(silent_progress)
    for site, a, mean, maximum in zip(model.parts.sites, found, means, maxima, strict=True):
        over = tuple(axis for axis in range(a.ndim) if axis != site.axis or granularity == "layer")
        np.testing.assert_allclose(mean, a.mean(axis=over, keepdims=True), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(maximum, a.max(axis=over, keepdims=True), rtol=1e-4)


# The instrumented graph.


@pytest.mark.parametrize("statistic", ["overshoot", "summary", "histogram"])
def test_only_statistics_leave_the_graph(statistic: str) -> None:
    model = network("resnet")
    before = to_proto(model.arranged).SerializeToString(deterministic=True)
    graph = instrument(model.arranged, model.parts.sites, statistic, "channel")
    each = 2 if statistic == "summary" else 1
    assert len(graph.outputs) == each * len(model.parts.sites)
    thresholds = statistic in ("overshoot", "histogram")
    names = {threshold_input(site) for site in model.parts.sites} if thresholds else set()
    assert {t.name for t in graph.inputs} == {"input"} | names | (
        {RATE} if statistic == "overshoot" else set()
    )
    assert to_proto(model.arranged).SerializeToString(deterministic=True) == before


Rule = Callable[[Calibrator, Progress], object]
RULES: dict[str, tuple[Rule, list[tuple[str, int, int]]]] = {
    "local": (lambda c, p: c.local(2, 0, p), [("local threshold balancing", n, 2) for n in (1, 2)]),
    "maxima": (lambda c, p: c.maxima(p), [("maxima", n, 3) for n in (1, 2, 3)]),
    "percentiles": (
        lambda c, p: percentiles(c, 99.0, p),
        [("maxima", n, 3) for n in (1, 2, 3)] + [("histograms", n, 3) for n in (1, 2, 3)],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_progress_is_told(rule: str) -> None:
    run, wanted = RULES[rule]
    told: list[tuple[str, int, int]] = []
    run(calibrator(plain().model, images(5), 2), lambda *args: told.append(args))
    assert told == wanted


def test_the_batch_is_no_larger_than_the_data() -> None:
    assert calibrator(plain().model, images(3), 100).passes.batch == 3


def test_a_network_of_fixed_batch_is_measured_like_one_of_free_batch() -> None:
    data = inputs_for("resnet", 6)
    fixed, free = (calibrator(staged(resnet(batch=batch)), data, 6) for batch in (3, "batch"))
    close(fixed.means(), free.means(), 1e-4)
    close(fixed.maxima(silent_progress), free.maxima(silent_progress), 1e-4)


def test_what_fills_up_a_fixed_batch_counts_in_no_mean() -> None:
    """Seven samples in passes of three: the seventh has a part in the maxima alone."""
    data = inputs_for("resnet", 7)
    data[6] *= 10
    fixed = calibrator(staged(resnet(batch=3)), data, 7)
    six, seven = (calibrator(staged(resnet()), data[:count], count) for count in (6, 7))
    close(fixed.means(), six.means(), 1e-4)
    close(fixed.maxima(silent_progress), seven.maxima(silent_progress), 1e-4)
    assert all(found.counts.sum() % 6 == 0 for found in fixed.histograms(silent_progress))
    assert fixed.passes.batch == 6  # and so in local balancing


def test_where_samples_fill_no_pass_of_a_fixed_batch_all_count() -> None:
    counter = calibrator(staged(resnet(batch=3)), inputs_for("resnet", 2), 100)
    assert [len(indices) for indices in counter.passes.epoch()] == [2]
    assert counter.passes.batch == 2


def test_threads_change_no_statistic() -> None:
    net, x = plain(), images(60)
    job = job_of(net.model, x, batch_size=30)
    one, three = (
        Calibrator(job.with_settings(replace(job.settings, threads=threads))) for threads in (1, 3)
    )
    for mean, other in zip(one.means(), three.means(), strict=True):
        np.testing.assert_array_equal(mean, other)
    counted = (run.histograms(silent_progress) for run in (one, three))
    for histogram, same in zip(*counted, strict=True):
        np.testing.assert_array_equal(histogram.counts, same.counts)


def test_a_pass_is_counted_before_the_next_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = plain(), images(8)
    monkeypatch.setattr(sample_passes, "CACHED", 3 * 4 * 12)
    run = calibrator(net.model, x, 8)
    counts = run.work("histogram", Counts).opened
    done = []

    class Noted:
        get_inputs = counts.session.get_inputs

        def run(self, names: None, feed: dict[str, Array]) -> list[Array]:
            done.append("run")
            found: list[Array] = counts.session.run(names, feed)
            return found

    noted = replace(counts, session=Noted())
    monkeypatch.setattr(Counter, "add", lambda _counter, _numbers: done.append("count"))
    feeds = run.theta_feeds([np.ones(run._shape(site)) for site in run.sites])
    (_,) = noted.added(noted.start(), [np.arange(8)], feeds)
    assert done == ["run", *["count"] * len(run.sites)] * 3
