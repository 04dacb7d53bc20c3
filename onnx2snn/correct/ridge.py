"""Weights fitted in closed form: a ridge regression per weighted operator.

With x the operator's mean input in the SNN and d what its output still lacks of the ANN's, the
change D of the weights minimises ||D x - d||² + λ ||D||² (advanced calibration, Li et al. 2021,
without its training loop). It is D = (Σ d xᵀ) (Σ x xᵀ + λ I)⁻¹, summed over rows: the output
positions of some samples. `unrolled` has the rows of each operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.cholesky import BLOCK, solve_in_place
from onnx2snn.correct.unrolled import UNROLL, Unrolled
from onnx2snn.graph.types import Node

RIDGE = 0.1
"""λ in units of the mean square of the inputs; inputs per row are added: few rows say little."""

MOST_INPUTS = 8192
"""Of one output of an operator; the Gram matrix holds the square of this."""

ROWS = 2**15
"""A fit takes about this many rows ..."""

ROWS_PER_INPUT = 16
"""... or this many an input, where that is more."""

LEAST_SAMPLES = 16

CHUNK = (2**21, 2**24)
"""Elements unrolled at once, at least and at most; in between as many as the Gram matrix has."""


def fit_weights(node: Node, x: Array, lacking: Array, *, centred: bool) -> Array | str:
    """Return the change of a node's weights, in their own layout, or why there is none.

    Args:
        node: A weighted operator.
        x: [N, ...]: its mean input per sample.
        lacking: [N, ...]: how much its output lacks.
        centred: Leave the mean over all rows to a bias.
    """
    unroll = UNROLL.get(node.op)
    if unroll is None:
        return f"weights of {node.op} are not fitted"
    operator = unroll(node)
    if isinstance(operator, str):
        return operator
    if operator.inputs > MOST_INPUTS:
        return f"{operator.inputs} inputs for one output are too many to fit"
    if _are_few(operator, x, lacking):
        return operator.weights(_fitted_to_few(operator, x, lacking, centred))
    sums = _sums(operator, x, lacking)
    return operator.weights(_solve(sums, centred))


def _are_few(operator: Unrolled, x: Array, lacking: Array) -> bool:
    """Return whether there are fewer rows than inputs, as in most fully connected layers."""
    positions: int = operator.targets(lacking[:1]).shape[2]
    return len(x) * positions < operator.inputs


def _fitted_to_few(operator: Unrolled, x: Array, lacking: Array, centred: bool) -> Array:
    """Return D from products of rows, not of inputs: of both these matrices it is the smaller.

    D = (Σ d xᵀ) (Σ x xᵀ + λ I)⁻¹ = d (xᵀ x + λ I)⁻¹ xᵀ, with a row's x and d in each column.
    """
    # [group, K, n] and [group, O, n]
    a, d = operator.rows(x), operator.targets(lacking)
    if centred:
        a = a - a.mean(axis=2, keepdims=True)
        d = d - d.mean(axis=2, keepdims=True)
    inputs, count = a.shape[1:]
    inner = _products(a.swapaxes(1, 2), a.swapaxes(1, 2)).astype(np.float64)
    squares = np.trace(inner, axis1=1, axis2=2)
    diagonal = np.arange(count)
    inner[:, diagonal, diagonal] += _strengths(squares, inputs, count)
    shares = np.linalg.solve(inner, d.swapaxes(1, 2).astype(np.float64))
    change: Array = a @ shares.astype(a.dtype)
    return change.swapaxes(1, 2)


def _strengths(squares: Array, inputs: int, count: int) -> Array:
    """Return λ = (RIDGE + K / n) Σ x² / K per group, of K inputs and n rows: [groups, 1].

    Args:
        squares: [groups]: Σ x².
        inputs: K.
        count: n.
    """
    power = squares[:, None] / inputs
    power = np.where(power > 0, power, 1.0)
    strength: Array = (RIDGE + inputs / count) * power
    return strength


@dataclass(frozen=True)
class _Sums:
    """Sums over `count` rows, per group: Σ x xᵀ, Σ x dᵀ, Σ x and Σ d."""

    gram: Array
    cross: Array
    inputs: Array
    outputs: Array
    count: int


def _sums(operator: Unrolled, x: Array, lacking: Array) -> _Sums:
    gram = cross = inputs = outputs = np.zeros(1)
    count = 0
    for a, d in _rows(operator, x, lacking):
        if not count:
            shape = (*a.shape[:2], a.shape[1])
            gram = np.zeros(shape)
        _add_products(gram, a)
        cross = cross + _products(a, d)
        inputs = inputs + _row_sum(a)
        outputs = outputs + _row_sum(d)
        count += a.shape[2]
    return _Sums(gram, cross, inputs, outputs, count)


def _products(one: Array, other: Array) -> Array:
    """Return Σ one otherᵀ over the rows, per group."""
    product: Array = one @ other.swapaxes(1, 2)
    return product


def _add_products(gram: Array, rows: Array, factor: float = 1.0) -> None:
    """Add factor Σ x xᵀ over some rows [group, K, n] to a Gram matrix, a few inputs at a time."""
    for start in range(0, gram.shape[1], BLOCK):
        own = slice(start, start + BLOCK)
        gram[:, own] += factor * _products(rows[:, own], rows)


def _row_sum(values: Array) -> Array:
    total: Array = values.sum(axis=2, keepdims=True, dtype=np.float64)
    return total


def _rows(operator: Unrolled, x: Array, lacking: Array) -> Iterator[tuple[Array, Array]]:
    """Yield inputs and what is lacking, some samples at a time, thinned out to enough rows."""
    one = operator.targets(lacking[:1])
    positions = one.shape[2]
    rows = max(ROWS, ROWS_PER_INPUT * operator.inputs)
    # whole samples, then every n-th position of them
    enough = -(-rows // positions)
    samples = max(LEAST_SAMPLES, enough)
    samples = min(len(x), samples)
    stride = max(1, samples * positions // rows)
    elements = positions * operator.inputs
    least, most = CHUNK
    together = min(most, max(least, operator.inputs**2))
    size = max(1, together // elements)
    for start in range(0, samples, size):
        stop = min(start + size, samples)
        a = operator.rows(x[start:stop])
        d = operator.targets(lacking[start:stop])
        if stride > 1:
            kept = _every(stride, positions, range(start, stop))
            a, d = a[:, :, kept], d[:, :, kept]
        yield a, d


def _every(stride: int, positions: int, samples: range) -> Array:
    """Return rows: every n-th position of each sample, the first one 0 to n - 1 by turns.

    From one first position in all samples a map that was upsampled with a stride would show one
    phase only.
    """
    kept = []
    for index, sample in enumerate(samples):
        rows = np.arange(sample % stride, positions, stride)
        kept.append(index * positions + rows)
    return np.concatenate(kept)


def _solve(sums: _Sums, centred: bool) -> Array:
    gram, cross = sums.gram, sums.cross
    if centred:
        # Σ (x - mean x)(x - mean x)ᵀ = Σ x xᵀ - (Σ x)(Σ x)ᵀ / n, and alike with d
        _add_products(gram, sums.inputs, -1.0 / sums.count)
        cross = cross - _products(sums.inputs, sums.outputs) / sums.count
    size = gram.shape[1]
    squares = np.trace(gram, axis1=1, axis2=2)
    # (Σ x xᵀ + λ I) Dᵀ = Σ x dᵀ
    diagonal = np.arange(size)
    gram[:, diagonal, diagonal] += _strengths(squares, size, sums.count)
    if size <= BLOCK or not np.isfinite(squares).all():
        change = np.linalg.solve(gram, cross)
    else:
        # a matrix in the place of which there is no room for another
        change = np.stack([solve_in_place(*group) for group in zip(gram, cross, strict=True)])
    return change.swapaxes(1, 2)
