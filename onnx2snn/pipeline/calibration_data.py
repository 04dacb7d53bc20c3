"""The calibration data of a network, opened: with a batch axis, or sample by sample.

A network without a batch axis takes a whole image [3, H, W] where another takes a batch. The graph
tells, where a weighted operator sums over axis 0 (`protos.unbatched`), or the data do, which have
an axis more than the input. Where neither does, a run on the data does later
(`pipeline.batch_check`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx2snn.data.random import index_bounds
from onnx2snn.data.split import CalibrationData, open_calibration
from onnx2snn.errors import UnbatchedError
from onnx2snn.graph.shape_inference import Trial
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.specs import TensorSpec, input_specs
from onnx2snn.protos.unbatched import by_sample, has_batch_axis, lacks_batch_axis


def open_for(
    source: LoadedModel, calibration: object, seed: int
) -> tuple[LoadedModel, CalibrationData]:
    """Open calibration data; the network has an axis of one sample in front if it lacks a batch's.

    Raises:
        DataError: The data do not fit the network, or could be either batches or samples.
    """
    if lacks_batch_axis(source.proto):
        source = by_sample(source)
        return source, reopened(source, calibration, seed)
    try:
        return source, reopened(source, calibration, seed)
    except UnbatchedError:
        if has_batch_axis(source.proto) or not can_be_read_again(calibration):
            raise
    source = by_sample(source)
    return source, reopened(source, calibration, seed)


def reopened(source: LoadedModel, calibration: object, seed: int) -> CalibrationData:
    """Open calibration data for a network as it is now."""
    specs = input_specs(source.proto)
    bounds = index_bounds(source.proto)
    return open_calibration(calibration, specs, seed, bounds, source.unbatched)


def can_be_read_again(calibration: object) -> bool:
    """Return whether data come a second time, which an iterator's do not."""
    return not isinstance(calibration, Iterator)


def trial_of(data: CalibrationData, specs: Sequence[TensorSpec]) -> Trial:
    """Return what the shapes of tensors are measured with: a few of the samples."""
    fixed = all(_fixes_sizes(spec) for spec in specs)
    # a single sample says nothing of sizes that depend on data
    differ = len(data.samples) > 1
    return Trial(data.trial_feeds(specs), telling=fixed and differ)


def _fixes_sizes(spec: TensorSpec) -> bool:
    """Return whether all sizes of an input but the batch are fixed."""
    return spec.shape is not None and all(isinstance(dim, int) for dim in spec.shape[1:])
