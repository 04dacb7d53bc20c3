"""The ANN with thresholds as inputs and a statistic per neuron site as output.

Statistics, each of its site's threshold shape but the last:

- `overshoot`: g of local threshold balancing; the site clips at the updated threshold.
- `summary`: outputs for the mean, the largest and, of values that may be negative, the least.
- `histogram`: of each activation the number of its bin; counting them is left to NumPy.

Every name that is added starts with `PREFIX`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.calibrate.thinning import thinning_of
from onnx2snn.graph.editing import Editor, redirect, tidy, variable
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.prepare.partition import Site

BINS = 2048
"""Bins of a histogram."""

POSITIONS = 48
"""About the least number of a map's positions that a histogram counts in each sample ..."""

COUNTED = 2**15
"""... or as many as make this number of activations a channel from all samples, if that is more."""

PREFIX = "onnx2snn/"
"""Of every name added to an ANN, which may use any other."""

RATE = f"{PREFIX}2η"
"""The name under which an instrumented graph takes the rate 2η of local threshold balancing."""

_UINT16 = 4  # TensorProto.UINT16


def threshold_input(site: Site) -> str:
    """Return the name under which an instrumented graph takes a site's thresholds."""
    return f"{PREFIX}θ/{site.name}"


@dataclass(frozen=True)
class Place:
    """A site in the graph, where a statistic is taken.

    `threshold` and `rate` are inputs of the graph; `shape` is that of the site's thresholds.
    `positions` is about the least number of a map's positions that a histogram counts. `centre` is
    what is subtracted before sizes are taken (None: values are sizes); `signed`: values may be
    negative.
    """

    editor: Editor
    site: Site
    activation: Tensor
    threshold: Tensor
    rate: Tensor
    shape: tuple[int, ...]
    positions: int
    centre: Array | None
    signed: bool

    def node(
        self, op: str, label: str, *inputs: Tensor, dtype: type = np.float32, **attrs: object
    ) -> Tensor:
        """Append a node and return its one output."""
        name = self._name(label)
        out = self.editor.variable(name, dtype=dtype)
        self.editor.node(op, name, inputs, [out], attrs)
        return out

    def fixed(self, label: str, values: Array) -> Tensor:
        """Return a new constant."""
        name = self._name(label)
        return self.editor.constant(name, values)

    def single(self, label: str, value: float) -> Tensor:
        """Return a new constant that holds one number."""
        values = np.array([value], np.float32)
        return self.fixed(label, values)

    def whole(self, label: str, numbers: list[int]) -> Tensor:
        """Return a new constant of whole numbers."""
        values = np.array(numbers, np.int64)
        return self.fixed(label, values)

    def _name(self, label: str) -> str:
        return f"{PREFIX}{self.site.name}/{label}"

    def reduced(self, op: str, label: str, source: Tensor) -> Tensor:
        """Reduce a tensor of the activation's shape to the shape of the thresholds."""
        axes = []
        for axis, size in enumerate(self.shape):
            if size == 1 or axis != self.site.axis:
                axes.append(axis)
        fixed = self.whole(f"{label}/axes", axes)
        return self.node(op, label, source, fixed, keepdims=1)

    def size(self, tensor: Tensor) -> Tensor:
        """Return |y - centre| of the activation y, or of some of it."""
        if self.centre is None:
            return tensor
        if np.any(self.centre):
            minus = self.fixed("centre", (-self.centre).astype(np.float32))
            tensor = self.node("Add", "moved", tensor, minus)
        return self.node("Abs", "size", tensor)


def _overshoot(place: Place) -> list[Tensor]:
    """Take g = mean((min(z, u) - θ)·[z > θ]), and clip the activation at min(θ + 2 η g, u).

    a = clip(z, 0, u) is at hand and θ >= 0, so that g = mean(relu(a - θ)).
    """
    a, theta = place.size(place.activation), place.threshold
    upper = place.site.upper
    consumers = list(a.outputs)
    above = place.node("Sub", "above", a, theta)
    over = place.node("Relu", "over", above)
    g = place.reduced("ReduceMean", "overshoot", over)
    # θ + 2 η g, at most u
    step = place.node("Mul", "step", g, place.rate)
    bound = place.node("Add", "updated", theta, step)
    if np.isfinite(upper):
        most = place.single("upper", upper)
        bound = place.node("Min", "bounded", bound, most)
    clipped = place.node("Min", "clipped", a, bound)
    graph = place.editor.graph
    redirect(graph, a, clipped, consumers)
    graph.outputs = [clipped if tensor is a else tensor for tensor in graph.outputs]
    return [g]


