"""Each class of topology converts, and the spiking network tends to the ANN."""

from __future__ import annotations

import onnxruntime as ort
import pytest
from conftest import relative
from topologies import TOPOLOGIES, inputs_of

from onnx2snn import SpikingSession
from onnx2snn._convert import run
from onnx2snn._settings import Settings

SAMPLES = 9  # too few to hold some back: all are calibrated on


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_error_falls_below_three_percent(name: str) -> None:
    """Relative L2 error at T = 256, and at least 2.5 times that at T = 64; without a delay, on the calibration data."""
    proto = TOPOLOGIES[name]()
    x = inputs_of(proto, SAMPLES)
    conversion = run(proto, x, Settings(method="max", timesteps=4, delay=0, threads=1))
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = ann.run(None, {"input": x})
    found = SpikingSession(conversion.model).run_at(None, {"input": x}, [(64, 0), (256, 0)])
    errors = [max(relative(one, other) for one, other in zip(outputs, wanted, strict=True)) for outputs in found]
    print(name, errors)
    assert errors[1] <= 0.03, errors
    assert errors[1] <= errors[0] / 2.5, errors
