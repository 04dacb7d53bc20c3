"""The simulation of a spiking model: time goes on, and answers are read from the states.

`SpikingSession` is its public face. Other stages of the package simulate with this class itself: it
answers for several windows out of one simulation, and tells counts without copying them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from onnx2snn.aliases import Array, Delay, ModelSource
from onnx2snn.errors import UsageError
from onnx2snn.protos.computing import simulating
from onnx2snn.protos.load import load_model
from onnx2snn.protos.specs import TensorSpec, input_specs, output_specs
from onnx2snn.runtime.answers import Answers, Span, Sums, last_uses
from onnx2snn.runtime.cut import carried_states
from onnx2snn.runtime.division import Division
from onnx2snn.runtime.feeds import checked_feed
from onnx2snn.runtime.parts import Opening, Parts
from onnx2snn.runtime.pieces import pieces_of
from onnx2snn.runtime.plan import Schedule
from onnx2snn.runtime.readings import Readings
from onnx2snn.runtime.runs import Answered, LastRuns, Run, ThreadRuns, in_time
from onnx2snn.runtime.spike_counters import counters
from onnx2snn.runtime.states import CoreStates
from onnx2snn.runtime.steps import Step
from onnx2snn.runtime.time_loop import TimeLoop
from onnx2snn.runtime.whole import WholeRuns
from onnx2snn.snn.format import Metadata, NeuronEntry
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.step_model import StepModel, read_step_model
from onnx2snn.snn.window import window_delay

Windows = Sequence[tuple[int, Delay]]
"""Numbers of time-steps, each with its delay, as `SpikingSession.run` takes them."""


class Simulation(Readings):
    """A spiking model in time: its parts, its runs, and their answers.

    Threads may share it: each call has a run of its own, each thread a last run (`runtime.runs`).
    """

    def __init__(
        self,
        model: ModelSource | StepModel,
        opening: Opening | None = None,
        *,
        schedule: Schedule = "auto",
        count_spikes: bool = False,
        count_activity: bool = False,
        both_sizes: bool = False,
    ) -> None:
        """Cut the model; a session of its core is opened when first needed, or by `open_core`.

        Args:
            model: A path, bytes or ModelProto as `convert` made it, which are checked, or a step
                model, which is not copied.
            opening: How sessions are opened; None: on the CPU, with as many threads as onnxruntime
                chooses.
            schedule: How the core is run.
            count_spikes: Whether `spike_counts` can be asked for.
            count_activity: Whether `activity` can be asked for.
            both_sizes: Whether `activity` can tell the number of spikes from their heights.

        Raises:
            ModelFileError: The file is not a spiking model.
            UsageError: The schedule is "batched", and an operator forbids it.
        """
        self.model = step_model_of(model)
        proto = self.model.proto
        self.inputs = _with_names(self.model.inputs, input_specs(proto))
        self.outputs = _with_names(self.model.outputs, output_specs(proto))
        self._count = counters(
            self.model, counts=count_spikes, activity=count_activity, both_sizes=both_sizes
        )
        self._parts = Parts(self.model, self._count, opening or Opening())
        self.states = self._fresh_states()
        self._answers = Answers(self.model, self._parts)
        self._runs = LastRuns()
        self._division = Division(self.model, self.inputs, self._parts, self._count)
        self._loop = TimeLoop(self.model, self._division, self._parts, self.states)
        self._whole = WholeRuns(self._division, self._parts.opening, schedule)
        self._schedule = schedule
        self._loop.planner.check(schedule)

    def open_core(self) -> None:
        """Open the session that a run of one sample in the model's own window needs."""
        own = self.span(None, None)
        if not self._whole.opened(own):
            self._loop.planner.open_core(self._schedule)

    def _fresh_states(self) -> CoreStates:
        carried = carried_states(self.model, self._count)
        # a run that goes on from the last one keeps potentials, but counts and sums afresh
        counts = [counter.input for counter in self._count]
        sums = [state.input for state in self.model.states if state.mean is not None]
        unsigned = [n["name"] for n in self.neurons if not BY_OP[n["kind"]].signed]
        membranes = [self._membranes[name] for name in unsigned]
        differential = self.model.coding == "differential"
        device = self._parts.opening.device
        restarted = [*counts, *sums]
        return CoreStates(carried, restarted, membranes, all_go_on=differential, device=device)

    @property
    def metadata(self) -> Metadata:
        """The model's description."""
        return self.model.metadata

    @property
    def neurons(self) -> list[NeuronEntry]:
        """The neuron sites: name, kind, source node, spike tensor, channels, shape."""
        return list(self.metadata["neurons"])

    def reset(self) -> None:
        """Forget all states: the next run starts from the initial potentials."""
        self._runs.forget()

    def _begin(self, feed: Mapping[str, Array], before: Run | None) -> tuple[ThreadRuns, Run]:
        """Begin a run; whatever was still to be read of this thread's last one is over."""
        runs = self._runs.of_thread()
        run = self._loop.begin(feed, before)
        runs.current = run
        return runs, run

    def _before(self, *, reset: bool) -> Run | None:
        """Return the run that the next one goes on from; None: from the initial potentials."""
        return None if reset else self._runs.last()

    # Answers.

    def answers(
        self, feed: Mapping[str, Array], windows: Windows, *, reset: bool = True
    ) -> Iterator[tuple[int, list[Array]]]:
        """Yield the answers for several windows out of one simulation, as time gets there.

        Whatever is told beside, such as `activity`, is that of the moment.

        Args:
            feed: The inputs by name.
            windows: The windows, in any order.
            reset: Whether to start from the initial potentials.

        Yields:
            The index of a window, and its answer in the order of the model's outputs.

        Raises:
            UsageError: A number of steps or a delay is impossible, or there is no window.
            DataError: The inputs do not fit.
        """
        if not windows:
            raise UsageError("no number of time-steps is given; name at least one")
        spans = [self.span(timesteps, delay) for timesteps, delay in windows]
        ends = {span.end for span in spans}
        needed = last_uses(spans)
        stops = sorted(ends.union(needed))
        sums: dict[int, Sums] = {}
        runs, run = self._begin(feed, self._before(reset=reset))
        for t in self._loop.advance(run, stops, self._schedule):
            # sums that are needed later on are copied, since the next step writes over them
            sums[t] = self._answers.sums(run, copy=t in needed)
            if t in ends:
                self._runs.remember(runs, run)
            for index, span in enumerate(spans):
                if span.end == t:
                    yield index, self._answer(run, sums, span)
            # keep the sums at the starts of windows that are still to end
            for start in list(sums):
                if needed.get(start, 0) <= t:
                    del sums[start]

    def run_at(
        self, feed: Mapping[str, Array], windows: Windows, *, reset: bool = True
    ) -> list[list[Array]]:
        """Return all that `answers` yields, in the order of the windows."""
        found = dict(self.answers(feed, windows, reset=reset))
        return [found[index] for index in sorted(found)]

    def run(
        self,
        feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
    ) -> list[Array]:
        """Return the answer for one window; as `SpikingSession.run` for all outputs."""
        span = self.span(timesteps, delay)
        answer = self._without_states(feed, span) if reset else None
        if answer is None:
            (answer,) = self.run_at(feed, [(span.end, span.start)], reset=reset)
            return answer
        simulate = partial(self._loop.simulated, end=span.end, schedule=self._schedule)
        self._runs.remember_answered(Answered(feed, simulate))
        return answer

    def _without_states(self, feed: Mapping[str, Array], span: Span) -> list[Array] | None:
        """Return the answer of a run whose states nobody holds; None: it takes them to be held."""
        answer = self._whole.answer(feed, span)
        if answer is not None or not self.states.device.is_host:
            return answer
        values = checked_feed(feed, self.inputs)
        pieces = pieces_of(values, self._division)
        if len(pieces) == 1:
            return None
        found = []
        for piece in pieces:
            part = {name: value[piece] for name, value in values.items()}
            found.append(self._answer_alone(part, span))
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _answer_alone(self, feed: Mapping[str, Array], span: Span) -> list[Array]:
        """Return the answer of a run that is nobody's last one."""
        run = self._loop.begin(feed, None)
        sums: dict[int, Sums] = {}
        for t in self._loop.advance(run, sorted({span.start, span.end} - {0}), self._schedule):
            sums[t] = self._answers.sums(run, copy=t < span.end)
        return self._answer(run, sums, span)

    def span(self, timesteps: int | None, delay: Delay) -> Span:
        """Return the steps of a window, None for the model's own; UsageError where none is left."""
        end = self._timesteps(timesteps)
        start = window_delay(self.metadata, delay, end)
        return Span(start, end)

    def _timesteps(self, timesteps: int | None) -> int:
        if timesteps is None:
            return self.metadata["timesteps"]
        return timesteps

    def _answer(self, run: Run, sums: Mapping[int, Sums], span: Span) -> list[Array]:
        with simulating(inputs=self.inputs):
            return self._answers.answer(run.static, sums, span)

    # Frame by frame.

    def stream(
        self, feeds: Iterable[Mapping[str, Array]], timesteps: int | None = None, *, reset: bool
    ) -> Iterator[list[Array]]:
        """Return an iterator over the answers for frames, each of which goes on from the last.

        Whatever is told beside, such as `activity`, is that of the frame.

        Args:
            feeds: The inputs of each frame by name; a frame is asked for when the last is answered.
            timesteps: Time-steps a frame; None: the model's own.
            reset: Whether the first frame starts from nothing, or from the last run.

        Raises:
            UsageError: A number of steps is impossible, or the model is rate-coded.
        """
        self.require_streams()
        span = self.span(timesteps, 0)
        return self._streamed(feeds, span, self._before(reset=reset))

    def require_streams(self) -> None:
        """Raise UsageError for a model whose states say nothing about another input."""
        if self.model.coding != "differential":
            raise UsageError(
                "streams need a spiking model of differential coding: convert with "
                "--coding differential, or run frame by frame with reset=False"
            )

    def _streamed(
        self, feeds: Iterable[Mapping[str, Array]], span: Span, before: Run | None
    ) -> Iterator[list[Array]]:
        for feed in feeds:
            runs, run = self._begin(feed, before)
            for t in self._loop.advance(run, [span.end], self._schedule):
                self._runs.remember(runs, run)
                sums = {t: self._answers.sums(run, copy=False)}
            answer = self._answer(run, sums, span)
            yield answer
            # not the last run of the thread: streams may take turns
            before = run

    # Step by step.

    def steps(
        self,
        feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
    ) -> Iterator[Step]:
        """Step through time, one `Step` each; as `SpikingSession.steps`."""
        span = self.span(timesteps, delay)
        stops = range(1, span.end + 1)
        at_start: dict[int, Sums] = {}
        runs, run = self._begin(feed, self._before(reset=reset))
        for t in self._loop.advance(run, stops, "stepped"):
            self._runs.remember(runs, run)
            if t == span.start:
                at_start[t] = self._answers.sums(run)
            # before the delay is over the answer is the mean since t = 1
            start = span.start if t > span.start else 0
            outputs = partial(self._outputs_so_far, run, at_start, Span(start, t))
            spikes = partial(self._last_spikes, run)
            read = partial(in_time, runs, run, t)
            yield Step(t, partial(read, outputs), partial(read, spikes))

    def _outputs_so_far(self, run: Run, at_start: Mapping[int, Sums], span: Span) -> list[Array]:
        sums = dict(at_start)
        sums[span.end] = self._answers.sums(run)
        return self._answer(run, sums, span)


def step_model_of(model: ModelSource | StepModel) -> StepModel:
    """Return a spiking model as a step model; ModelFileError where a file is none."""
    if isinstance(model, StepModel):
        return model
    loaded = load_model(model)
    return read_step_model(loaded.proto, os.fspath(loaded.name))


def _with_names(names: Sequence[str], specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The ANN's own among a step graph's inputs or outputs."""
    return tuple(spec for spec in specs if spec.name in names)
