"""Operators of a segment fitted: their weights, and in the readout their biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk, Gathered
from onnx2snn.correct.correction import change_weights, with_shifts
from onnx2snn.correct.fitted_rows import Evidence, Pairs
from onnx2snn.correct.layer_simulation import LayerSimulation, SegmentRun
from onnx2snn.correct.means import RunningMean, lacking
from onnx2snn.correct.ridge import fit_weights
from onnx2snn.correct.segments import Response, Segment
from onnx2snn.graph.types import Node


def fit_operator(
    simulation: LayerSimulation,
    segment: Segment,
    response: Response,
    wanted: Mapping[str, Gathered],
    start: int = 0,
) -> None:
    """Fit an operator's weights, once: a site it has served has fired.

    Args:
        simulation: The work so far.
        segment: The segment the operator is part of.
        response: The operator.
        wanted: The ANN's tensors.
        start: The steps after which the sites before the segment count.
    """
    name, y = response.node, response.y
    if name in simulation.fitted:
        return
    simulation.fitted.add(name)
    node = simulation.node(name)
    x = node.inputs[0].name
    run = SegmentRun(simulation, simulation.graph, segment, [x, y])

    def pair(chunk: Chunk) -> Pairs:
        inputs, found = run.tensors(simulation.means(segment, start, chunk), chunk)
        # behind a telescoped operator an input may be no number until the first spike
        if segment.analog:
            inputs = np.nan_to_num(inputs, posinf=0.0, neginf=0.0)
        return inputs, lacking(wanted[y].read(chunk), found)

    def parts(count: int) -> Iterator[Pairs]:
        return simulation.each(pair, simulation.chunks(segment, count))

    # where biases are corrected, the mean is theirs to mend
    centred = "bias" in simulation.job.settings.corrections
    evidence = Evidence(parts, simulation.count, len(simulation.job.samples))
    change = fit_weights(node, evidence, centred=centred)
    if isinstance(change, str):
        reason = change
        simulation.skipped.append((name, reason))
        return
    change_weights(simulation.editor, node, change)


def correct_readout(simulation: LayerSimulation, segment: Segment) -> None:
    """Fit weights and biases of the readout's operators in order, after the delay."""
    corrections = simulation.job.settings.corrections
    weights = "weights" in corrections
    bias = "bias" in corrections
    if not segment.responses or not (weights or bias):
        return
    wanted = simulation.wanted(segment)
    for response in segment.responses:
        if weights:
            fit_operator(simulation, segment, response, wanted, simulation.delay)
        if bias:
            _shift(simulation, segment, response, wanted)


def _shift(
    simulation: LayerSimulation,
    segment: Segment,
    response: Response,
    wanted: Mapping[str, Gathered],
) -> None:
    """Shift an output of the readout by what it lacks in the mean over samples and positions."""
    y = response.y
    run = SegmentRun(simulation, simulation.graph, segment, [y])
    node = simulation.node(response.node)
    lacks: RunningMean | None = None

    def lack(chunk: Chunk) -> Array:
        (found,) = run.tensors(simulation.means(segment, simulation.delay, chunk), chunk)
        return lacking(wanted[y].read(chunk), found)

    for part in simulation.each(lack, simulation.chunks(segment)):
        if lacks is None:
            lacks = RunningMean(_other_axes(node, part.ndim))
        lacks.add(part)
    assert lacks is not None
    # the next operator is fitted to what this one now makes
    graph = with_shifts(simulation.graph, {(y, None): lacks.value()})
    simulation.replace_graph(graph)


def _other_axes(node: Node, ndim: int) -> tuple[int, ...]:
    """Return all axes of a weighted operator's output but that of its channels."""
    axes = list(range(ndim))
    channels = ndim - 1
    if node.op.startswith("Conv"):
        channels = 1
    axes.remove(channels)
    return tuple(axes)
