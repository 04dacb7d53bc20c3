"""onnxruntime sessions as the converter opens them: on the CPU, at onnxruntime's own optimisation level."""

from __future__ import annotations

import onnx
import onnxruntime as ort

from ._load import serialise


def session_options(threads: int | None) -> ort.SessionOptions:
    """Session options with a number of threads (None: onnxruntime's own choice)."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failed run is reported once, by us
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def open_session(proto: onnx.ModelProto, threads: int | None) -> ort.InferenceSession:
    """A session of a model."""
    return ort.InferenceSession(serialise(proto), session_options(threads), providers=["CPUExecutionProvider"])
