"""Each class of topology converts, and the spiking network tends to the ANN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import pytest
from architectures import TOPOLOGIES, inputs_of
from conftest import Array, relative

from onnx2snn import SpikingSession
from onnx2snn._convert import run
from onnx2snn._settings import Settings

SAMPLES = 9  # too few to hold some back: all are calibrated on


def joined(outputs: Sequence[Array]) -> Array:
    return np.concatenate([output.ravel() for output in outputs])


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_error_falls_below_three_percent(name: str) -> None:
    """Relative L2 error at T = 256, and at least 2.5 times that at T = 64; without a delay, on the calibration data."""
    proto = TOPOLOGIES[name]()
    x = inputs_of(proto, SAMPLES)
    conversion = run(proto, x, Settings(method="max", timesteps=4, delay=0, threads=1))
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = ann.run(None, {"input": x})
    found = SpikingSession(conversion.model).run_at(None, {"input": x}, [(64, 0), (256, 0)])
    errors = [relative(joined(outputs), joined(wanted)) for outputs in found]
    assert errors[1] <= 0.03, errors
    assert errors[1] <= errors[0] / 2.5, errors
