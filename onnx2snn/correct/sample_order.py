"""The check that tensors hold their samples one after another along axis 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.layer_simulation import LayerSimulation
from onnx2snn.correct.segments import Segment
from onnx2snn.data.batches import filled
from onnx2snn.errors import UsageError

ORDERED = 3
"""Samples on which it is seen, where the batch is not fixed."""

WHOLE = Segment(None, (), None, ())
"""The whole network taken as one segment."""

NEAR = 1e-3
"""Of the largest value: how far answers to the same samples in another order may lie apart."""


def in_sample_order(simulation: LayerSimulation, segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments without operators whose output holds samples in another way.

    These are noted as skipped. A few samples are computed by the ANN, and once more in reverse
    order: then every tensor that corrections compare has to come in reverse order, too.

    Raises:
        UsageError: A site's tensor, or its current, does not hold its samples so.
    """
    needed: list[str] = []
    compared: list[str] = []
    for segment in segments:
        needed += segment.takes
        if segment.current:
            needed.append(segment.current)
        compared += segment.tensors
    names = list(dict.fromkeys([*needed, *compared]))
    unordered = _unordered(simulation, names)
    for name in names:
        if name in needed and name in unordered:
            raise UsageError(
                f"tensor '{name}' does not hold its samples one after another along axis 0, which "
                "correcting layer by layer needs; give --correct none, or --correct bias "
                "--rounds 8 for all layers at once"
            )
    kept = []
    for segment in segments:
        responses = []
        for response in segment.responses:
            if response.y in unordered:
                reason = "its output does not hold samples one after another along axis 0"
                simulation.skipped.append((response.node, reason))
            else:
                responses.append(response)
        kept.append(replace(segment, responses=tuple(responses)))
    return kept


def _unordered(simulation: LayerSimulation, names: Sequence[str]) -> set[str]:
    """Return the tensors that do not hold the samples one after another along axis 0."""
    session = simulation.open(simulation.original, WHOLE, names)
    few = min(ORDERED, simulation.count)
    size = simulation.fixed or few
    indices = simulation.chosen[:size]
    batch = filled(simulation.job.samples, indices, simulation.fixed)
    ahead = {}
    back = {}
    for value in session.get_inputs():
        name = value.name
        given = batch.feed[name]
        ahead[name] = given
        back[name] = np.ascontiguousarray(given[::-1]) if given.ndim else given
    forwards = session.run(None, ahead)
    backwards = session.run(None, back)
    found = set()
    for name, one, other in zip(names, forwards, backwards, strict=True):
        if not _is_reversed(one, other, size):
            found.add(name)
    return found


def _is_reversed(one: Array, other: Array, size: int) -> bool:
    """Return whether a tensor of `size` samples holds them in the reverse order of another."""
    if one.ndim == 0:
        return False
    if len(one) % size != 0:
        return False
    shape = one.shape[1:]
    # rows of a sample stay in order, samples turn round
    by_sample = one.reshape(size, -1, *shape)
    turned = by_sample[::-1].reshape(one.shape)
    # numbers alone: infinite ones would let anything pass
    magnitudes = np.zeros_like(one)
    numbers = np.isfinite(one)
    np.abs(one, where=numbers, out=magnitudes)
    largest = float(magnitudes.max(initial=0.0))
    near = NEAR * largest
    return np.allclose(turned, other, rtol=0.0, atol=near, equal_nan=True)
