"""Symmetric systems of equations, summed and solved in the room of half their matrix.

Of each matrix the part below the diagonal is held, in panels of columns: Σ x xᵀ is added up there,
and becomes its own Cholesky factor, A = L Lᵀ, panel by panel from the left.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array

BLOCK = 256
"""Columns of a panel."""


def products(one: Array, other: Array) -> Array:
    """Return Σ one otherᵀ over the rows, per group: [group, K, M] and [group, O, M]."""
    product: Array = one @ other.swapaxes(1, 2)
    return product


class Gram:
    """Sums Σ x xᵀ [K, K] of some groups, in float64, their lower half; `size` is K."""

    def __init__(self, groups: int, size: int) -> None:
        """Start with zeros."""
        self.size = size
        self.panels = []
        for start in range(0, size, BLOCK):
            width = min(BLOCK, size - start)
            self.panels.append(np.zeros((groups, size - start, width)))

    def add(self, rows: Array, factor: float = 1.0) -> None:
        """Add factor Σ x xᵀ over some rows [group, K, M]."""
        for start, panel in self._placed():
            own = slice(start, start + panel.shape[2])
            product = products(rows[:, start:], rows[:, own])
            if factor == 1.0:
                panel += product
            else:
                panel += factor * product

    def traces(self) -> Array:
        """Return the sum of each group's diagonal."""
        found = np.zeros(len(self.panels[0]))
        for panel in self.panels:
            found += np.trace(panel, axis1=1, axis2=2)
        return found

    def add_to_diagonal(self, values: Array) -> None:
        """Add a value a group, [groups]."""
        for panel in self.panels:
            diagonal = np.arange(panel.shape[2])
            panel[:, diagonal, diagonal] += values[:, None]

    def solve(self, right: Array) -> Array:
        """Return X of (Σ x xᵀ) X = B per group, B [group, K, O]; the sums are lost.

        Raises:
            numpy.linalg.LinAlgError: A sum is singular, or not positive definite.
        """
        if len(self.panels) == 1:
            return np.linalg.solve(self.panels[0], right)
        found: Array = right.astype(np.float64)
        for group, solution in enumerate(found):
            panels = [panel[group] for panel in self.panels]
            _solve_in_place(panels, solution)
        return found

    def _placed(self) -> list[tuple[int, Array]]:
        """Return the panels, each with its first column, which is its first row, too."""
        starts = range(0, self.size, BLOCK)
        return list(zip(starts, self.panels, strict=True))


def _solve_in_place(panels: list[Array], found: Array) -> None:
    """Put X of A X = B in the place of B [K, O], and L in that of A."""
    _factor(panels)
    # L Y = B, from the top
    for start, panel in _rows_of(panels):
        width = panel.shape[1]
        own = slice(start, start + width)
        found[own] = np.linalg.solve(panel[:width], found[own])
        found[own.stop :] -= panel[width:] @ found[own]
    # Lᵀ X = Y, from the bottom
    for start, panel in reversed(_rows_of(panels)):
        width = panel.shape[1]
        own = slice(start, start + width)
        found[own] -= panel[width:].T @ found[own.stop :]
        found[own] = np.linalg.solve(panel[:width].T, found[own])


def _factor(panels: list[Array]) -> None:
    """Put L in the place of A, from the left; above the diagonal it is 0."""
    placed = _rows_of(panels)
    for index, (start, panel) in enumerate(placed):
        width = panel.shape[1]
        # A[below, own] - L[below, before] L[own, before]ᵀ
        for first, before in placed[:index]:
            known = before[start - first :]
            panel -= known @ known[:width].T
        diagonal = np.linalg.cholesky(panel[:width])
        panel[:width] = diagonal
        # L[below, own] = A[below, own] diagonal⁻ᵀ
        panel[width:] = np.linalg.solve(diagonal, panel[width:].T).T


def _rows_of(panels: list[Array]) -> list[tuple[int, Array]]:
    """Return the panels, each with its first row."""
    size = len(panels[0])
    return [(size - len(panel), panel) for panel in panels]
