"""The ANN with thresholds as inputs and one statistic per neuron site as output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ._graph import Array, Graph, Node, Tensor, add_node, make_constant, redirect, tidy, variable
from ._partition import Site

BINS = 2048

PREFIX = "onnx2snn/"
"""Of every name added to an ANN, which may use any other."""


def _axes(site: Site, shape: tuple[int, ...]) -> Array:
    return np.array([axis for axis in range(len(shape)) if shape[axis] == 1 or axis != site.axis], np.int64)


def _reduce(graph: Graph, op: str, name: str, source: Tensor, axes: Array, out: Tensor | None = None) -> Tensor:
    out = variable(f"{name}/{op}", dtype=np.float32) if out is None else out
    fixed = make_constant(f"{name}/{op}/axes", axes)
    add_node(graph, op, f"{name}/{op}", [source, fixed], [out], {"keepdims": 1})
    return out


@dataclass(frozen=True)
class Probe:
    """What is added at each site: `build(graph, site, activation, threshold input, rate input, shape)` -> statistic."""

    build: Callable[[Graph, Site, Tensor, Tensor, Tensor, tuple[int, ...]], Tensor]
    needs_threshold: bool
    needs_rate: bool = False


def _overshoot(graph: Graph, site: Site, a: Tensor, theta: Tensor, rate: Tensor, shape: tuple[int, ...]) -> Tensor:
    """g = mean((min(z, u) - θ)·[z > θ]) = mean(relu(a - θ)) for θ >= 0; the site then clips at min(θ + 2 η g, u)."""

    def node(op: str, label: str, *inputs: Tensor) -> Tensor:
        out = variable(f"{PREFIX}{site.name}/{label}", dtype=np.float32)
        add_node(graph, op, f"{PREFIX}{site.name}/{label}", inputs, [out])
        return out

    consumers = list(a.outputs)
    over = node("Relu", "over", node("Sub", "above", a, theta))
    g = _reduce(graph, "ReduceMean", f"{PREFIX}{site.name}/overshoot", over, _axes(site, shape))
    step = node("Mul", "step", g, rate)
    bounds = [node("Add", "updated", theta, step)]
    if np.isfinite(site.upper):
        bounds.append(make_constant(f"{PREFIX}{site.name}/upper", np.array([site.upper], np.float32)))
    clipped = node("Min", "clipped", a, *([node("Min", "bounded", *bounds)] if len(bounds) > 1 else bounds))
    redirect(graph, a, clipped, consumers)
    graph.outputs = [clipped if tensor is a else tensor for tensor in graph.outputs]
    return g


def _maximum(graph: Graph, site: Site, a: Tensor, _theta: Tensor, _rate: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _reduce(graph, "ReduceMax", f"{PREFIX}{site.name}/maximum", a, _axes(site, shape))


def _mean(graph: Graph, site: Site, a: Tensor, _theta: Tensor, _rate: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _reduce(graph, "ReduceMean", f"{PREFIX}{site.name}/mean", a, _axes(site, shape))


def _histogram(graph: Graph, site: Site, a: Tensor, top: Tensor, _rate: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Counts of min(a / top · bins, bins - 1) per channel, by scattering ones onto zeros [C · bins]."""
    channels = int(np.prod(shape))

    def node(
        op: str, label: str, *inputs: Tensor, attrs: dict[str, object] | None = None, dtype: object = np.float32
    ) -> Tensor:
        out = variable(f"{PREFIX}{site.name}/{label}", dtype=dtype)
        add_node(graph, op, f"{PREFIX}{site.name}/{label}", inputs, [out], attrs)
        return out

    def fixed(label: str, value: Array) -> Tensor:
        return make_constant(f"{PREFIX}{site.name}/{label}", value)

    scaled = node("Mul", "binned", node("Div", "share", a, top), fixed("bins", np.array([BINS], np.float32)))
    capped = node("Min", "capped", scaled, fixed("last", np.array([BINS - 1], np.float32)))
    offsets = (np.arange(channels, dtype=np.int64) * BINS).reshape(shape)
    index = node("Cast", "bin", capped, attrs={"to": 7}, dtype=np.int64)
    flat = node(
        "Reshape",
        "flat",
        node("Add", "slot", index, fixed("offsets", offsets), dtype=np.int64),
        fixed("all", np.array([-1], np.int64)),
        dtype=np.int64,
    )
    size = node("Shape", "size", flat, dtype=np.int64)
    ones = node("Expand", "ones", fixed("one", np.array([1], np.float32)), size)
    zeros = fixed("zeros", np.zeros(channels * BINS, np.float32))
    return node("ScatterElements", "counts", zeros, flat, ones, attrs={"axis": 0, "reduction": "add"})


PROBES = {
    "overshoot": Probe(_overshoot, needs_threshold=True, needs_rate=True),
    "maximum": Probe(_maximum, needs_threshold=False),
    "mean": Probe(_mean, needs_threshold=False),
    "histogram": Probe(_histogram, needs_threshold=True),
}


def instrument(
    graph: Graph, sites: Sequence[Site], statistic: str, granularity: str, *, keep_outputs: bool = False
) -> Graph:
    """A copy of the ANN that returns one statistic a site (of its threshold shape; histogram: flat [C · bins]).

    Its inputs are the ANN's own, the thresholds of each site (`threshold_input`) and the rate 2η (`RATE`), as far as
    the statistic needs them.
    `keep_outputs` keeps the ANN's outputs too, as the balanced ANN computes them.
    """
    probe = PROBES[statistic]
    graph = graph.copy()
    by_name: dict[str, Node] = {node.name: node for node in graph.nodes}
    rate = variable(RATE, dtype=np.float32, shape=[1])
    statistics = []
    for site in sites:
        shape = site.threshold_shape(granularity)
        theta = variable(threshold_input(site), dtype=np.float32, shape=list(shape))
        statistics.append(probe.build(graph, site, by_name[site.name].outputs[0], theta, rate, shape))
        if probe.needs_threshold:
            graph.inputs.append(theta)
    if probe.needs_rate:
        graph.inputs.append(rate)
    for tensor in statistics:
        tensor.dtype = np.dtype(np.float32)
    graph.outputs = (list(graph.outputs) if keep_outputs else []) + statistics
    return tidy(graph)


RATE = f"{PREFIX}2η"


def threshold_input(site: Site) -> str:
    """The name under which an instrumented graph takes a site's thresholds."""
    return f"{PREFIX}θ/{site.name}"
