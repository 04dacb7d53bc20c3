"""Symmetric systems of equations, solved in the place of their matrix.

NumPy's solver copies the matrix. Here it becomes its own Cholesky factor, A = L Lᵀ, by blocks of
columns from the left: what is held beside it is a column of blocks.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array

BLOCK = 256
"""Rows and columns of a block."""


def solve_in_place(matrix: Array, right: Array) -> Array:
    """Return X of A X = B.

    Args:
        matrix: A [K, K], symmetric and positive definite, in float64; it is overwritten.
        right: B [K, O].

    Raises:
        numpy.linalg.LinAlgError: A is not positive definite.
    """
    size = len(matrix)
    blocks = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    for own in blocks:
        _factor(matrix, own)
    found: Array = right.astype(np.float64)
    # L Y = B, from the top
    for own in blocks:
        found[own] -= matrix[own, : own.start] @ found[: own.start]
        found[own] = np.linalg.solve(matrix[own, own], found[own])
    # Lᵀ X = Y, from the bottom
    for own in reversed(blocks):
        found[own] -= matrix[own.stop :, own].T @ found[own.stop :]
        found[own] = np.linalg.solve(matrix[own, own].T, found[own])
    return found


def _factor(matrix: Array, own: slice) -> None:
    """Put L in the place of a column of blocks; all before it is L already."""
    # A[below, own] - L[below, before] L[own, before]ᵀ
    before = slice(0, own.start)
    column = matrix[own.start :, own] - matrix[own.start :, before] @ matrix[own, before].T
    width = own.stop - own.start
    diagonal = np.linalg.cholesky(column[:width])
    matrix[own, own] = diagonal
    # L[below, own] = column[below] diagonal⁻ᵀ
    matrix[own.stop :, own] = np.linalg.solve(diagonal, column[width:].T).T
