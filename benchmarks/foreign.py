"""What the benchmarks over models of the onnx wheel share.

Where they lie, and how far off spiking models are.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import onnx2snn
from onnx2snn.protos.load import load_model
from onnx2snn.runtime.simulation import Simulation

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from marked import write_table as write_table

Array = NDArray[Any]

TIMES = (64, 256)


def wheel_data(folder: str) -> Path:
    """A folder of the onnx wheel's own test data."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / folder


def relative_errors(
    model: onnx.ModelProto, feed: Mapping[str, Array], times: Sequence[int] = TIMES
) -> tuple[list[float], int]:
    """||SNN - ANN|| / ||ANN|| over all outputs at each T, on the batch that thresholds (max,
    delay 0) come from.

    Also returns the number of nodes that are analog in the spiking core. The ANN is onnxruntime's
    run of the file, at opset 7 where it is older. A fixed batch is filled pass by pass. Raises
    UnsupportedGraphError where the model is refused.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about agreement after the one step that the conversion itself simulates
        # twice, since of ten samples or more some are held back from calibration
        twice = {name: np.concatenate([value, value]) for name, value in feed.items()}
        conversion = onnx2snn.convert(model, twice, method="max", delay=0, timesteps=1)
    ann = quiet_session(load_model(model).proto)
    snn = Simulation(conversion.model)
    fixed = snn.inputs[0].shape[0] if snn.inputs[0].shape else None
    count = len(next(iter(feed.values())))
    size = fixed if isinstance(fixed, int) else count
    squares = np.zeros((len(times), 2))
    for start in range(0, count, size):
        part = {name: value[start : start + size] for name, value in feed.items()}
        wanted = ann.run(None, part)
        for row, found in zip(squares, snn.run_at(part, [(t, 0) for t in times]), strict=True):
            row[0] += sum(
                float(np.sum(np.square(f.astype(np.float64) - w)))
                for f, w in zip(found, wanted, strict=True)
            )
            row[1] += sum(float(np.sum(np.square(w.astype(np.float64)))) for w in wanted)
    errors = [
        float(np.sqrt(error / norm)) if norm else float(np.sqrt(error)) for error, norm in squares
    ]
    return errors, len(snn.metadata["analog"])


def quiet_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session that does not warn of every initializer that is unused or listed as an input."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
