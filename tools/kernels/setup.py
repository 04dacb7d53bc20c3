"""Builds the library; all else stands in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, str(Path(__file__).parent))

from onnx2snn_kernels import FLAGS

SOURCE = "onnx2snn_kernels/chain.c"
"""Not a module of Python: onnxruntime loads it."""
GNU = sys.platform != "win32"

setup(
    ext_modules=[
        Extension(
            "onnx2snn_kernels._chain",
            [SOURCE],
            extra_compile_args=list(FLAGS) if GNU else ["/O2", "/fp:precise"],
            libraries=["m"] if GNU else [],
            export_symbols=["RegisterCustomOps"],
        )
    ]
)
