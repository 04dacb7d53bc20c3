"""How many samples are simulated together, so that memory holds them."""

from __future__ import annotations

from collections.abc import Mapping

from onnx2snn.aliases import Array
from onnx2snn.runtime.simulation import Simulation

NEURONS_AT_ONCE = 2**25
"""Neurons simulated together.

Some ten arrays of this size are alive while the SNN is held against the ANN.
"""


def affordable_batch(
    simulation: Simulation, one: Mapping[str, Array], most: int, kept: int = 0
) -> int:
    """Return how many samples to simulate together, found by a step of one sample.

    Args:
        simulation: The model in time; its states are lost.
        one: A feed of one sample.
        most: The largest number to return.
        kept: How many steps' sums are kept at once, to answer for several windows.
    """
    simulation.run(one, timesteps=1)
    neurons = simulation.neuron_count()
    # a sample's sums weigh as much as neurons, once for each window that starts late
    numbers = neurons + kept * simulation.answer_size()
    return together(numbers, most)


def together(numbers: int, most: int) -> int:
    """Return how many samples of some neurons each to simulate together, `most` at most."""
    return max(1, min(most, NEURONS_AT_ONCE // max(1, numbers)))
