"""The package onnx2snn-kernels: an operator for onnxruntime that computes chains (`chains`).

It is no dependency: stock onnxruntime runs everything, and what it computes is what counts.
"""

from __future__ import annotations

from importlib import import_module

from onnx2snn.errors import UsageError

INSTALL = "pip install ./tools/kernels in a clone of onnx2snn; it takes a C compiler"


def kernel_library() -> str:
    """Return the path of the library with the operator.

    Raises:
        UsageError: The package is not installed, or its library is missing.
    """
    try:
        kernels = import_module("onnx2snn_kernels")
    except ImportError as error:
        raise UsageError(f"kernels ask for the package onnx2snn-kernels ({INSTALL})") from error
    try:
        return str(kernels.library())
    except FileNotFoundError as error:
        raise UsageError(f"onnx2snn-kernels is not whole: {error} ({INSTALL})") from error
