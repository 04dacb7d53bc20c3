"""Behaviour of correct.cholesky, against NumPy's solver."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2snn.correct import cholesky
from onnx2snn.correct.cholesky import solve_in_place


@pytest.mark.parametrize("size", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("wide", [1, 4])
def test_the_solution_is_numpys(size: int, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 8)
    rng = np.random.default_rng(size)
    rows = rng.standard_normal((size, size + 2))
    matrix = rows @ rows.T + 0.1 * np.eye(size)
    right = rng.standard_normal((size, wide)).astype(np.float32)
    wanted = np.linalg.solve(matrix, right)
    np.testing.assert_allclose(solve_in_place(matrix, right), wanted, rtol=1e-8, atol=1e-10)


def test_a_matrix_that_is_not_positive_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        solve_in_place(-np.eye(3), np.ones((3, 1)))
