"""The ANN with thresholds as inputs and one statistic per neuron site as output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import add_node, make_constant, redirect, tidy, variable
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Site

BINS, POSITIONS = 2048, 48
"""Of a histogram, and about the least number of a map's positions that it counts in each sample."""

PREFIX = "onnx2snn/"
"""Of every name added to an ANN, which may use any other."""


def _axes(site: Site, shape: tuple[int, ...]) -> Array:
    return np.array(
        [axis for axis in range(len(shape)) if shape[axis] == 1 or axis != site.axis], np.int64
    )


def _reduce(
    graph: Graph, op: str, name: str, source: Tensor, axes: Array, out: Tensor | None = None
) -> Tensor:
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
    dtype: type = np.float32


def _overshoot(
    graph: Graph, site: Site, a: Tensor, theta: Tensor, rate: Tensor, shape: tuple[int, ...]
) -> Tensor:
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
        bounds.append(
            make_constant(f"{PREFIX}{site.name}/upper", np.array([site.upper], np.float32))
        )
    clipped = node(
        "Min", "clipped", a, *([node("Min", "bounded", *bounds)] if len(bounds) > 1 else bounds)
    )
    redirect(graph, a, clipped, consumers)
    graph.outputs = [clipped if tensor is a else tensor for tensor in graph.outputs]
    return g


def _maximum(
    graph: Graph, site: Site, a: Tensor, _theta: Tensor, _rate: Tensor, shape: tuple[int, ...]
) -> Tensor:
    return _reduce(graph, "ReduceMax", f"{PREFIX}{site.name}/maximum", a, _axes(site, shape))


def _mean(
    graph: Graph, site: Site, a: Tensor, _theta: Tensor, _rate: Tensor, shape: tuple[int, ...]
) -> Tensor:
    return _reduce(graph, "ReduceMean", f"{PREFIX}{site.name}/mean", a, _axes(site, shape))


def _histogram(
    graph: Graph, site: Site, a: Tensor, top: Tensor, _rate: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """The bin min(a / top · bins, bins - 1) of each activation, plus bins times its row; flat.

    A number for each of a large map's activations says no more than one for every few of them: maps are thinned out.
    """
    rows = int(np.prod(shape))
    where = f"{PREFIX}{site.name}"

    def node(
        op: str, label: str, *inputs: Tensor, dtype: object = np.float32, **attrs: object
    ) -> Tensor:
        out = variable(f"{where}/{label}", dtype=dtype)
        add_node(graph, op, f"{where}/{label}", inputs, [out], attrs)
        return out

    def fixed(label: str, value: Array) -> Tensor:
        return make_constant(f"{where}/{label}", value)

    steps = _thinning(site)
    if steps:
        axes = list(steps)
        first, step = [steps[axis] // 2 for axis in axes], [steps[axis] for axis in axes]
        bounds = [
            ("first", first),
            ("end", [2**31 - 1] * len(axes)),
            ("axes", axes),
            ("step", step),
        ]
        a = node(
            "Slice",
            "thinned",
            a,
            *(fixed(label, np.array(value, np.int64)) for label, value in bounds),
        )
    share = node(
        "Mul", "binned", a, node("Div", "scale", fixed("bins", np.array([BINS], np.float32)), top)
    )
    capped = node("Min", "capped", share, fixed("last", np.array([BINS - 1], np.float32)))
    index = node("Cast", "bin", capped, to=6, dtype=np.int32)
    offsets = (np.arange(rows, dtype=np.int32) * BINS).reshape(shape)
    slot = node("Add", "slot", index, fixed("offsets", offsets), dtype=np.int32)
    return node("Reshape", "flat", slot, fixed("all", np.array([-1], np.int64)), dtype=np.int32)


def _thinning(site: Site) -> dict[int, int]:
    """Of which axes of a large map only every n-th position is counted; none where a size is not static."""
    sizes = {axis: size for axis, size in enumerate(site.shape) if axis not in (0, site.axis)}
    static = [size for size in sizes.values() if isinstance(size, int)]
    if len(static) < len(sizes) or np.prod(static) < 2 * POSITIONS:
        return {}
    step = int((np.prod(static) / POSITIONS) ** (1 / len(sizes)))
    found = {axis: min(step, size) for axis, size in zip(sizes, static, strict=True)}
    return {axis: step for axis, step in found.items() if step > 1}


PROBES = {
    "overshoot": Probe(_overshoot, needs_threshold=True, needs_rate=True),
    "maximum": Probe(_maximum, needs_threshold=False),
    "mean": Probe(_mean, needs_threshold=False),
    "histogram": Probe(_histogram, needs_threshold=True, dtype=np.int32),
}


def instrument(
    graph: Graph,
    sites: Sequence[Site],
    statistic: str,
    granularity: str,
    *,
    keep_outputs: bool = False,
) -> Graph:
    """A copy of the ANN that returns one statistic a site, of its threshold shape (histogram: flat bin numbers).

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
        statistics.append(
            probe.build(graph, site, by_name[site.name].outputs[0], theta, rate, shape)
        )
        if probe.needs_threshold:
            graph.inputs.append(theta)
    if probe.needs_rate:
        graph.inputs.append(rate)
    for tensor in statistics:
        tensor.dtype = np.dtype(probe.dtype)
    graph.outputs = (list(graph.outputs) if keep_outputs else []) + statistics
    return tidy(graph)


RATE = f"{PREFIX}2η"


def threshold_input(site: Site) -> str:
    """The name under which an instrumented graph takes a site's thresholds."""
    return f"{PREFIX}θ/{site.name}"