def _summary(place: Place) -> list[Tensor]:
    """Take the mean and the largest activation, and the least one of those that may be negative."""
    a = place.activation
    found = [place.reduced("ReduceMean", "mean", a), place.reduced("ReduceMax", "largest", a)]
    if place.signed:
        found.append(place.reduced("ReduceMin", "least", a))
    return found


def _histogram(place: Place) -> list[Tensor]:
    """Take the bin min(a / max · bins, bins - 1) of each activation.

    The thresholds given are the maxima. A number for each of a large map's activations says
    no more than one for every few of them: maps are thinned out.
    """
    a = place.size(_thinned(place))
    bins = place.single("bins", BINS)
    first = place.fixed("first", np.array(0, np.float32))
    last = place.fixed("last", np.array(BINS - 1, np.float32))
    scale = place.node("Div", "scale", bins, place.threshold)
    binned = place.node("Mul", "binned", a, scale)
    # a Min with a constant takes several times as long
    capped = place.node("Clip", "capped", binned, first, last)
    return [place.node("Cast", "bin", capped, to=_UINT16, dtype=np.uint16)]


def _thinned(place: Place) -> Tensor:
    """Return some positions of a large map's activations, or all of a small one's.

    The axes on one side of the channels' are flattened to one, every n-th position of it is taken,
    and further axes of size 1 restore the rank.
    """
    thinning = thinning_of(place.site, place.positions)
    a = place.activation
    if thinning is None:
        return a
    axes, behind = thinning.axes, thinning.behind
    # 0: as it is
    before = [0] * axes.start
    if len(axes) > 1:
        shape = place.whole("flattened/shape", [*before, -1, *behind])
        a = place.node("Reshape", "flattened", a, shape)
    bounds = {"starts": 0, "ends": np.iinfo(np.int64).max, "axes": axes.start}
    bounds["steps"] = thinning.step
    limits = [place.whole(label, [number]) for label, number in bounds.items()]
    a = place.node("Slice", "thinned", a, *limits)
    if len(axes) > 1:
        ones = [1] * (len(axes) - 1)
        shape = place.whole("restored/shape", [*before, -1, *ones, *behind])
        a = place.node("Reshape", "restored", a, shape)
    return a


@dataclass(frozen=True)
class Probe:
    """A statistic: the nodes that take it at a place, and the inputs they need."""

    build: Callable[[Place], list[Tensor]]
    needs_threshold: bool = False
    needs_rate: bool = False
    dtype: type = np.float32


PROBES = {
    "overshoot": Probe(_overshoot, needs_threshold=True, needs_rate=True),
    "summary": Probe(_summary),
    "histogram": Probe(_histogram, needs_threshold=True, dtype=np.uint16),
}
"""The statistics, by the names they are asked for."""


def instrument(  # noqa: PLR0913 - one call says what is measured, where and of what
    graph: Graph,
    sites: Sequence[Site],
    statistic: str,
    granularity: str,
    *,
    keep_outputs: bool = False,
    samples: int | None = None,
    centres: Sequence[Array] | None = None,
    signed: bool = False,
) -> Graph:
    """Return a copy of the ANN that returns one statistic a site.

    Args:
        graph: The arranged ANN.
        sites: Its neuron sites.
        statistic: One of `PROBES`.
        granularity: "channel" or "layer": the shape of thresholds and statistics.
        keep_outputs: Keep the ANN's outputs too, before the statistics, as the ANN computes them
            with every activation clipped.
        samples: The number of all samples together, as far as it is known: histograms of fewer
            count more positions of each.
        centres: Of each site, what is subtracted from its values before their sizes |y - centre|
            are taken for the activations; None: activations are taken as they are.
        signed: Whether values may be negative.

    Returns:
        A graph whose inputs are the ANN's own and, as far as the statistic needs them, the
        thresholds of each site (`threshold_input`) and the rate 2η (`RATE`).
    """
    probe = PROBES[statistic]
    graph = graph.copy()
    tensors = graph.tensors()
    editor = Editor(graph)
    rate = variable(RATE, dtype=np.float32, shape=[1])
    positions = POSITIONS
    if samples is not None:
        positions = max(POSITIONS, COUNTED // samples)
    statistics: list[Tensor] = []
    for index, site in enumerate(sites):
        shape = site.threshold_shape(granularity)
        name = threshold_input(site)
        theta = variable(name, dtype=np.float32, shape=list(shape))
        activation = tensors[site.tensor]
        centre = None if centres is None else centres[index]
        place = Place(editor, site, activation, theta, rate, shape, positions, centre, signed)
        found = probe.build(place)
        for output in found:
            output.dtype = np.dtype(probe.dtype)
        statistics += found
        if probe.needs_threshold:
            graph.inputs.append(theta)
    if probe.needs_rate:
        graph.inputs.append(rate)
    if keep_outputs:
        statistics = graph.outputs + statistics
    graph.outputs = statistics
    return tidy(graph)
