"""NumPy twins of the neurons of onnx2snn.snn.neurons: the reference for their ONNX functions.

All twins take and return arrays in threshold units, of any shapes that broadcast.
"""

from __future__ import annotations

from math import prod

import numpy as np

from onnx2snn import SpikingSession
from onnx2snn.aliases import Array
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.snn.neurons import INITIAL_POTENTIAL


def if_step(
    x: Array, u: Array, threshold: float = 1.0, v_init: Array | float = INITIAL_POTENTIAL
) -> tuple[Array, Array]:
    """The NumPy twin of `if_function`: (x, u) -> (spike, u_next), same units and broadcasting."""
    m = x + u
    theta = np.asarray(threshold, m.dtype)
    spike = (m >= theta - np.asarray(v_init, m.dtype)).astype(m.dtype)
    return spike, m - theta * spike


def signed_if_step(
    x: Array, u: Array, n: Array, threshold: float = 1.0, v_init: Array | float = INITIAL_POTENTIAL
) -> tuple[Array, Array, Array]:
    """The NumPy twin of `signed_if_function`: (x, u, n) -> (spike, u_next, n_next)."""
    m = x + u
    theta, initial = np.asarray(threshold, m.dtype), np.asarray(v_init, m.dtype)
    spike = (m >= theta - initial).astype(m.dtype) - ((m < -initial) & (n > 0)).astype(m.dtype)
    return spike, m - theta * spike, n + spike


def graded_if_step(
    x: Array,
    u: Array,
    threshold: float = 1.0,
    v_init: Array | float = INITIAL_POTENTIAL,
    levels: int = 1,
) -> tuple[Array, Array]:
    """The NumPy twin of `graded_if_function`: (x, u) -> (spike, u_next)."""
    m = x + u
    theta = np.asarray(threshold, m.dtype)
    spike = np.clip(np.floor((m + np.asarray(v_init, m.dtype)) / theta), 0, levels)
    return spike, m - theta * spike


def signed_graded_if_step(
    x: Array,
    u: Array,
    n: Array,
    threshold: float = 1.0,
    v_init: Array | float = INITIAL_POTENTIAL,
    levels: int = 1,
) -> tuple[Array, Array, Array]:
    """The NumPy twin of `signed_graded_if_function`: (x, u, n) -> (spike, u_next, n_next)."""
    m = x + u
    theta = np.asarray(threshold, m.dtype)
    whole = np.floor((m + np.asarray(v_init, m.dtype)) / theta)
    spike = np.clip(whole, -np.minimum(n, 1), levels).astype(m.dtype)
    return spike, m - theta * spike, n + spike


def neurons_in(session: SpikingSession | Simulation) -> int:
    """Neurons of one sample in a model whose shapes are static but for the batch."""
    shapes = [neuron["shape"][1:] for neuron in session.neurons]
    return sum(prod(int(size or 0) for size in shape) for shape in shapes)
