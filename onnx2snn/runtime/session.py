"""The public face of the stateful runtime, which runs a spiking model with stock onnxruntime.

The one file is cut into encoder (run once per input), core (run every step, its states fed back
without a copy, or over many steps at once: `runtime.schedules`) and readout (run when an answer is
asked for).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import onnxruntime as ort

from onnx2snn.aliases import Array, Delay, ModelSource
from onnx2snn.errors import UsageError
from onnx2snn.protos.providers import usable
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.runtime.early_exit import check_margin, run_early, windows_up_to
from onnx2snn.runtime.frames import Frames, feeds_of
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.plan import Schedule
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.runtime.steps import Step
from onnx2snn.snn.format import Metadata, NeuronEntry


class SpikingSession:
    """Runs a spiking model; the counterpart of `onnxruntime.InferenceSession`.

    The batch size is free at run time. Every schedule computes the same up to rounding (in float32
    a spike may fall one step earlier or later).
    """

    def __init__(  # noqa: PLR0913 - those of InferenceSession, and the options of this class
        self,
        model: ModelSource,
        sess_options: ort.SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        *,
        threads: int | None = None,
        float16: bool = False,
        kernels: bool = False,
        schedule: Schedule = "auto",
        count_spikes: bool = False,
        count_activity: bool = False,
    ) -> None:
        """Cut the model and open its sessions.

        Args:
            model: A path, bytes or ModelProto as `convert` made it.
            sess_options: Options for onnxruntime.
            providers: Execution providers for onnxruntime, in short as well (`["cuda:1"]`);
                None is the CPU. States stay in the memory of the first one's device.
            threads: Short for options with that number of threads.
            float16: Whether spikes cross weights in float16, the rest in float32 (rate coding).
            kernels: Whether the package onnx2snn-kernels computes the elementwise operators, many
                in one pass; the answers are the same.
            schedule: "stepped" runs the core once a time-step, "batched" over many time-steps at
                once, time folded into the batch axis; "auto" does that where the network allows it
                and memory holds more than one step. `steps` is always stepped.
            count_spikes: Whether to add a counter to every neuron (`spike_counts`).
            count_activity: Whether to add a counter of spikes whatever their sign to every neuron
                (`activity`).

        Raises:
            ModelFileError: The file is not a spiking model.
            UsageError: The schedule is unknown, or it is "batched" and an operator forbids it; or a
                provider is unknown or cannot start here; or the coding forbids float16;
                or kernels are not installed, or have to run elsewhere than on the CPU.
        """
        schedules = get_args(Schedule)
        if schedule not in schedules:
            raise UsageError(
                f"schedule is {schedule!r}; it has to be one of {', '.join(schedules)}"
            )
        self._exits = threading.local()
        self._simulation = Simulation(
            model,
            Opening(sess_options, usable(providers), threads, float16=float16, kernels=kernels),
            schedule=schedule,
            count_spikes=count_spikes,
            count_activity=count_activity,
        )
        self._simulation.open_core()

    @property
    def metadata(self) -> Metadata:
        """The model's description, as `metadata_props["onnx2snn"]` holds it."""
        return self._simulation.metadata

    @property
    def neurons(self) -> list[NeuronEntry]:
        """The neuron sites: name, kind, source node, spike tensor, channels, shape."""
        return self._simulation.neurons

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The ANN's own inputs."""
        return self._simulation.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The ANN's own outputs."""
        return self._simulation.outputs

    def reset(self) -> None:
        """Forget all states: the next run starts from the initial potentials."""
        self._simulation.reset()

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
        exit_margin: float | None = None,
    ) -> list[Array]:
        """Return the outputs after some time-steps, like `InferenceSession.run`.

        Args:
            output_names: The outputs to return; None: all of them.
            input_feed: The inputs by name.
            timesteps: The number of steps; None: the model's own.
            delay: Steps left out of the mean: a number, "half", "auto", or None for the model's
                own.
            reset: Whether to start from the initial potentials. False goes on
                from this thread's last run: exactly where the inputs are the same, with a bounded
                share of the membrane potentials where they are not. The mean starts afresh.
            exit_margin: A sample stops when its best class is that of the step before and leads by
                this difference of probabilities, from 0 to 1; its outputs are those of that step,
                and `exit_steps` tells it. The run ends with its last sample. None: all run to T.

        Raises:
            UsageError: Steps or delay are impossible, an output's name is unknown, or with
                `exit_margin` the model has no single output of class scores.
            DataError: The inputs do not fit.
        """
        names = [spec.name for spec in self.outputs]
        for name in output_names or ():
            if name not in names:
                raise UsageError(f"the model has no output '{name}'; it has {', '.join(names)}")
        if exit_margin is None:
            answer = self._simulation.run(input_feed, timesteps, delay, reset=reset)
        else:
            check_margin(exit_margin)
            windows = windows_up_to(self._simulation, timesteps, delay)
            answer, steps = run_early(self._simulation, input_feed, windows, exit_margin, reset)
            self._exits.steps = steps
        if output_names is None:
            return answer
        found = dict(zip(names, answer, strict=True))
        return [found[name] for name in output_names]

    def steps(
        self,
        input_feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
    ) -> Iterator[Step]:
        """Step through time, one `Step` each; arguments and errors are those of `run`."""
        return self._simulation.steps(input_feed, timesteps, delay, reset=reset)

    def exit_steps(self) -> Array:
        """Return the time-step that each sample of this thread's last early exit stopped at, [N].

        UsageError where there was no run with `exit_margin`.
        """
        steps: Array | None = getattr(self._exits, "steps", None)
        if steps is None:
            raise UsageError("no sample has stopped early; give run an exit_margin first")
        return steps

    def stream(
        self, frames: Frames, timesteps: int | None = None, *, reset: bool = True
    ) -> Iterator[list[Array]]:
        """Return an iterator over the answers for frames, of a model in differential coding.

        Each frame goes on from the estimates after the one before, so that it costs its differences
        alone. `spike_counts` and `activity` are those of the frame that was answered last.

        Args:
            frames: An array [N, ...], or a dict of those by input name, whose frames run one after
                the other as batches of one; or anything that yields frames: an array as the model
                takes it, or a dict of them by input name. It may never end.
            timesteps: Time-steps a frame; None: the model's own.
            reset: Whether the first frame starts from nothing, or from the last run.

        Yields:
            The outputs for a frame, in the order of `outputs`.

        Raises:
            UsageError: The model is rate-coded, steps are impossible, or a frame of a model with
                several inputs is not told by name.
            DataError: A frame does not fit, or has another shape than the one before.
        """
        feeds = feeds_of(frames, self.inputs)
        return self._simulation.stream(feeds, timesteps, reset=reset)

    def spike_counts(self) -> dict[str, Array]:
        """Return the spikes of each neuron since the last run began, by site.

        Those taken back are subtracted. UsageError without `count_spikes=True`.
        """
        return self._simulation.spike_counts()

    def activity(self) -> dict[str, Array]:
        """Return the summed heights of each neuron's spikes since the last run began, by site.

        A spike of -1 counts as 1. UsageError without `count_activity=True`.
        """
        return self._simulation.activity()

    def potentials(self) -> dict[str, Array]:
        """Return the membrane potentials after the last run, by site.

        They are less their initial value, in threshold units.
        """
        return self._simulation.potentials()
