"""Questions of an evaluation: the options of `evaluate`, and the metric and windows behind them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

from onnx2snn.aliases import Delay
from onnx2snn.data.samples import Samples
from onnx2snn.data.scripts import Script, script_function
from onnx2snn.errors import DataError, UsageError
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.providers import Provider
from onnx2snn.protos.sessions import CPU
from onnx2snn.protos.specs import input_specs, mismatch, output_specs
from onnx2snn.runtime.early_exit import check_margin
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.baseline import Baseline
from onnx2snn.score.energy import Prices
from onnx2snn.score.makers import natures_of
from onnx2snn.score.metrics import Metric, Scripted
from onnx2snn.score.registry import metric_class
from onnx2snn.score.targets import has_fractions, with_targets
from onnx2snn.snn.format import metadata_of
from onnx2snn.snn.window import window_delay

DEFAULTS = {"labels": "top1", "masks": "miou", "boxes": "map"}
"""The metric by the array that stands beside the inputs."""

Window = tuple[int, Delay]
"""T, and the delay that is asked for there."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Options of an evaluation."""

    timesteps: Sequence[int] | None = None
    """Each T that gets a row; None: the model's own."""
    delay: Delay = None
    metric: str | None = None
    """The name of the metric; None: by the data."""
    output: str | None = None
    """The output that is scored; None: the one whose shape fits."""
    limit: int | None = None
    """Score at most this many samples, the first ones."""
    threads: int | None = None
    providers: Sequence[Provider] = (CPU,)
    """Where both models are computed, as `protos.providers.usable` returns them."""
    float16: bool = False
    """Whether spikes cross weights in float16."""
    kernels: bool = False
    """Whether the package onnx2snn-kernels computes the elementwise operators."""
    energy: bool = True
    """Whether synaptic operations are counted."""
    every_step: bool | None = None
    """Whether every T up to the largest is scored for the energy; None: but for a slow metric."""
    prices: Prices = field(default_factory=Prices)
    stream: bool = False
    """Whether the samples are scored as frames of a stream, too."""

    exit_margin: float | str | None = None
    """Samples stop at this margin, too; "auto": the smallest one that loses little."""
    exit_data: object = None
    """Labelled data that "auto" chooses the margin on."""
    exit_loss: float | None = None
    """The most percentage points that "auto" may lose."""
    baseline: Baseline | None = None
    """A result that this one is to be held against: it has to be one of the same question."""

    def check(self) -> None:
        """Raise UsageError for an option that makes no sense, before anything is read."""
        _check_count("limit", self.limit)
        _check_count("threads", self.threads, least=0)
        if isinstance(self.timesteps, int | str):
            raise UsageError(f"timesteps is {self.timesteps!r}; it has to be a list of numbers")
        for t in self.timesteps or ():
            _check_count("timesteps", t)
        self._check_exit()
        if self.metric is not None and ":" not in str(self.metric):
            metric_class(self.metric)

    def _check_exit(self) -> None:
        if self.exit_margin == "auto":
            if self.exit_data is None or self.exit_loss is None:
                raise UsageError(
                    "an exit margin 'auto' needs data to choose it on, which are not those that "
                    "are scored (--exit-data), and the points it may lose (--max-drop)"
                )
        elif self.exit_margin is not None:
            check_margin(self.exit_margin)

    def times(self, simulation: Simulation) -> list[int]:
        """Return each T that gets a row."""
        return list(self.timesteps or [simulation.metadata["timesteps"]])

    def windows(self, simulation: Simulation, metric: Metric) -> list[Window]:
        """Return the windows to score: those that get a row, then those for the energy alone."""
        times = self.times(simulation)
        for t in times:
            steps_left_out((t, self.delay), simulation)  # refuses a delay that leaves no step
        every_step = metric.every_step if self.every_step is None else self.every_step
        if self.energy and every_step:
            # the smallest T at which a delay of a fixed number leaves a step
            first = 1
            if isinstance(self.delay, int):
                first = self.delay + 1
            others = range(first, max(times))
            times += [t for t in others if t not in times]
        return [(t, self.delay) for t in times]


def metric_names(asked: str | None, samples: Samples) -> list[str]:
    """Return the metric that is asked for, or by default those for the arrays beside the inputs.

    Labels with fractions are a regression's.
    """
    if asked is not None:
        return [asked]
    found = [name for key, name in DEFAULTS.items() if key in samples.targets]
    if has_fractions(samples):
        found = [name if name != "top1" else "mse" for name in found]
    return found or ["agreement"]


def _check_count(name: str, value: object, least: int = 1) -> None:
    """Raise UsageError for anything but None and whole numbers, NumPy's among them."""
    if value is None:
        return
    if not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} is {value!r}; it has to be {least} or more")


def steps_left_out(window: Window, simulation: Simulation) -> int:
    """Return the number of time-steps that a window leaves out; UsageError where it leaves none."""
    t, delay = window
    return window_delay(simulation.metadata, delay, t)


def check_ann(source: LoadedModel) -> None:
    """Raise UsageError where the first model is a spiking one."""
    if metadata_of(source.proto) is not None:
        raise UsageError(f"'{source.name}' is a spiking model; give the ANN first, then the SNN")


def check_pair(source: LoadedModel, simulation: Simulation) -> None:
    """Raise UsageError where ANN and SNN differ in names, types or shapes of inputs or outputs."""
    inputs = mismatch(input_specs(source.proto), simulation.inputs)
    outputs = mismatch(output_specs(source.proto), simulation.outputs)
    found = inputs or outputs
    if found is not None:
        raise UsageError(
            f"'{source.name}' and the spiking model do not fit together ({found}): "
            "the SNN was made from another model"
        )


def open_metric(
    name: str, source: LoadedModel, samples: Samples, output: str | None, stack: ExitStack
) -> Metric:
    """Return the metric of a name.

    Args:
        name: A built-in metric's, or a `Script`.
        source: The ANN.
        samples: The data it is scored on.
        output: The output to score; None: the one that fits.
        stack: As long as it is open, a script can import its neighbours.

    Raises:
        UsageError: There is no such metric or output, or a script is named by a plain string.
        DataError: There is no such script.
    """
    outputs = [spec.name for spec in output_specs(source.proto)]
    script, _, function = name.rpartition(":")
    if not script.endswith(".py"):
        natures = with_targets(natures_of(source.proto), output_specs(source.proto), samples)
        return metric_class(name)(outputs, output, natures)
    path = Path(script).absolute()
    if not os.path.isfile(path):  # noqa: PTH113 - `pathlib` raises where a name is too long
        raise DataError(f"{path} does not exist: check the path of the metric")
    if not isinstance(name, Script):
        raise UsageError(
            f"metric '{name}' would run code: give onnx2snn.script({name!r}) if it may"
        )
    found = stack.enter_context(script_function(path, function))
    return Scripted(outputs, name, found, samples.targets, output)
