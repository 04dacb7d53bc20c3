"""Pieces of a batch that is too large to be simulated at once: some samples after others.

A run holds the states of all its samples. Where only the answer is asked for, and each sample's
stands for itself, no more samples than memory holds with ease are simulated together; fewer are no
slower, since what an operator makes stays in the caches.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx2snn.aliases import Array
from onnx2snn.runtime.division import Division
from onnx2snn.runtime.plan import batch_of, neurons_of

MOST_NEURONS = 2**23
"""Neurons simulated together; their states, old and new, take some 130 MB."""


def pieces_of(values: Mapping[str, Array], division: Division) -> list[slice]:
    """Return the samples of each piece of a batch; one slice of all where it is not divided.

    Args:
        values: The inputs by name.
        division: Of the model's batches; what it counts is of whole batches.
    """
    whole = [slice(None)]
    batch = batch_of(values)
    of_sample = neurons_of(division.model) if batch > 1 else None
    if of_sample is None or division.count or batch * of_sample <= MOST_NEURONS:
        return whole
    if not division.outputs_by_sample(values):
        return whole
    size = max(1, MOST_NEURONS // of_sample)
    return [slice(start, start + size) for start in range(0, batch, size)]
