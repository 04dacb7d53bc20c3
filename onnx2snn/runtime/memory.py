"""TODO."""

from __future__ import annotations

from collections.abc import Mapping

from onnx2snn.aliases import Array
from onnx2snn.runtime.session import SpikingSession

NEURONS_AT_ONCE = 2**25
"""Neurons simulated together: some ten arrays of this size are alive while the SNN is held against the ANN."""


def affordable_batch(
    session: SpikingSession, one: Mapping[str, Array], most: int, kept: int = 0
) -> int:
    """How many samples to simulate together, at most `most`, found by a step of `one` sample.

    `kept`: how many steps' sums are kept at once, to answer for several windows.
    """
    session.run(None, one, timesteps=1)
    neurons = sum(potential.size for potential in session.potentials().values())
    return max(1, min(most, NEURONS_AT_ONCE // (neurons + kept * session.answer_size())))
