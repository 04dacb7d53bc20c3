"""The check that tensors hold their samples one after another along axis 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.layer_simulation import LayerSimulation
from onnx2snn.correct.segments import Segment
from onnx2snn.data.batches import filled
from onnx2snn.errors import UsageError
from onnx2snn.prepare.partition import ASSUMED_SIZE

ORDERED = 3
"""Samples on which it is seen, where the batch is not fixed."""

WHOLE = Segment(None, (), None, ())
"""The whole network taken as one segment."""

TOGETHER = 2**25
"""Elements of the tensors of these samples that are held at once, both ways."""

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
    few = min(ORDERED, simulation.count)
    size = simulation.fixed or few
    indices = simulation.chosen[:size]
    batch = filled(simulation.job.samples, indices, simulation.fixed)
    back = {}
    for name, given in batch.feed.items():
        back[name] = np.ascontiguousarray(given[::-1]) if given.ndim else given
    found = set()
    # all tensors of a network of large maps would take more room than any layer
    for some in _groups(simulation, names, size):
        session = simulation.open(simulation.original, WHOLE, some)
        taken = [value.name for value in session.get_inputs()]
        forwards = session.run(None, {name: batch.feed[name] for name in taken})
        backwards = session.run(None, {name: back[name] for name in taken})
        for name, one, other in zip(some, forwards, backwards, strict=True):
            if not _is_reversed(one, other, size):
                found.add(name)
    return found


def _groups(simulation: LayerSimulation, names: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield the names in groups whose tensors, of `size` samples, are held at once."""
    tensors = simulation.original.tensors()
    group: list[str] = []
    held = 0
    for name in names:
        elements = 2 * size
        for length in (tensors[name].shape or [])[1:]:
            elements *= length if isinstance(length, int) else ASSUMED_SIZE
        if group and held + elements > TOGETHER:
            yield group
            group, held = [], 0
        group.append(name)
        held += elements
    if group:
        yield group


def _is_reversed(one: Array, other: Array, size: int) -> bool:
    """Return whether a tensor of `size` samples holds them in the reverse order of another."""
    if one.ndim == 0:
        return False
    if len(one) % size != 0:
        return False
    shape = one.shape[1:]
    # rows of a sample stay in order, samples turn round
    ahead = one.reshape(size, -1, *shape)
    back = other.reshape(size, -1, *shape)[::-1]
    near = NEAR * max(map(_largest, ahead))
    return all(
        np.allclose(sample, again, rtol=0.0, atol=near, equal_nan=True)
        for sample, again in zip(ahead, back, strict=True)
    )


def _largest(values: Array) -> float:
    """Return the largest magnitude among numbers; infinite ones would let anything pass."""
    magnitudes = np.zeros_like(values)
    np.abs(values, where=np.isfinite(values), out=magnitudes)
    return float(magnitudes.max(initial=0.0))
