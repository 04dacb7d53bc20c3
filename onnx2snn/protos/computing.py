"""Errors of onnxruntime while it computes, as errors of ours that say what is to blame."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onnx2snn.errors import ComputationError, DataError, one_line, out_of_memory
from onnx2snn.protos.specs import TensorSpec

SIMULATION = "the spiking model cannot be computed on these inputs"
"""The beginning of a sentence on onnxruntime's error in a simulation."""


@contextmanager
def computing(inputs: Sequence[TensorSpec]) -> Iterator[None]:
    """Turn onnxruntime's error about inputs it cannot compute with into a DataError."""
    takes = ", ".join(str(spec) for spec in inputs)
    with _reasons() as reasons:
        yield
    for error, said in reasons:
        raise DataError(
            f"the model cannot be computed on this data ({said}); it takes {takes}"
        ) from error


@contextmanager
def simulating(what: str = SIMULATION, inputs: Sequence[TensorSpec] = ()) -> Iterator[None]:
    """Turn onnxruntime's error about a model of ours into a ComputationError.

    Nobody knows here whether the ANN computes with the inputs, and so whether they are at fault;
    but where sizes are free beside the batch, a size that does not fit is the likely reason, which
    is a DataError.

    Args:
        what: The sentence's beginning.
        inputs: What the model takes.
    """
    with _reasons() as reasons:
        yield
    for error, said in reasons:
        if any(_has_free_sizes(spec) for spec in inputs):
            takes = ", ".join(str(spec) for spec in inputs)
            raise DataError(
                f"the model cannot be computed on this data ({said}); it takes {takes}"
            ) from error
        raise ComputationError(
            f"{what} ({said}); if the ANN computes them, please report this model"
        ) from error


def _has_free_sizes(spec: TensorSpec) -> bool:
    """Return whether a size of an input is free, the number of samples left out."""
    return spec.shape is None or any(not isinstance(dim, int) for dim in spec.shape[1:])


@contextmanager
def _reasons() -> Iterator[list[tuple[Exception, str]]]:
    """Catch onnxruntime's error: it is put into the list that is yielded, with its reason.

    Where memory does not suffice a MemoryError is raised.
    """
    caught: list[tuple[Exception, str]] = []
    try:
        yield caught
    except Exception as error:
        if not from_runtime(error):
            raise
        if out_of_memory(error):
            raise MemoryError(one_line(error)) from error
        # its message ends in the reason, behind a status code and the name of the node
        said = one_line(error).rpartition("Status Message: ")[2]
        caught.append((error, said))


def from_runtime(error: BaseException) -> bool:
    """Return whether onnxruntime raised an error, not code that was called beside it."""
    if type(error).__module__.startswith("onnxruntime"):
        return True  # its own exceptions have no common base
    if type(error) is not RuntimeError:
        return False
    # what its C++ code raises comes out of a function of its Python package
    module = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
    return module.startswith("onnxruntime")
