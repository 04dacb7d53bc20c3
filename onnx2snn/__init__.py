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

from onnx2snn.version import __version__ as __version__

if TYPE_CHECKING:
    from onnx2snn.aliases import Array as Array
    from onnx2snn.aliases import Delay as Delay
    from onnx2snn.aliases import ModelSource as ModelSource
    from onnx2snn.aliases import Progress as Progress
    from onnx2snn.api import convert as convert
    from onnx2snn.api import evaluate as evaluate
    from onnx2snn.data.look import images as images
    from onnx2snn.data.scripts import script as script
    from onnx2snn.errors import ClusterError as ClusterError
    from onnx2snn.errors import ComputationError as ComputationError
    from onnx2snn.errors import DataError as DataError
    from onnx2snn.errors import GateError as GateError
    from onnx2snn.errors import ModelFileError as ModelFileError
    from onnx2snn.errors import Onnx2snnError as Onnx2snnError
    from onnx2snn.errors import OutputError as OutputError
    from onnx2snn.errors import StageMismatchError as StageMismatchError
    from onnx2snn.errors import UnsupportedGraphError as UnsupportedGraphError
    from onnx2snn.errors import UsageError as UsageError
    from onnx2snn.options import Granularity as Granularity
    from onnx2snn.options import MaxPool as MaxPool
    from onnx2snn.options import Method as Method
    from onnx2snn.options import NeuronKind as NeuronKind
    from onnx2snn.options import Preset as Preset
    from onnx2snn.pipeline.convert import Conversion as Conversion
    from onnx2snn.pipeline.inspection import Inspection as Inspection
    from onnx2snn.pipeline.inspection import inspect as inspect
    from onnx2snn.pipeline.report import Report as Report
    from onnx2snn.runtime.plan import Schedule as Schedule
    from onnx2snn.runtime.rollout import rollout as rollout
    from onnx2snn.runtime.session import SpikingSession as SpikingSession
    from onnx2snn.runtime.steps import Step as Step
    from onnx2snn.score.evaluate import EvaluationInterrupted as EvaluationInterrupted
    from onnx2snn.score.results import EvaluationResult as EvaluationResult
    from onnx2snn.snn.dump import Dump as Dump
    from onnx2snn.snn.dump import dump as dump
    from onnx2snn.snn.nir.export import nir_graph as nir_graph
    from onnx2snn.snn.portable import portable as portable

_HOME = {
    "Array": "aliases",
    "Delay": "aliases",
    "ModelSource": "aliases",
    "Progress": "aliases",
    "convert": "api",
    "evaluate": "api",
    "images": "data.look",
    "script": "data.scripts",
    "ClusterError": "errors",
    "ComputationError": "errors",
    "DataError": "errors",
    "GateError": "errors",
    "ModelFileError": "errors",
    "Onnx2snnError": "errors",
    "OutputError": "errors",
    "StageMismatchError": "errors",
    "UnsupportedGraphError": "errors",
    "UsageError": "errors",
    "Granularity": "options",
    "MaxPool": "options",
    "Method": "options",
    "NeuronKind": "options",
    "Preset": "options",
    "Conversion": "pipeline.convert",
    "Inspection": "pipeline.inspection",
    "inspect": "pipeline.inspection",
    "Report": "pipeline.report",
    "rollout": "runtime.rollout",
    "Schedule": "runtime.plan",
    "SpikingSession": "runtime.session",
    "Step": "runtime.steps",
    "EvaluationInterrupted": "score.evaluate",
    "EvaluationResult": "score.results",
    "nir_graph": "snn.nir.export",
    "Dump": "snn.dump",
    "dump": "snn.dump",
    "portable": "snn.portable",
}
"""The module of each public name."""

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `--help` needs neither onnx nor onnxruntime."""
    if name not in _HOME:
        raise AttributeError(f"module 'onnx2snn' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"onnx2snn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
