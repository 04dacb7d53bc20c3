"""onnxruntime sessions of models of any size, as a rule on the CPU and at onnxruntime's own optimisation level."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Dim
from onnx2snn.errors import DataError, one_line
from onnx2snn.protos.large import as_argument
from onnx2snn.protos.specs import TensorSpec


def session_options(threads: int | None, *, spinning: bool = True) -> ort.SessionOptions:
    """Session options with a number of threads (None: onnxruntime's own choice).

    `spinning`: after a run threads wait for the next one in a busy loop for some 50 ms. That is quickest where it comes
    at once, and slows down whatever else runs meanwhile, another session's threads for instance.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failed run is reported once, by us
    if not spinning:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def usable_cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(proto: onnx.ModelProto, threads: int | None) -> ort.InferenceSession:
    """A session of a model."""
    return session_with(proto, session_options(threads))


def session_with(
    proto: onnx.ModelProto,
    options: ort.SessionOptions,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    *,
    used_up: bool = False,
    **more: Any,
) -> ort.InferenceSession:
    """A session of a model with options of one's own; `more` goes to onnxruntime.

    `used_up`: nobody needs the model afterwards; it is emptied, so that its weights are not held twice.
    """
    with as_argument(proto, whole=bool(options.optimized_model_filepath)) as model:
        if used_up:
            proto.Clear()
        return ort.InferenceSession(model, options, providers=list(providers), **more)


def types_of(proto: onnx.ModelProto, names: Sequence[str]) -> dict[str, tuple[Any, Sequence[Dim]]]:
    """What onnxruntime infers of inner tensors, type and shape by name; a tensor of unknown rank is left out."""
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    given = {value.name for value in asked.graph.output}
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = session_options(None)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = session_with(asked, options)
    found = {
        o.name: o
        for o in session.get_outputs()
        if o.name in names and o.type in _NUMPY_TYPES and o.shape
    }
    return {name: (_NUMPY_TYPES[o.type], o.shape) for name, o in found.items()}


_NUMPY_TYPES = {
    f"tensor({name})": np.dtype(name) for name in ("int8", "int16", "int32", "int64", "bool")
}
_NUMPY_TYPES |= {
    f"tensor({name})": np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")
}
_NUMPY_TYPES |= {"tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64)}
_NUMPY_TYPES |= {"tensor(float16)": np.dtype(np.float16)}


@contextmanager
def computing(inputs: Sequence[TensorSpec]) -> Iterator[None]:
    """Turn what onnxruntime says about inputs it cannot compute with into a DataError."""
    try:
        yield
    except Exception as error:  # onnxruntime's own exceptions have no common base
        if type(error) is not RuntimeError and not type(error).__module__.startswith("onnxruntime"):
            raise
        said = one_line(error).rpartition("Status Message: ")[2]
        raise DataError(
            f"the model cannot be computed on this data ({said}); it takes {', '.join(map(str, inputs))}"
        ) from error
