"""Thresholds without data: BatchNormalization knows how its outputs are distributed.

Over the training data the output of a BatchNormalization has mean β and standard deviation |γ| per channel, whatever
goes in. Taken as Gaussian, that is the statistic thresholds are made from; from there mean and variance are carried on
through the operators between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.calibrate.instrument import BINS
from onnx2snn.calibrate.rules import mmse
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.graph.editing import constant, static_dims
from onnx2snn.graph.operators import upper_bound
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.nodes import MAX_POOLS, standard

BATCH_NORM = "batchnorm"
"""The name of this method in the settings of a calibration."""

REACH = 4.0
"""Standard deviations above the mean that count as the largest value."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and variance per channel, each [C], in ANN units."""

    mean: Array
    variance: Array


Known = dict[str, Gaussian]
"""What is known, by tensor name."""


def recorded_statistics(proto: onnx.ModelProto) -> Known:
    """β and γ² of every BatchNormalization with constant parameters, by its output, before it is folded away."""
    fixed = {t.name: t for t in proto.graph.initializer}
    found = {}
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization" and set(node.input[1:3]) <= set(fixed):
            gamma, beta = (
                numpy_helper.to_array(fixed[name]).astype(np.float64) for name in node.input[1:3]
            )
            found[node.output[0]] = Gaussian(beta, np.square(gamma))
    return found


def site_statistics(graph: Graph, sites: Sequence[Site], recorded: Known) -> list[Gaussian | None]:
    """What is known of each site's input current z (None: nothing)."""
    known: Known = {}
    for node in graph.nodes:  # sorted
        out = node.outputs[0] if node.outputs else None
        if out is None:
            continue
        rule = _RULES.get(node.op) if standard(node) else None
        found = recorded.get(out.name) or (rule(node, known) if rule else None)
        if found is not None:
            known[out.name] = found
    by_name = {node.name: node for node in graph.nodes}
    return [known.get(by_name[site.name].inputs[0].name) for site in sites]


def thresholds_for(
    site: Site, z: Gaussian, granularity: str, timesteps: int
) -> tuple[Array, Array]:
    """A site's MMSE thresholds for T steps and its mean activations, in ANN units and of its threshold shape."""
    shape = site.threshold_shape(granularity)
    counts, tops = _rectified(z, site.upper)
    means = (counts * (np.arange(BINS) / BINS)).sum(axis=1) / counts.sum(axis=1) * tops
    theta = mmse(counts, tops, timesteps)
    if int(np.prod(shape)) == theta.size:
        return theta.reshape(shape), means.reshape(shape)
    return np.full(shape, theta.max()), np.full(shape, means.mean())


def informed(
    job: Job, statistics: Sequence[Gaussian | None], measure: Callable[[Job], Calibration]
) -> Calibration:
    """Return a calibration from the statistics that are known; `measure` makes one on random inputs, for the others."""
    settings, sites = job.settings, job.sites
    steps = settings.steps * settings.height
    known = {
        index: thresholds_for(site, z, settings.granularity, steps)
        for index, (site, z) in enumerate(zip(sites, statistics, strict=True))
        if z is not None
    }
    if not known:
        return measure(job)
    thresholds, means = ([pair[part] for pair in known.values()] for part in (0, 1))
    if len(known) < len(sites):
        measured = measure(job)
        thresholds = [
            known[i][0] if i in known else theta for i, theta in enumerate(measured.thresholds)
        ]
        means = [known[i][1] if i in known else mean for i, mean in enumerate(measured.means)]
    kept = settings.calibration("mmse") | {"method": BATCH_NORM}
    return Calibration(tuple(thresholds), tuple(means), kept, calibrated=False)


def _rectified(z: Gaussian, upper: float) -> tuple[Array, Array]:
    """clip(z, 0, upper) as a histogram [C, BINS] over equal bins from 0 to its tops [C]; bin 0 holds the zeros.

    A channel that stays below 0 has top 0, like a silent one in data.
    """
    deviation = np.sqrt(np.maximum(z.variance, 1e-12))
    tops = np.clip(z.mean + REACH * deviation, 0.0, upper)
    width = np.where(tops > 0, tops, 1.0) / BINS
    centres = (np.arange(BINS) + 0.5) * width[:, None]
    with np.errstate(under="ignore"):
        counts = np.exp(-0.5 * np.square((centres - z.mean[:, None]) / deviation[:, None]))
    whole = np.sqrt(2 * np.pi) * deviation / width  # of the density, in the same units
    positive = counts.sum(axis=1)
    counts[:, 0] += np.maximum(whole - positive, 0.0)
    return counts, tops


