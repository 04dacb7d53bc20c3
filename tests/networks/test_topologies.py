"""Each class of topology converts, and the spiking network tends to the ANN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import pytest
from helpers.architectures import TOPOLOGIES, inputs_of
from helpers.stages import Array, relative

from onnx2snn.pipeline.convert import run_conversion as run
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.settings import Settings

pytestmark = pytest.mark.slow

SAMPLES = 9  # too few to hold some back: all are calibrated on


def joined(outputs: Sequence[Array]) -> Array:
    return np.concatenate([output.ravel() for output in outputs])


def errors_of(name: str, maxpool: str = "accumulate") -> list[float]:
    """Relative L2 errors at T = 64 and T = 256, without a delay, on the calibration data."""
    proto = TOPOLOGIES[name]()
    x = inputs_of(proto, SAMPLES)
    conversion = run(
        proto, x, Settings(method="max", timesteps=4, delay=0, threads=1, maxpool=maxpool)
    )
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = ann.run(None, {"input": x})
    found = Simulation(conversion.model).run_at({"input": x}, [(64, 0), (256, 0)])
    return [relative(joined(outputs), joined(wanted)) for outputs in found]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_error_falls_below_three_percent(name: str) -> None:
    few, many = errors_of(name)
    assert many <= 0.03
    assert many <= few / 2.5


@pytest.mark.parametrize("name", ["inception", "squeezenet", "unet", "temporal", "volumetric"])
def test_pooling_each_steps_current_leaves_an_error_that_does_not_fall(name: str) -> None:
    """The paper's rule, where max-pools stand between neurons.

    The default's error is below three percent.
    """
    few, many = errors_of(name, "current")
    assert many >= 0.1
    assert many >= few / 2
