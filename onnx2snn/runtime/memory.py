"""How many samples are simulated together, so that memory holds them."""

from __future__ import annotations

from collections.abc import Mapping

from onnx2snn.aliases import Array
from onnx2snn.runtime.simulation import Simulation

NUMBERS_AT_ONCE = 2**24
"""Numbers that the states of samples simulated together hold.

Old states and new ones are alive at once, with what is computed between them: some 600 MB in all.
"""

STATES = 4
"""States of a neuron, where they are not measured: what it holds, and what is counted of it."""


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
    simulation.run_at(one, [(1, 0)])
    states = simulation.state_size()
    # a sample's sums are kept once for each window that starts late
    return together(states + kept * simulation.answer_size(), most)


def together(numbers: int, most: int) -> int:
    """Return how many samples to simulate together whose states hold some numbers each.

    `most` is the largest number to return.
    """
    return max(1, min(most, NUMBERS_AT_ONCE // max(1, numbers)))
