"""The simulation of a spiking model: time goes on, states are kept, and answers are read from them.

`SpikingSession` is its public face. The other stages of the package simulate with this class itself, since it answers
for several windows out of one simulation, and tells counts without copying them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property, partial
from typing import TypeVar

from onnx2snn.aliases import Array, Delay, ModelSource
from onnx2snn.errors import UsageError
from onnx2snn.protos.load import load_model
from onnx2snn.protos.sessions import computing
from onnx2snn.protos.specs import TensorSpec, input_specs, output_specs
from onnx2snn.runtime.answers import Answers, Span, Sums, last_uses
from onnx2snn.runtime.cut import carried_states
from onnx2snn.runtime.feeds import check_goes_on, checked_feed
from onnx2snn.runtime.parts import Opening, Parts, with_outputs
from onnx2snn.runtime.plan import Planner, Schedule
from onnx2snn.runtime.schedules import Moment
from onnx2snn.runtime.spike_counters import counters, counters_by_site
from onnx2snn.runtime.states import CoreStates, Values, ort_values
from onnx2snn.runtime.steps import Step
from onnx2snn.snn.format import Metadata, NeuronEntry
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import read_step_model
from onnx2snn.snn.window import resolve_delay

Read = TypeVar("Read")


class Simulation:
    """A spiking model in time: its parts, the states after the last step, and what can be told of them."""

    def __init__(
        self,
        model: ModelSource,
        opening: Opening | None = None,
        *,
        schedule: Schedule = "auto",
        count_spikes: bool = False,
        count_activity: bool = False,
    ) -> None:
        """Cut the model and open its sessions.

        Args:
            model: A path, bytes or ModelProto as `convert` made it.
            opening: How sessions are opened; None: on the CPU, with as many threads as onnxruntime chooses.
            schedule: How the core is run.
            count_spikes: Whether `spike_counts` can be asked for.
            count_activity: Whether `activity` can be asked for.

        Raises:
            ModelFileError: The file is not a spiking model.
            UsageError: The schedule is "batched", and an operator forbids it.
        """
        loaded = load_model(model)
        self.model = read_step_model(loaded.proto, os.fspath(loaded.name))
        self.inputs = _named(input_specs(self.model.proto), self.model.inputs)
        self.outputs = _named(output_specs(self.model.proto), self.model.outputs)
        self._schedule = schedule
        self._opening = opening or Opening()
        self._count = counters(self.model, counts=count_spikes, activity=count_activity)
        self._parts = Parts(self.model, self._count, self._opening)
        sums = [s.input for s in self.model.states if s.mean is not None]
        restarted = [*sums, *(counter.input for counter in self._count)]
        self.states = CoreStates(carried_states(self.model, self._count), restarted)
        self._answers = Answers(self.model, self._parts, self.states)
        self._planner = Planner(self.model, self.inputs, self._parts, self.states)
        self._shapes: dict[str, tuple[int, ...]] = {}
        """Of the inputs of the last run."""
        self._given: Values = {}
        """What the last pass of the core was given, if it was one step of the whole batch."""
        self._moment = 0
        """Counts steps, runs and resets: a `Step` may be read as long as it stands still."""
        self._planner.open_core(schedule)

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
        self.states.chunks = []
        self._moment += 1

    # Answers.

    def answers(
        self, feed: Mapping[str, Array], windows: Sequence[tuple[int, Delay]], *, reset: bool = True
    ) -> Iterator[tuple[int, list[Array]]]:
        """Yield the answers for several windows out of one simulation, as simulated time gets there.

        Whatever is told beside, such as `activity`, is that of the moment.

        Args:
            feed: The inputs by name.
            windows: Numbers of time-steps, each with its delay as in `SpikingSession.run`.
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
        needed = last_uses(spans)
        stops = sorted({span.end for span in spans} | set(needed))
        sums: dict[int, Sums] = {}
        for t, static in self._advance(feed, stops, self._schedule, reset=reset):
            sums[t] = self._answers.sums(copy=t in needed)
            for index, span in enumerate(spans):
                if span.end == t:
                    with computing(self.inputs):
                        answer = self._answers.answer(static, sums, span)
                    yield index, answer
            sums = {start: kept for start, kept in sums.items() if needed.get(start, 0) > t}

    def run_at(
        self, feed: Mapping[str, Array], windows: Sequence[tuple[int, Delay]], *, reset: bool = True
    ) -> list[list[Array]]:
        """Return what `answers` yields, in the order of the windows."""
        found = dict(self.answers(feed, windows, reset=reset))
        return [found[index] for index in range(len(windows))]

    def run(
        self,
        feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
    ) -> list[Array]:
        """Return the answer for one window; as `SpikingSession.run` for all outputs."""
        (answer,) = self.run_at(feed, [(self._timesteps(timesteps), delay)], reset=reset)
        return answer

    def span(self, timesteps: int | None, delay: Delay) -> Span:
        """Return the steps of a window; None stands for the model's own. UsageError where no step is left."""
        end = self._timesteps(timesteps)
        stored, auto = self.metadata["delay"], self.metadata["delay_auto"]
        return Span(resolve_delay(delay, end, stored, auto), end)

    def _timesteps(self, timesteps: int | None) -> int:
        if timesteps is None:
            return int(self.metadata["timesteps"])
        return timesteps

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
        for t, static in self._advance(feed, stops, "stepped", reset=reset):
            if t == span.start:
                at_start[t] = self._answers.sums()
            so_far = Span(span.start if t > span.start else 0, t)
            outputs = partial(self._outputs_so_far, static, at_start, so_far)
            read = partial(self._in_time, self._moment, t)
            yield Step(t, partial(read, outputs), partial(read, self._last_spikes))

    def _in_time(self, moment: int, t: int, read: Callable[[], Read]) -> Read:
        """Read something of a step, as long as it is the last one."""
        if self._moment != moment:
            raise UsageError(
                f"step {t} is over; read its outputs and spikes before the next step or run"
            )
        return read()

    def _outputs_so_far(
        self, static: Mapping[str, Array], at_start: Mapping[int, Sums], span: Span
    ) -> list[Array]:
        sums = {**at_start, span.end: self._answers.sums()}
        with computing(self.inputs):
            return self._answers.answer(static, sums, span)

    def _last_spikes(self) -> dict[str, Array]:
        """Repeat the last step from what it started with, with the spikes as outputs."""
        observer = self._parts.observer
        feed = {value.name: self._given[value.name] for value in observer.get_inputs()}
        tensors = {n["name"]: n["spikes"] for n in self.neurons}
        found = observer.run_with_ort_values(list(tensors.values()), feed)
        return {site: value.numpy() for site, value in zip(tensors, found, strict=True)}

    # The states.

    def spike_counts(self) -> dict[str, Array]:
        """Return the spikes of each neuron since the last run began, by site, those taken back subtracted.

        UsageError without `count_spikes=True`.
        """
        return self._counted("count_spikes", absolute=False, copy=True)

    def activity(self, *, copy: bool = True) -> dict[str, Array]:
        """Return the summed heights of each neuron's spikes since the last run began, by site.

        A spike of -1 counts as 1. What is not copied holds until the next step. UsageError without `count_activity=True`.
        """
        return self._counted("count_activity", absolute=True, copy=copy)

    def _counted(self, option: str, *, absolute: bool, copy: bool) -> dict[str, Array]:
        found = counters_by_site(self.model, self._count, absolute=absolute)
        if len(found) < len(self.neurons) or not self.states.chunks:
            raise UsageError(
                f"there are no spike counts; open the session with {option}=True and run it first"
            )
        return {site: self.states.value(c.input, copy=copy) for site, c in found.items()}

    def potentials(self) -> dict[str, Array]:
        """Return the membrane potentials less their initial value, in threshold units, by site.

        Nothing before the first run.
        """
        if not self.states.chunks:
            return {}
        return {site: self.states.value(name) for site, name in self._membranes.items()}

    @cached_property
    def _membranes(self) -> dict[str, str]:
        return {node.name: node.input[1] for node in neuron_nodes(self.model.proto)}

    def answer_size(self) -> int:
        """Return how many numbers the sums hold that the last answer was made of."""
        return sum(total.size for total in self._answers.sums(copy=False).values())

    # Time.

    def _advance(
        self, feed: Mapping[str, Array], stops: Sequence[int], schedule: Schedule, *, reset: bool
    ) -> Iterator[tuple[int, dict[str, Array]]]:
        """Simulate; yield at each of the (ascending) steps asked for: (the step, what is constant in time)."""
        values = checked_feed(feed, self.inputs)
        with computing(self.inputs):
            static = with_outputs(self._parts.encoder, values)
        self._moment += 1
        old: dict[str, Array] = {}
        if self.states.chunks and not reset:
            check_goes_on(values, self._shapes)
            old = self.states.going_on()
        self._shapes = {name: value.shape for name, value in values.items()}

        to_core = {name: static[name] for name in self.model.to_core}
        with computing(self.inputs):
            plan = self._planner.plan(schedule, to_core)
        runs = []
        for chunk in plan.chunks:
            start = self.states.zeros | ort_values(old, chunk)
            runs.append(plan.way.run(ort_values(to_core, chunk), start, stops))
        with ThreadPoolExecutor(self._opening.workers) as pool:
            for _ in stops:
                with computing(self.inputs):
                    moments = _side_by_side(runs, pool)
                self.states.chunks = [moment.values for moment in moments]
                self._given = moments[0].given
                self._moment += 1
                yield moments[0].t, static


def _side_by_side(runs: Sequence[Iterator[Moment]], pool: Executor) -> list[Moment]:
    """Let each chunk get to its next stop."""
    if len(runs) == 1:
        return [next(runs[0])]
    return list(pool.map(next, runs))


def _named(specs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The ANN's own among a step graph's inputs or outputs."""
    return tuple(spec for spec in specs if spec.name in names)
