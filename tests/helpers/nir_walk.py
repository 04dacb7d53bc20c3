"""A NIR graph run in NumPy, from what NIR says of its primitives and the metadata of ours alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Reader:
    """How a simulator reads the neuron IF, where NIR leaves it open or it departs from NIR.

    Attributes:
        reset: "subtract" or "zero".
        most: The most thresholds a spike is high; None: any number.
        floor: The lowest membrane potential; None: none.
        leak: The share of the potential that stays at each step.
        withholds: A neuron that still holds a threshold from the step before has to reach two.
        starts: Whether it takes the initial potential from the metadata.
    """

    reset: str = "subtract"
    most: int | None = 1
    floor: float | None = None
    leak: float = 1.0
    withholds: bool = False
    starts: bool = True


AS_MEANT = Reader()


@dataclass(frozen=True)
class Walked:
    """Spikes of each neuron summed over time [samples, ...], and the outputs at each step."""

    counts: Mapping[str, Array]
    outputs: Mapping[str, list[Array]]


def walk(
    graph: Any, feed: Mapping[str, Array], timesteps: int, reader: Reader = AS_MEANT
) -> Walked:
    """Run a graph on a batch that is the same at each step."""
    order = sorted_names(graph)
    sources = {name: [one for one, other in graph.edges if other == name] for name in order}
    fired = [name for name in order if _kind(graph, name) == "IF"]
    potentials = {name: _initial(graph.nodes[name], reader) for name in fired}
    counts: dict[str, Array] = {}
    outputs: dict[str, list[Array]] = {}
    for _ in range(timesteps):
        values: dict[str, Array] = {}
        for name in order:
            node = graph.nodes[name]
            if not sources[name]:
                values[name] = feed[node.metadata["name"]]
                continue
            x = np.sum([values[source] for source in sources[name]], axis=0)
            if name in potentials:
                values[name], potentials[name] = _fired(node, x, potentials[name], reader)
                counts[name] = counts.get(name, 0) + values[name]
            else:
                values[name] = OPERATORS[_kind(graph, name)](node, x)
            if _kind(graph, name) == "Output":
                outputs.setdefault(node.metadata["name"], []).append(values[name])
    return Walked(counts, outputs)


def sorted_names(graph: Any) -> list[str]:
    """Return the nodes' names, each behind those it reads."""
    waiting = {name: {one for one, other in graph.edges if other == name} for name in graph.nodes}
    order: list[str] = []
    while waiting:
        ready = sorted(name for name, before in waiting.items() if before <= set(order))
        assert ready, "the graph has a cycle"
        order += ready
        waiting = {name: before for name, before in waiting.items() if name not in ready}
    return order


def _kind(graph: Any, name: str) -> str:
    return type(graph.nodes[name]).__name__


def _initial(node: Any, reader: Reader) -> Array:
    if not reader.starts:
        return np.zeros((1,) * (1 + node.v_threshold.ndim), np.float32)
    initial = np.asarray(node.metadata["v_init"], np.float32)
    axes = node.v_threshold.ndim - initial.ndim
    return initial.reshape(1, *initial.shape, *[1] * axes)


def _fired(node: Any, x: Array, before: Array, reader: Reader) -> tuple[Array, Array]:
    v = (before * np.float32(reader.leak) + node.r * x).astype(np.float32)
    held = v
    if reader.withholds:
        held = v - node.v_threshold * (before > node.v_threshold)
    spikes = np.maximum(np.floor(held / node.v_threshold), 0)
    if reader.most is not None:
        spikes = np.minimum(spikes, reader.most)
    if reader.reset == "zero":
        v = np.where(spikes > 0, node.v_reset, v)
    else:
        v = v - spikes * node.v_threshold
    if reader.floor is not None:
        v = np.maximum(v, reader.floor)
    return spikes.astype(np.float32), v


def _convolution(node: Any, x: Array) -> Array:
    axes = node.weight.ndim - 2
    taps = node.weight.shape[2:]
    stride, padding, dilation = (
        np.broadcast_to(given, axes) for given in (node.stride, node.padding, node.dilation)
    )
    windows = _windows(x, taps, stride, padding, dilation)
    out = node.weight.shape[0]
    groups = int(node.groups)
    made = []
    for group in range(groups):
        weight = node.weight[group * out // groups : (group + 1) * out // groups]
        inside = weight.shape[1]
        part = windows[:, group * inside : (group + 1) * inside]
        # [n, c, *places, *taps] with [o, c, *taps] -> [n, *places, o]
        tap_axes = range(2 + axes, 2 + 2 * axes)
        inner = ([1, *tap_axes], list(range(1, 2 + axes)))
        made.append(np.tensordot(part, weight, inner))
    channels_last = np.concatenate(made, axis=-1) + node.bias
    return np.moveaxis(channels_last, -1, 1)


def _windows(x: Array, taps: Any, stride: Array, padding: Array, dilation: Array) -> Array:
    """Return [n, c, *places, *taps]."""
    axes = len(taps)
    padded = np.pad(x, [(0, 0), (0, 0), *((pad, pad) for pad in padding)])
    extents = [(tap - 1) * step + 1 for tap, step in zip(taps, dilation, strict=True)]
    every = sliding_window_view(padded, extents, axis=tuple(range(2, 2 + axes)))
    places = [slice(None, None, step) for step in stride]
    inside = [slice(None, None, step) for step in dilation]
    return every[(slice(None), slice(None), *places, *inside)]


def _sum_pool(node: Any, x: Array) -> Array:
    windows = _windows(x, node.kernel_size, node.stride, node.padding, np.ones(2, int))
    sums: Array = windows.sum((-2, -1))
    return sums


def _flatten(node: Any, x: Array) -> Array:
    shape = list(x.shape[1:])
    start, end = (int(dim) % len(shape) for dim in (node.start_dim, node.end_dim))
    return x.reshape(len(x), *shape[:start], -1, *shape[end + 1 :])


OPERATORS: dict[str, Callable[[Any, Array], Array]] = {
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "Affine": lambda node, x: x @ node.weight.T + node.bias,
    "Linear": lambda node, x: x @ node.weight.T,
    "Scale": lambda node, x: x * node.scale,
    "SumPool2d": _sum_pool,
    "Flatten": _flatten,
    "Output": lambda node, x: x,
}
"""What the other nodes compute of a batch."""
