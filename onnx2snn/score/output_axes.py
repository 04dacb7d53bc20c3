"""Outputs by sample: where each output of a model has its samples, and outputs laid out by them.

The graph says it (`protos.batch_axis`), or runs of a few samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.data.batches import Batch, filled
from onnx2snn.data.samples import Samples
from onnx2snn.protos.batch_arrays import OutputPlace, by_sample, output_places
from onnx2snn.protos.batch_axis import batch_axes
from onnx2snn.protos.batch_types import BatchAxis
from onnx2snn.protos.specs import TensorSpec, fixed_batch


@dataclass(frozen=True)
class OutputAxes:
    """Where the outputs of a model have their samples, in order."""

    places: Sequence[OutputPlace]

    def own(self, batch: Batch, outputs: Sequence[Array]) -> list[Array]:
        """Return the outputs of a batch's own samples, laid out as the model does."""
        return batch.own(outputs, self.places)

    def by_sample(self, outputs: Sequence[Array]) -> list[Array]:
        """Return outputs with samples along axis 0, if that is not where they are."""
        found = []
        for output, place in zip(outputs, self.places, strict=True):
            if isinstance(place, BatchAxis) and (place.axis > 0 or place.blocks > 1):
                found.append(by_sample(output, place))
            else:
                found.append(output)
        return found


def output_axes(
    proto: onnx.ModelProto,
    specs: Sequence[TensorSpec],
    samples: Samples,
    session: ort.InferenceSession,
) -> OutputAxes:
    """Return where the outputs of an ANN have their samples.

    Args:
        proto: The ANN.
        specs: Its inputs.
        samples: A few of them are run where the graph does not say it.
        session: Runs the ANN; outputs behind its own do not count.
    """
    names = [value.name for value in proto.graph.output]
    fixed = fixed_batch(specs)
    few = min(len(samples), fixed or 2)
    feed = filled(samples, np.arange(few), fixed).feed
    taken = {value.name for value in session.get_inputs()}

    def compute(given: Mapping[str, Array]) -> list[Array]:
        own = {name: values for name, values in given.items() if name in taken}
        return list(session.run(names, own))

    axes = batch_axes(proto, [spec.name for spec in specs])
    return OutputAxes(output_places(axes, names, feed, fixed, compute))
