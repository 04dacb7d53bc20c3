"""onnxruntime sessions of models of any size, as a rule on the CPU and at onnxruntime's own optimisation level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnxruntime as ort

from ._bulk import as_argument


def session_options(threads: int | None) -> ort.SessionOptions:
    """Session options with a number of threads (None: onnxruntime's own choice)."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failed run is reported once, by us
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def open_session(proto: onnx.ModelProto, threads: int | None) -> ort.InferenceSession:
    """A session of a model."""
    return session_with(proto, session_options(threads))


def session_with(
    proto: onnx.ModelProto,
    options: ort.SessionOptions,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    **more: Any,
) -> ort.InferenceSession:
    """A session of a model with options of one's own; `more` goes to onnxruntime."""
    with as_argument(proto) as model:
        return ort.InferenceSession(model, options, providers=list(providers), **more)
