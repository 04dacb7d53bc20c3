"""Behaviour of correct.cholesky, against NumPy's sums and solver."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2snn.correct import cholesky
from onnx2snn.correct.cholesky import Gram


@pytest.mark.parametrize("size", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("wide", [1, 4])
def test_the_solution_is_numpys(size: int, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 8)
    rng = np.random.default_rng(size)
    rows = rng.standard_normal((2, size, size + 2))
    more = rng.standard_normal((2, size, 3))
    right = rng.standard_normal((2, size, wide)).astype(np.float32)
    gram = Gram(2, size)
    gram.add(rows)
    gram.add(more, -0.01)
    gram.add_to_diagonal(np.array([0.5, 2.0]))
    matrix = rows @ rows.swapaxes(1, 2) - 0.01 * (more @ more.swapaxes(1, 2))
    matrix += np.array([0.5, 2.0])[:, None, None] * np.eye(size)
    np.testing.assert_allclose(gram.traces(), np.trace(matrix, axis1=1, axis2=2))
    np.testing.assert_allclose(gram.solve(right), np.linalg.solve(matrix, right), rtol=1e-7)


def test_a_matrix_that_is_not_positive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 2)
    gram = Gram(1, 3)
    gram.add(np.eye(3)[None], -1.0)
    with pytest.raises(np.linalg.LinAlgError):
        gram.solve(np.ones((1, 3, 1)))


def test_half_of_the_matrix_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 10)
    held = sum(panel.size for panel in Gram(1, 200).panels)
    assert held == 200 * 210 // 2
