"""The public face of the package: its names, its signatures, and what wrong types give."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.networks import inputs_for, mlp

import onnx2snn
from onnx2snn import OutputError, UsageError
from onnx2snn.cli.eval_parser import eval_parser
from onnx2snn.cli.parsers import convert_parser
from onnx2snn.settings import Settings

LOOK = {"image_preset", "mean", "std", "resize", "crop", "layout"}
"""Options of `onnx2snn.images`, which come with the path of the data."""

GATES = {"max_drop", "max_sops", "max_energy", "baseline", "baseline_drop", "baseline_rise"}
"""Gates of the command; in Python they are comparisons."""

NAMES = [
    "Array",
    "ClusterError",
    "ComputationError",
    "Conversion",
    "DataError",
    "Delay",
    "Dump",
    "EvaluationInterrupted",
    "EvaluationResult",
    "GateError",
    "Granularity",
    "Inspection",
    "MaxPool",
    "Method",
    "ModelFileError",
    "ModelSource",
    "NeuronKind",
    "Onnx2snnError",
    "OutputError",
    "Preset",
    "Progress",
    "Report",
    "Schedule",
    "SpikingSession",
    "StageMismatchError",
    "Step",
    "UnsupportedGraphError",
    "UsageError",
    "__version__",
    "convert",
    "dump",
    "evaluate",
    "images",
    "inspect",
    "nir_graph",
    "portable",
    "rollout",
    "script",
]


def test_the_public_names_are_these() -> None:
    assert onnx2snn.__all__ == NAMES
    assert dir(onnx2snn) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(onnx2snn, name) is not None


def test_importing_the_package_binds_no_folder_over_a_public_function() -> None:
    script = (
        "import onnx2snn.cli.commands, onnx2snn.api, onnx2snn\n"
        "assert all(callable(getattr(onnx2snn, n)) for n in ('convert', 'evaluate', 'inspect', "
        "'rollout'))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_running_a_spiking_model_loads_no_graphsurgeon() -> None:
    script = (
        "import sys, onnx2snn\n"
        "onnx2snn.SpikingSession\n"
        "assert 'onnx_graphsurgeon' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_convert_has_every_option_with_the_default_of_the_table() -> None:
    parameters = inspect.signature(onnx2snn.convert).parameters
    for row in fields(Settings):
        assert parameters[row.name].default == row.default
    options = {action.dest for action in convert_parser()._actions}
    options -= {"help", "version", "model", "output", "calibration", "report"}
    options -= {"quiet", "debug", "memory_limit", "time_limit"} | LOOK
    options = {"client" if name == "dask" else name for name in options}
    assert options == set(parameters) - {"model", "calibration", "progress", "unknown"}


def test_evaluate_has_every_option_of_the_command() -> None:
    parameters = set(inspect.signature(onnx2snn.evaluate).parameters)
    options = {action.dest for action in eval_parser()._actions}
    options -= {"help", "json", "junit", "quiet", "debug", "no_energy"}
    options -= {"memory_limit", "time_limit"} | LOOK | GATES
    # the option is given once for each
    others = {"provider": "providers", "dask": "client"}
    options = {others.get(name, name) for name in options}
    assert options <= parameters
    assert "energy" in parameters


def test_images_has_every_option_of_the_commands() -> None:
    parameters = set(inspect.signature(onnx2snn.images).parameters)
    assert parameters == LOOK - {"image_preset"} | {"where", "preset"}


def converted(**options: Any) -> onnx2snn.Conversion:
    return onnx2snn.convert(mlp(), inputs_for("mlp", 20), iterations=2, timesteps=4, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"percentile": "high"},
        {"max_drop": "little"},
        {"save_thresholds": 5},
        {"thresholds": 5},
        {"method": 3},
        {"correct": 5},
        {"timesteps": [4]},
        {"delay": [4]},
        {"threads": "two"},
        {"html": 5},
    ],
    ids=str,
)
def test_an_option_of_a_wrong_type_is_a_usage_error(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        onnx2snn.convert(mlp(), inputs_for("mlp", 20), **options)


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    def never(_stage: str, _done: int, _total: int) -> None:
        raise AssertionError("work was done")

    nowhere = tmp_path / "nowhere" / "page.html"
    calls: list[Callable[[], object]] = [
        lambda: converted(html=nowhere, progress=never),
        lambda: onnx2snn.evaluate(mlp(), mlp(), np.zeros((2, 10)), html=nowhere, progress=never),
    ]
    for call in calls:
        with pytest.raises(OutputError, match="there is no folder"):
            call()


@pytest.mark.filterwarnings("ignore:agreement with the ANN")
def test_pages_are_written_as_the_commands_write_them(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    one, other = tmp_path / "conversion.html", tmp_path / "evaluation.html"
    conversion = converted(html=one)
    onnx2snn.evaluate(mlp(), conversion.model, inputs_for("mlp", 8), timesteps=[2, 4], html=other)
    for page in (one, other):
        assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
