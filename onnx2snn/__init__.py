"""onnx2snn: turn any pretrained ONNX network into a spiking neural network, without training.

import onnx2snn

conversion = onnx2snn.convert("model.onnx", "calibration.npz", timesteps=32)
conversion.save("model.snn.onnx")
snn = onnx2snn.SpikingSession("model.snn.onnx")
(logits,) = snn.run(None, {"input": x})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ._convert import Conversion as Conversion
    from ._convert import convert as convert
    from ._errors import DataError as DataError
    from ._errors import GateError as GateError
    from ._errors import ModelFileError as ModelFileError
    from ._errors import Onnx2snnError as Onnx2snnError
    from ._errors import OutputError as OutputError
    from ._errors import StageMismatchError as StageMismatchError
    from ._errors import UnsupportedGraphError as UnsupportedGraphError
    from ._errors import UsageError as UsageError
    from ._evaluate import EvaluationInterrupted as EvaluationInterrupted
    from ._evaluate import evaluate as evaluate
    from ._inspect import inspect as inspect
    from ._report import Report as Report
    from ._rollout import rollout as rollout
    from ._session import SpikingSession as SpikingSession
    from ._session import Step as Step

_HOME = {
    "Conversion": "_convert",
    "convert": "_convert",
    "DataError": "_errors",
    "GateError": "_errors",
    "ModelFileError": "_errors",
    "Onnx2snnError": "_errors",
    "OutputError": "_errors",
    "StageMismatchError": "_errors",
    "UnsupportedGraphError": "_errors",
    "UsageError": "_errors",
    "EvaluationInterrupted": "_evaluate",
    "evaluate": "_evaluate",
    "inspect": "_inspect",
    "Report": "_report",
    "rollout": "_rollout",
    "SpikingSession": "_session",
    "Step": "_session",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `onnx2snn --help` needs neither onnx nor onnxruntime."""
    if name not in _HOME:
        raise AttributeError(f"module 'onnx2snn' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"onnx2snn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
