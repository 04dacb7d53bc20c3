"""Weights fitted in closed form: a ridge regression per weighted operator.

With x the operator's mean input in the SNN and d what its output still lacks of the ANN's, the
change D of the weights minimises ||D x - d||² + λ ||D||² (advanced calibration, Li et al. 2021,
without its training loop). It is D = (Σ d xᵀ) (Σ x xᵀ + λ I)⁻¹, summed over rows: the output
positions of some samples. `fitted_rows` chooses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.cholesky import Gram, products
from onnx2snn.correct.fitted_rows import Evidence, RowPlan, row_blocks, row_plan
from onnx2snn.correct.unrolled import UNROLL, Unrolled
from onnx2snn.graph.types import Node

RIDGE = 0.1
"""λ in units of the mean square of the inputs; inputs per row are added: few rows say little."""

MOST_INPUTS = 8192
"""Of one output of an operator; the Gram matrix holds half the square of this."""


def fit_weights(node: Node, evidence: Evidence, *, centred: bool) -> Array | str:
    """Return the change of a node's weights, in their own layout, or why there is none.

    Args:
        node: A weighted operator.
        evidence: Its mean inputs, and how much its outputs lack.
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
    plan = row_plan(operator, evidence)
    if _are_few(operator, plan):
        return operator.weights(_fitted_to_few(operator, evidence, plan, centred))
    sums = _sums(operator, evidence, plan)
    return operator.weights(_solve(sums, centred))


def _are_few(operator: Unrolled, plan: RowPlan) -> bool:
    """Return whether rows and products of rows take less room than products of inputs."""
    return plan.rows * (plan.rows + operator.inputs) < operator.inputs**2


def _fitted_to_few(operator: Unrolled, evidence: Evidence, plan: RowPlan, centred: bool) -> Array:
    """Return D from products of rows, not of inputs.

    D = (Σ d xᵀ) (Σ x xᵀ + λ I)⁻¹ = d (xᵀ x + λ I)⁻¹ xᵀ, with a row's x and d in each column.
    """
    # [group, K, n] and [group, O, n], all rows in one block
    ((a, d),) = row_blocks(operator, evidence, plan, plan.maps)
    if centred:
        a -= a.mean(axis=2, keepdims=True)
        d -= d.mean(axis=2, keepdims=True)
    inputs, count = a.shape[1:]
    inner = Gram(len(a), count)
    inner.add(a.swapaxes(1, 2))
    strengths = _strengths(inner.traces(), inputs, count)
    right = d.swapaxes(1, 2).astype(np.float64)
    shares = _solved(inner, strengths, right)
    change: Array = a @ shares.astype(a.dtype)
    return change.swapaxes(1, 2)


def _strengths(squares: Array, inputs: int, count: int) -> Array:
    """Return λ = (RIDGE + K / n) Σ x² / K per group, of K inputs and n rows: [groups].

    Args:
        squares: [groups]: Σ x².
        inputs: K.
        count: n.
    """
    power = squares / inputs
    power = np.where(power > 0, power, 1.0)
    strength: Array = (RIDGE + inputs / count) * power
    return strength


def _solved(gram: Gram, strengths: Array, right: Array) -> Array:
    """Return (G + λ I)⁻¹ B per group; G is lost."""
    gram.add_to_diagonal(strengths)
    if not np.isfinite(strengths).all():
        return np.full(right.shape, np.nan)
    return gram.solve(right)


@dataclass(frozen=True)
class _Sums:
    """Sums over `count` rows, per group: Σ x xᵀ, Σ x dᵀ, Σ x and Σ d."""

    gram: Gram
    cross: Array
    inputs: Array
    outputs: Array
    count: int


def _sums(operator: Unrolled, evidence: Evidence, plan: RowPlan) -> _Sums:
    groups, k, o = operator.groups, operator.inputs, operator.outputs
    gram = Gram(groups, k)
    cross = np.zeros((groups, k, o))
    inputs = np.zeros((groups, k, 1))
    outputs = np.zeros((groups, o, 1))
    count = 0
    for a, d in row_blocks(operator, evidence, plan, plan.block):
        gram.add(a)
        cross += products(a, d)
        inputs += _row_sum(a)
        outputs += _row_sum(d)
        count += a.shape[2]
    return _Sums(gram, cross, inputs, outputs, count)


def _row_sum(values: Array) -> Array:
    total: Array = values.sum(axis=2, keepdims=True, dtype=np.float64)
    return total


def _solve(sums: _Sums, centred: bool) -> Array:
    gram, cross = sums.gram, sums.cross
    if centred:
        # Σ (x - mean x)(x - mean x)ᵀ = Σ x xᵀ - (Σ x)(Σ x)ᵀ / n, and alike with d
        gram.add(sums.inputs, -1.0 / sums.count)
        cross -= products(sums.inputs, sums.outputs) / sums.count
    # (Σ x xᵀ + λ I) Dᵀ = Σ x dᵀ
    strengths = _strengths(gram.traces(), gram.size, sums.count)
    change = _solved(gram, strengths, cross)
    return change.swapaxes(1, 2)
