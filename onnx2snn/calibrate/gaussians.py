"""Mean and variance of tensors, per channel, carried on from those that are known.

From an operator's inputs to its output they pass by these rules (`GAUSSIAN_RULES`):

- Relu and Clip: those of the clipped Gaussian.
- Add and Sum: means add up, and variances as those of independent terms.
- Mul by a constant per channel: both are scaled.
- Concat of channels, Flatten and Reshape to a vector: they go with their channels.
- Conv, Gemm and MatMul: those of W z + b with independent inputs.
- Averages and max-pools: unchanged, which is exact for the mean of an average alone.

Behind any other operator nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.calibrate.instrument import BINS
from onnx2snn.graph.bounds import upper_bound
from onnx2snn.graph.dims import static_dims
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.nodes import MAX_POOLS, standard

REACH = 4.0
"""Standard deviations above the mean that count as the largest value."""

LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Gaussian:
    """Mean and variance per channel, each [C], in ANN units."""

    mean: Array
    variance: Array


Known = dict[str, Gaussian]
"""The statistics that are known, by tensor name."""

Rule = Callable[[Node, Known], Gaussian | None]
"""From a node and what is known before it to what is known of its output (None: nothing)."""


def site_statistics(graph: Graph, sites: Sequence[Site], recorded: Known) -> list[Gaussian | None]:
    """Return the statistics of each site's input current z, or None where they are unknown.

    Of a site in front of a weighted operator they are those of its tensor.

    Args:
        graph: The arranged ANN, its nodes sorted.
        sites: Its neuron sites.
        recorded: Statistics to start from; they go before what the rules say.
    """
    known: Known = {}
    currents = {}
    for node in graph.nodes:
        if not node.outputs:
            continue
        name = node.outputs[0].name
        found = recorded.get(name) or _passed(node, known)
        if found is not None:
            known[name] = found
        if node.inputs:
            currents[node.name] = node.inputs[0].name
    names = [currents.get(site.name, site.tensor) for site in sites]
    return [known.get(name) for name in names]


def _passed(node: Node, known: Known) -> Gaussian | None:
    """Return the statistics of a node's output by its rule."""
    rule = GAUSSIAN_RULES.get(node.op)
    if rule is None or not standard(node):
        return None
    return rule(node, known)


def rectified(z: Gaussian, upper: float) -> tuple[Array, Array]:
    """Return the density of clip(z, 0, upper) as a histogram.

    Returns:
        Counts [C, BINS] in equal bins from 0 to the maxima, where bin 0 holds the zeros, and the
        maxima [C]. A channel that stays below 0 has maximum 0, like a silent one in data.
    """
    variance = np.maximum(z.variance, LEAST_VARIANCE)
    deviation = np.sqrt(variance)
    highest = z.mean + REACH * deviation
    maxima = np.clip(highest, 0.0, upper)
    # the bins of a silent channel have any width but 0
    span = np.where(maxima > 0, maxima, 1.0)
    width = span / BINS
    # the density exp(-(x - μ)² / 2σ²) at the centre x of each bin
    centres = (np.arange(BINS) + 0.5) * width[:, None]
    distance = centres - z.mean[:, None]
    deviations = distance / deviation[:, None]
    with np.errstate(under="ignore"):
        counts = np.exp(-0.5 * np.square(deviations))
    # all of it sums to √(2π) σ / width; the part that is not above 0 becomes zeros
    whole = np.sqrt(2 * np.pi) * deviation / width
    zeros = whole - counts.sum(axis=1)
    counts[:, 0] += np.maximum(zeros, 0.0)
    return counts, maxima


def _activation(node: Node, known: Known) -> Gaussian | None:
    """E[a] and E[a²] - E[a]² of a = clip(z, 0, u), from its histogram."""
    z = known.get(node.inputs[0].name)
    upper = upper_bound(node)
    if z is None or upper is None:
        return None
    counts, maxima = rectified(z, upper)
    share = counts / counts.sum(axis=1, keepdims=True)
    # bins in units of the maximum; the lowest stands for the zeros
    a = np.arange(BINS) / BINS
    first = (share * a).sum(axis=1)
    second = (share * np.square(a)).sum(axis=1)
    # in ANN units; rounding may leave less than 0
    mean = first * maxima
    square = second * np.square(maxima)
    variance = square - np.square(mean)
    return Gaussian(mean, np.maximum(variance, 0.0))


def _unchanged(node: Node, known: Known) -> Gaussian | None:
    return known.get(node.inputs[0].name)


