"""Any network of supported operators converts, and the spiking network tends to it.

Or the refusal says why.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import ASSEMBLED_INPUT, REFUSED_BLOCKS
from helpers.stages import Array, random_networks, stable
from hypothesis import given

from onnx2snn import SpikingSession, UnsupportedGraphError, inspect
from onnx2snn.pipeline.convert import run_conversion as run
from onnx2snn.protos.sessions import session_options
from onnx2snn.settings import Settings

pytestmark = pytest.mark.slow

TIMESTEPS = 64
CONSTANT = 20.0
"""C: the relative L2 error after T steps is at most C / T."""

IMAGES: Array = np.random.default_rng(7).standard_normal((2, *ASSEMBLED_INPUT)).astype(np.float32)


def error_of(proto: onnx.ModelProto) -> float:
    """Relative L2 error at T = 64 on the calibration batch; without a delay."""
    conversion = run(proto, IMAGES, Settings(method="max", timesteps=1, delay=0, threads=1))
    (found,) = SpikingSession(conversion.model, session_options(1)).run(
        None, {"input": IMAGES}, TIMESTEPS, 0
    )
    ann = ort.InferenceSession(
        proto.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    (wanted,) = ann.run(None, {"input": IMAGES})
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@given(random_networks(*REFUSED_BLOCKS))
@stable(200)
def test_every_network_tends_to_its_ann_or_is_refused_with_a_reason(proto: onnx.ModelProto) -> None:
    stubborn = [
        node for node in proto.graph.node if node.op_type in ("RandomNormalLike", "NonZero")
    ]
    roles = {row["node"]: row["role"] for row in inspect(proto)["nodes"]}
    if stubborn and not any(roles[node.name] == "refused" for node in stubborn):
        # no neurons on both sides: what stands before one of them feeds nothing by spikes
        assert {roles[node.name] for node in stubborn} <= {"encoder", "readout"}
    elif stubborn:
        with pytest.raises(UnsupportedGraphError) as refused:
            error_of(proto)
        assert refused.value.node in {node.name for node in stubborn}
        assert refused.value.reason
    else:
        assert error_of(proto) <= CONSTANT / TIMESTEPS