def _activation(node: Node, known: Known) -> Gaussian | None:
    z, upper = known.get(node.inputs[0].name), upper_bound(node)
    if z is None or upper is None:
        return None
    counts, tops = _rectified(z, upper)
    share = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(BINS) / BINS
    mean = (share * values).sum(axis=1) * tops
    return Gaussian(
        mean,
        np.maximum(
            (share * np.square(values)).sum(axis=1) * np.square(tops) - np.square(mean), 0.0
        ),
    )


def _same(node: Node, known: Known) -> Gaussian | None:
    return known.get(node.inputs[0].name)


def _sum(node: Node, known: Known) -> Gaussian | None:
    """Means add up, and so do variances of terms taken as independent; a constant per channel shifts the mean."""
    total: Gaussian | None = None
    for tensor in node.inputs:
        value = constant(tensor)
        term = known.get(tensor.name) if value is None else _constant(value, node.outputs[0])
        if term is None:
            return None
        total = (
            term
            if total is None
            else Gaussian(total.mean + term.mean, total.variance + term.variance)
        )
    return total


def _constant(value: Array, like: Tensor) -> Gaussian | None:
    vector = _per_channel(value, like)
    return None if vector is None else Gaussian(vector, np.zeros_like(vector))


def _per_channel(value: Array, like: Tensor) -> Array | None:
    """A constant that varies over axis 1 of a tensor alone, as a vector (None: it varies over others)."""
    ndim = 0 if like.shape is None else len(like.shape)
    shape = [1] * (ndim - value.ndim) + list(value.shape)
    if ndim < 2 or value.size != shape[1]:
        return None
    return value.astype(np.float64).reshape(-1)


def _scaled(node: Node, known: Known) -> Gaussian | None:
    z, factor = known.get(node.inputs[0].name), constant(node.inputs[1])
    vector = None if factor is None else _per_channel(factor, node.outputs[0])
    return (
        None
        if z is None or vector is None
        else Gaussian(z.mean * vector, z.variance * np.square(vector))
    )


def _joined(node: Node, known: Known) -> Gaussian | None:
    parts = [known.get(t.name) for t in node.inputs]
    whole = [p for p in parts if p is not None]
    if node.attrs.get("axis", 1) != 1 or len(whole) != len(parts):
        return None
    return Gaussian(
        np.concatenate([p.mean for p in whole]), np.concatenate([p.variance for p in whole])
    )


def _flattened(node: Node, known: Known) -> Gaussian | None:
    """[N, C, ...positions] -> [N, C · positions]."""
    z, before, after = (
        known.get(node.inputs[0].name),
        static_dims(node.inputs[0]),
        static_dims(node.outputs[0]),
    )
    if (
        z is None
        or before is None
        or after is None
        or len(after) != 1
        or after[0] != int(np.prod(before))
    ):
        return None
    repeats = after[0] // len(z.mean)
    return Gaussian(np.repeat(z.mean, repeats), np.repeat(z.variance, repeats))


def _weighted(node: Node, known: Known) -> Gaussian | None:
    """W z + b: the inputs taken as independent, and borders as if there were none."""
    z, weights = known.get(node.inputs[0].name), constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
    if z is None or weights is None or bias is None or node.attrs.get("alpha", 1.0) != 1.0:
        return None
    w = weights.astype(np.float64)
    if node.op == "Conv":
        group = node.attrs.get("group", 1)
        w = w.reshape(group, len(w) // group, w.shape[1], -1)
        blocks = (m.reshape(group, 1, -1, 1) for m in (z.mean, z.variance))
        mean, variance = (
            (f * m).sum(axis=(2, 3)).reshape(-1)
            for f, m in zip((w, np.square(w)), blocks, strict=True)
        )
    else:
        w = w if node.attrs.get("transB", 0) else w.T
        mean, variance = w @ z.mean, np.square(w) @ z.variance
    return Gaussian(mean + bias.reshape(-1), variance)


_RULES: dict[str, Callable[[Node, Known], Gaussian | None]] = {
    "Relu": _activation,
    "Clip": _activation,
    "Add": _sum,
    "Sum": _sum,
    "Mul": _scaled,
    "Concat": _joined,
    "Flatten": _flattened,
    "Reshape": _flattened,
    "Conv": _weighted,
    "Gemm": _weighted,
    **dict.fromkeys(("Identity", "Dropout", "AveragePool", "GlobalAveragePool", *MAX_POOLS), _same),
}
"""How mean and variance pass; pools leave them as they are, which is exact for the mean of an average alone."""