def _sum(node: Node, known: Known) -> Gaussian | None:
    """Σ μ and Σ σ² of the terms; a constant per channel shifts the mean."""
    total: Gaussian | None = None
    for tensor in node.inputs:
        term = _term(tensor, node.outputs[0], known)
        if term is None:
            return None
        if total is None:
            total = term
        else:
            mean = total.mean + term.mean
            variance = total.variance + term.variance
            total = Gaussian(mean, variance)
    return total


def _term(tensor: Tensor, like: Tensor, known: Known) -> Gaussian | None:
    """Return the statistics of one term of a sum."""
    value = constant(tensor)
    if value is None:
        return known.get(tensor.name)
    vector = _per_channel(value, like)
    if vector is None:
        return None
    return Gaussian(vector, np.zeros_like(vector))


def _per_channel(value: Array, like: Tensor) -> Array | None:
    """Return a constant that varies over axis 1 of a tensor alone as a vector, or else None."""
    if like.shape is None or len(like.shape) < 2:
        return None
    # as NumPy broadcasts it: axes of size 1 go in front
    missing = len(like.shape) - value.ndim
    shape = [1] * missing
    shape += value.shape
    if value.size != shape[1]:
        return None
    vector: Array = value.astype(np.float64)
    return vector.reshape(-1)


def _scaled(node: Node, known: Known) -> Gaussian | None:
    """Return f μ and f² σ² for a constant factor f per channel."""
    z = known.get(node.inputs[0].name)
    factor = constant(node.inputs[1])
    if z is None or factor is None:
        return None
    f = _per_channel(factor, node.outputs[0])
    if f is None:
        return None
    mean = z.mean * f
    variance = z.variance * np.square(f)
    return Gaussian(mean, variance)


def _concatenated(node: Node, known: Known) -> Gaussian | None:
    if node.attrs.get("axis", 1) != 1:
        return None
    means = []
    variances = []
    for tensor in node.inputs:
        part = known.get(tensor.name)
        if part is None:
            return None
        means.append(part.mean)
        variances.append(part.variance)
    return Gaussian(np.concatenate(means), np.concatenate(variances))


def _flattened(node: Node, known: Known) -> Gaussian | None:
    """[N, C, ...positions] -> [N, C · positions]."""
    z = known.get(node.inputs[0].name)
    before = static_dims(node.inputs[0])
    after = static_dims(node.outputs[0])
    if z is None or before is None or after is None:
        return None
    size = int(np.prod(before))
    if after != (size,):
        return None
    positions = size // len(z.mean)
    mean = np.repeat(z.mean, positions)
    variance = np.repeat(z.variance, positions)
    return Gaussian(mean, variance)


def _weighted(node: Node, known: Known) -> Gaussian | None:
    """W μ + b and W² σ²: inputs taken as independent, and borders as if there were none."""
    z = known.get(node.inputs[0].name)
    weights = constant(node.inputs[1])
    bias: Array | None = np.zeros(1)
    if len(node.inputs) > 2:
        bias = constant(node.inputs[2])
    if z is None or weights is None or bias is None:
        return None
    if node.attrs.get("alpha", 1.0) != 1.0:
        return None
    w = weights.astype(np.float64)
    if node.op == "Conv":
        # [group, outputs of a group, inputs of a group, positions of the kernel]
        group = node.attrs.get("group", 1)
        outputs, inputs = w.shape[:2]
        w = w.reshape(group, outputs // group, inputs, -1)
        mean = _convolved(w, z.mean)
        variance = _convolved(np.square(w), z.variance)
    else:
        if not node.attrs.get("transB", 0):
            w = w.T
        mean = w @ z.mean
        variance = np.square(w) @ z.variance
    mean = mean + bias.reshape(-1)
    return Gaussian(mean, variance)


def _convolved(w: Array, z: Array) -> Array:
    """Return what a convolution makes of a map that is constant over its positions."""
    by_group = z.reshape(len(w), 1, -1, 1)
    products = w * by_group
    summed: Array = products.sum(axis=(2, 3))
    return summed.reshape(-1)


GAUSSIAN_RULES: dict[str, Rule] = {
    "Relu": _activation,
    "Clip": _activation,
    "Add": _sum,
    "Sum": _sum,
    "Mul": _scaled,
    "Concat": _concatenated,
    "Flatten": _flattened,
    "Reshape": _flattened,
    "Conv": _weighted,
    "Gemm": _weighted,
    "Identity": _unchanged,
    "Dropout": _unchanged,
    "AveragePool": _unchanged,
    "GlobalAveragePool": _unchanged,
    **dict.fromkeys(MAX_POOLS, _unchanged),
}
