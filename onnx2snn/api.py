"""The functions users call: `convert` and `evaluate`."""

from __future__ import annotations

import warnings
from typing import Any

from onnx2snn.aliases import ModelSource, Progress, silent_progress
from onnx2snn.pipeline.convert import Conversion, run_conversion
from onnx2snn.settings import Settings


def convert(
    model: ModelSource,
    calibration: object = None,
    *,
    progress: Progress = silent_progress,
    **options: Any,
) -> Conversion:
    """Turn a pretrained network into a spiking one.

    `model`: path, bytes or ModelProto. `calibration`: a path (.npy, .npz, .pb, a folder, `script.py:function`), arrays,
    a dict of arrays or batches; None converts with random inputs and warns. The options are those of the command
    line, by the same names: preset, timesteps, delay, method, percentile, granularity, maxpool, neuron, levels,
    correct, rounds, iterations, batch_size, seed, threads, save_thresholds, thresholds, max_drop, strict.
    `progress` is called with (stage, done, total).

    Raises UsageError, ModelFileError, DataError, UnsupportedGraphError, GateError (`max_drop`, `strict`) or
    StageMismatchError.
    """
    conversion = run_conversion(model, calibration, Settings.of(options), progress)
    for text in conversion.report.warnings:
        warnings.warn(text, UserWarning, stacklevel=2)
    return conversion
