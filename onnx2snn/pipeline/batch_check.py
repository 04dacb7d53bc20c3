"""The check that axis 0 of the inputs counts samples: that none has a part in the spikes of others.

A network without a batch axis takes a whole image [3, H, W] where another takes a batch. Read as a
batch, its channels would be three samples, and would be shuffled. So where the graph does not say
where a site has its samples, all but one are exchanged: the activations of that one have to stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.data.batches import filled
from onnx2snn.data.split import CalibrationData
from onnx2snn.errors import UnbatchedError
from onnx2snn.graph.editing import to_proto
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.batch_axis import batch_axes
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.protos.specs import TensorSpec, fixed_batch

PART = 0.05
"""The largest change of a sample's activations, of that of the samples that are exchanged: a
quantisation whose scale is that of the batch changes them a little."""


def require_batch_axis(
    graph: Graph,
    sites: Sequence[Site],
    data: CalibrationData,
    specs: Sequence[TensorSpec],
    threads: int | None,
) -> str:
    """Raise UnbatchedError where axis 0 of the inputs does not count samples.

    A first axis that the model names counts them, whatever it does with them. Where its size is
    fixed, and all outputs have that size in front as well, the samples of a batch may depend on
    each other by design, which cannot be told apart.

    Args:
        graph: The arranged graph.
        sites: Its neuron sites.
        data: The samples.
        specs: The inputs.
        threads: Of the session.

    Returns:
        A warning, where this is in doubt.
    """
    fixed = fixed_batch(specs)
    if fixed is None:
        return ""
    proto = to_proto(graph)
    axes = batch_axes(proto, [spec.name for spec in specs])
    unknown = [site for site in sites if axes.of(site.tensor) is None]
    size = fixed
    counted = [spec for spec in specs if spec.shape != ()]
    if not unknown or size < 2 or not counted:
        return ""
    one = filled(data.samples, np.arange(size) % len(data.samples), fixed).feed
    probe = graph.copy()
    tensors = probe.tensors()
    probe.outputs = [tensors[site.tensor] for site in unknown]
    session = open_own_session(to_proto(probe), threads)
    first, again = (_run(session, one) for _ in range(2))
    # a sequence is causal: its first step depends on no other, but its last one does
    for kept in (0, size - 1):
        # one sample in place of all others
        alike = {}
        for name, values in one.items():
            alike[name] = np.repeat(values[[kept]], size, axis=0) if values.ndim else values
        exchanged = _run(session, alike)
        for site, before, same, after in zip(unknown, first, again, exchanged, strict=True):
            comparable = before.shape == after.shape and np.array_equal(before, same)
            if comparable and _mixes(before, after, size, kept):
                if _in_front(graph, counted, size):
                    return f"samples of a batch depend on each other: {_sentence(counted[0], site)}"
                raise UnbatchedError(_sentence(counted[0], site))
    return ""


def _in_front(graph: Graph, counted: Sequence[TensorSpec], size: int) -> bool:
    """Return whether all outputs have as many samples in front as the inputs.

    A second axis of size 1 throughout is that of a batch behind the steps of a sequence.
    """
    shapes = [tuple(tensor.shape or ()) for tensor in graph.outputs]
    leading = all(shape and shape[0] == size for shape in shapes)
    behind = [*shapes, *(spec.shape or () for spec in counted)]
    sequences = all(len(shape) > 1 and shape[1] == 1 for shape in behind)
    return leading and not sequences


def _run(session: ort.InferenceSession, feed: Mapping[str, Array]) -> list[Array]:
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, {name: feed[name] for name in names}))


def _mixes(one: Array, other: Array, samples: int, kept: int) -> bool:
    """Return whether exchanging all samples but one changed the activations of that one."""
    change = np.abs(one - other)
    if not np.isfinite(change).all() or not change.any():
        return False
    for axis, size in enumerate(change.shape):
        each, rest = divmod(size, samples)
        if rest:
            continue
        for blocks in (1, each):
            # [..., blocks, samples, rows, ...]
            before, behind = change.shape[:axis], change.shape[axis + 1 :]
            split = change.reshape(*before, blocks, samples, each // blocks, *behind)
            by_sample = np.moveaxis(split, axis + 1, 0).reshape(samples, -1)
            if by_sample[kept].max() <= PART * by_sample.max():
                return False
    return True


def _sentence(spec: TensorSpec, site: Site) -> str:
    one_higher = TensorSpec(spec.name, spec.dtype, ("N", *(spec.shape or ())))
    return (
        f"axis 0 of input '{spec}' does not seem to count samples, since the activation "
        f"'{site.source}' of one depends on the others; where each '{spec}' is a sample, give them "
        f"in one array '{one_higher}'"
    )
