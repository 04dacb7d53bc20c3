"""The stateful runtime: runs a spiking model through time with stock onnxruntime.

The one file is cut into encoder (run once per input), core (run every step, its states fed back without a copy, or over
many steps at once: `runtime.schedules`) and readout (run when an answer is asked for).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array, Delay, ModelSource
from onnx2snn.errors import DataError, UsageError
from onnx2snn.protos.load import load_model
from onnx2snn.protos.sessions import computing, session_options, session_with
from onnx2snn.protos.specs import TensorSpec, input_specs, output_specs
from onnx2snn.runtime import cut, time_batched
from onnx2snn.runtime.schedules import (
    NEURON_STEPS,
    Batched,
    Carried,
    Moment,
    Stepped,
    Values,
    batch_of,
    neurons_of,
    ort_values,
    pieces,
)
from onnx2snn.snn.format import Metadata, NeuronEntry
from onnx2snn.snn.neurons import BY_OP, neuron_nodes
from onnx2snn.snn.step_model import StepModel, read_step_model
from onnx2snn.snn.window import resolve_delay

CPU = "CPUExecutionProvider"

Schedule = Literal["auto", "stepped", "batched"]
"""How the core is run: a pass for each time-step, many time-steps in one pass, or whichever is faster."""


@dataclass(frozen=True)
class Step:
    """One time-step of a run.

    `t` counts from 1. `outputs` and `spikes` are computed when first read, which has to be before the next step.
    """

    t: int
    _outputs: Callable[[], list[Array]]
    _spikes: Callable[[], dict[str, Array]]

    @cached_property
    def outputs(self) -> list[Array]:
        """The answer so far, in the order of the model's outputs: the mean since the delay, before that since t = 1."""
        return self._outputs()

    @cached_property
    def spikes(self) -> dict[str, Array]:
        """The spikes of this step by neuron site, 0 or 1."""
        return self._spikes()


class SpikingSession:
    """Runs a spiking model; the counterpart of `onnxruntime.InferenceSession`.

    `model` is a path, bytes or ModelProto as `convert` made it; `sess_options` and `providers` go to onnxruntime, and
    `threads` is short for options with that number of threads. The batch size is free at run time.
    `schedule`: "stepped" runs the core once a time-step, "batched" over many time-steps at once, time folded into the
    batch axis; "auto" does that where the network allows it and memory holds more than one step. Both compute the same
    up to rounding (in float32 a spike may fall one step earlier or later); `steps` is always stepped.
    `count_spikes` adds a counter to every neuron (`spike_counts`), `count_activity` one of spikes whatever their sign
    (`activity`); without them nothing is counted.
    Raises ModelFileError for a file that is not a spiking model, UsageError for "batched" where an operator forbids it.
    """

    def __init__(
        self,
        model: ModelSource,
        sess_options: ort.SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        *,
        threads: int | None = None,
        schedule: Schedule = "auto",
        count_spikes: bool = False,
        count_activity: bool = False,
    ) -> None:
        """Cut the model and open its sessions."""
        if schedule not in get_args(Schedule):
            raise UsageError(
                f"schedule is {schedule!r}; it has to be one of {', '.join(get_args(Schedule))}"
            )
        loaded = load_model(model)
        self._model = read_step_model(loaded.proto, os.fspath(loaded.name))
        self._options, self._providers = sess_options, list(providers or [CPU])
        self._threads, self._schedule = threads, schedule
        self._encoder = self._open(cut.encoder(self._model), around=True)
        self._counters = cut.counters(self._model, counts=count_spikes, activity=count_activity)
        self._readout = self._open(cut.readout(self._model), around=True)
        states = [(s.input, s.output, s.rank) for s in cut.core_states(self._model)]
        self._states: Carried = states + [(c.input, c.output, c.rank) for c in self._counters]
        self._fresh = {
            s.input for s in self._model.states if s.mean is not None or s.kind == "step"
        } | {c.input for c in self._counters}
        self._sizes: dict[tuple[tuple[int, ...], ...], int] = {}
        """Neurons, by the shapes of what the encoder hands over."""
        self._shapes: dict[str, tuple[int, ...]] = {}
        """Of the inputs of the last run."""
        self._values: list[Values] = []
        """The states, one entry a piece of the batch."""
        self._moment = 0
        """Counts steps, runs and resets: a `Step` may be read as long as it stands still."""
        if schedule == "stepped" or (schedule == "auto" and isinstance(self._together, str)):
            _ = self._core
        else:
            _ = self._batched_core

    @cached_property
    def _batched_core_of_a_worker(self) -> ort.InferenceSession:
        opened = self._open_batched(session_options(1))
        assert not isinstance(opened, str)
        return opened

    def _open(
        self, proto: onnx.ModelProto | None, *, around: bool = False
    ) -> ort.InferenceSession | None:
        """`around`: run before or after the core, whose threads must not find theirs still spinning."""
        if proto is None:
            return None
        options = self._options or session_options(self._threads, spinning=not around)
        return session_with(proto, options, self._providers, used_up=True)

    @cached_property
    def _core(self) -> ort.InferenceSession:
        session = self._open(cut.core(self._model, count=self._counters))
        assert session is not None
        return session

    def _open_batched(self, options: ort.SessionOptions) -> ort.InferenceSession | str:
        """The time-batched core, or why time cannot be folded into this model's batch axis."""
        made = time_batched.batched_core(self._model, self._counters)
        return (
            made
            if isinstance(made, str)
            else session_with(made, options, self._providers, used_up=True)
        )

    @cached_property
    def _together(self) -> ort.InferenceSession | str:
        return self._open_batched(self._options or session_options(self._threads, spinning=False))

    @property
    def _batched_core(self) -> ort.InferenceSession:
        if isinstance(self._together, str):
            raise UsageError(
                f"time cannot be folded into this model's batch axis ({self._together}); "
                "use schedule='stepped' or 'auto'"
            )
        return self._together

    @property
    def step_model(self) -> StepModel:
        """The model, and where it can be cut."""
        return self._model

    @property
    def metadata(self) -> Metadata:
        """The model's description, as `metadata_props["onnx2snn"]` holds it."""
        return self._model.metadata

    @property
    def neurons(self) -> list[NeuronEntry]:
        """The neuron sites: name, kind, source node, spike tensor, channels, shape."""
        return list(self._model.metadata["neurons"])

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The ANN's own inputs."""
        return tuple(s for s in input_specs(self._model.proto) if s.name in self._model.inputs)

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The ANN's own outputs."""
        return tuple(s for s in output_specs(self._model.proto) if s.name in self._model.outputs)

    def reset(self) -> None:
        """Forget all states: the next run starts from the initial potentials."""
        self._values = []
        self._moment += 1

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
    ) -> list[Array]:
        """The outputs after `timesteps` steps (None: the model's own number), like `InferenceSession.run`.

        `delay`: steps left out of the mean: a number, "half", "auto", or None for the model's own.
        `reset=False` starts from the membrane potentials the last run ended with; the mean starts afresh all the same.
        Raises UsageError for impossible steps or delays or unknown names, DataError for inputs that do not fit.
        """
        return self.run_at(
            output_names, input_feed, [(self._steps(timesteps), delay)], reset=reset
        )[0]

    def run_at(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Array],
        windows: Sequence[tuple[int, Delay]],
        *,
        reset: bool = True,
    ) -> list[list[Array]]:
        """The outputs for several (time-steps, delay) out of one simulation, in the order given; else as `run`."""
        found = dict(self.windows(output_names, input_feed, windows, reset=reset))
        return [found[index] for index in range(len(windows))]

    def windows(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Array],
        windows: Sequence[tuple[int, Delay]],
        *,
        reset: bool = True,
    ) -> Iterator[tuple[int, list[Array]]]:
        """What `run_at` returns, one by one as simulated time gets there: (which of the windows, its outputs).

        Whatever the session tells beside the outputs, such as `activity`, is that of the moment.
        """
        if not windows:
            raise UsageError("no number of time-steps is given; name at least one")
        spans = [(self._delay(delay, t), t) for t, delay in windows]
        wanted = self._wanted(output_names)
        needed = {
            start: max(end for other, end in spans if other == start)
            for start in {s for s, _ in spans if s}
        }
        sums: dict[int, dict[str, Array]] = {}
        stops = sorted({end for _, end in spans} | set(needed))
        for t, static in self._simulate(input_feed, stops, reset, self._schedule):
            due = [index for index, (_, end) in enumerate(spans) if end == t]
            sums[t] = self._current_sums(copy=t in needed)
            for index in due:
                answer = self._answer(static, sums, spans[index])
                yield index, [answer[name] for name in wanted]
            sums = {moment: kept for moment, kept in sums.items() if needed.get(moment, 0) > t}

    def steps(
        self,
        input_feed: Mapping[str, Array],
        timesteps: int | None = None,
        delay: Delay = None,
        *,
        reset: bool = True,
    ) -> Iterator[Step]:
        """Step through time, one `Step` each; same arguments as `run`."""
        total = self._steps(timesteps)
        start = self._delay(delay, total)
        marks: dict[int, dict[str, Array]] = {}
        for t, static in self._simulate(input_feed, range(1, total + 1), reset, "stepped"):
            if t == start:
                marks[t] = self._current_sums()
            window = (start if t > start else 0, t)
            read = partial(self._read, self._moment, t)
            outputs = partial(self._outputs, static, marks, window)
            yield Step(t, partial(read, outputs), partial(read, self._last_spikes))

    def _read(self, moment: int, t: int, read: Callable[[], Any]) -> Any:
        """What a step holds, as long as it is the last one."""
        if self._moment != moment:
            raise UsageError(
                f"step {t} is over; read its outputs and spikes before the next step or run"
            )
        return read()

    def _outputs(
        self, static: dict[str, Array], marks: dict[int, dict[str, Array]], window: tuple[int, int]
    ) -> list[Array]:
        answer = self._answer(static, marks | {window[1]: self._current_sums()}, window)
        return [answer[name] for name in self._model.outputs]

    def spike_counts(self) -> dict[str, Array]:
        """Spikes of each neuron since the last run began, by site, those taken back subtracted.

        UsageError without `count_spikes=True`.
        """
        return self._counted(absolute=False, option="count_spikes")

    def activity(self, *, copy: bool = True) -> dict[str, Array]:
        """Summed heights of each neuron's spikes since the last run began, by site; a spike of -1 counts as 1.

        What is not copied holds until the next step. UsageError without `count_activity=True`.
        """
        return self._counted(absolute=True, option="count_activity", copy=copy)

    def _counted(self, *, absolute: bool, option: str, copy: bool = True) -> dict[str, Array]:
        plain = {n["name"] for n in self.neurons if not BY_OP[n["kind"]].signed}
        names = {
            c.neuron: c.input for c in self._counters if c.absolute == absolute or c.neuron in plain
        }
        if len(names) < len(self.neurons) or not self._values:
            raise UsageError(
                f"there are no spike counts; open the session with {option}=True and run it first"
            )
        return {neuron: self._state(name, copy=copy) for neuron, name in names.items()}

    def potentials(self) -> dict[str, Array]:
        """Membrane potentials less their initial value after the last run, in threshold units, by site."""
        names = {node.name: node.input[1] for node in neuron_nodes(self._model.proto)}
        return {neuron: self._state(name) for neuron, name in names.items() if self._values}

    def answer_size(self) -> int:
        """Numbers in the sums the answer of the last run was made of."""
        return sum(total.size for total in self._current_sums().values())

    # The simulation.

    def _steps(self, timesteps: int | None) -> int:
        return int(self.metadata["timesteps"]) if timesteps is None else timesteps

    def _delay(self, delay: Delay, timesteps: int) -> int:
        return resolve_delay(delay, timesteps, self.metadata["delay"], self.metadata["delay_auto"])

    def _wanted(self, names: Sequence[str] | None) -> Sequence[str]:
        unknown = [name for name in names or () if name not in self._model.outputs]
        if unknown:
            raise UsageError(
                f"the model has no output '{unknown[0]}'; it has {', '.join(self._model.outputs)}"
            )
        return names if names is not None else self._model.outputs

    def _encode(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs and everything the encoder makes of them."""
        missing = [name for name in self._model.inputs if name not in feed]
        unknown = [name for name in feed if name not in self._model.inputs]
        if missing or unknown:
            problem = (
                f"input '{missing[0]}' is missing"
                if missing
                else f"there is no input '{unknown[0]}'"
            )
            raise DataError(f"{problem}; the model takes {', '.join(map(str, self.inputs))}")
        values = {name: np.asarray(value) for name, value in feed.items()}
        for spec in self.inputs:
            if not _fits(spec, values[spec.name]):
                found = TensorSpec(spec.name, values[spec.name].dtype, values[spec.name].shape)
                raise DataError(
                    f"input {found} does not fit; the model takes {', '.join(map(str, self.inputs))}"
                )
        if self._encoder is None:
            return values
        taken = {i.name for i in self._encoder.get_inputs()}
        with computing(self.inputs):
            made = self._encoder.run(
                None, {name: value for name, value in values.items() if name in taken}
            )
        return values | {
            o.name: value for o, value in zip(self._encoder.get_outputs(), made, strict=True)
        }

    def _simulate(
        self, feed: Mapping[str, Array], stops: Sequence[int], reset: bool, schedule: Schedule
    ) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield at each of the (ascending) steps asked for: (the step, what is constant in time)."""
        static = self._encode(feed)
        self._moment += 1
        to_core = {name: static[name] for name in self._model.to_core}
        kept = (
            []
            if reset or not self._values
            else [name for name, _, _ in self._states if name not in self._fresh]
        )
        shapes = {name: static[name].shape for name in self._model.inputs}
        for name, shape in shapes.items() if kept else ():
            if shape != self._shapes[name]:
                found, before = (
                    TensorSpec(name, static[name].dtype, s) for s in (shape, self._shapes[name])
                )
                raise DataError(
                    f"input {found} cannot go on from the last run's {before}; reset the session first"
                )
        self._shapes = shapes
        old = {name: self._state(name) for name in kept}
        with computing(self.inputs):
            chosen, parts = self._plan(schedule, to_core)
        runs = [
            chosen.run(ort_values(to_core, part), self._zeros | ort_values(old, part), stops)
            for part in parts
        ]
        with ThreadPoolExecutor(self._workers) as pool:
            for _ in stops:
                with computing(self.inputs):
                    moments: list[Moment] = (
                        [next(runs[0])] if len(runs) == 1 else list(pool.map(next, runs))
                    )
                self._values, self._given = [m.values for m in moments], moments[0].given
                self._moment += 1
                yield moments[0].t, static

    @cached_property
    def _zeros(self) -> Values:
        """Every state at the start; what has the same rank shares one value."""
        ranks = {rank for _, _, rank in self._states}
        each = {r: ort.OrtValue.ortvalue_from_numpy(np.zeros([1] * r, np.float32)) for r in ranks}
        return {name: each[rank] for name, _, rank in self._states}

    def _plan(
        self, schedule: Schedule, to_core: dict[str, Array]
    ) -> tuple[Stepped | Batched, Sequence[slice | None]]:
        """The schedule, and the pieces of the batch it runs (None: all of it)."""
        if schedule == "stepped" or (schedule == "auto" and isinstance(self._together, str)):
            return Stepped(self._core, self._states), [None]
        batch, neurons = batch_of(to_core), self._neurons(to_core)
        parts = pieces(batch, neurons, self._workers) if batch > 1 and self._splits else [None]
        if schedule == "auto" and neurons > len(parts) * NEURON_STEPS // 2:
            return Stepped(self._core, self._states), [None]
        core = (
            self._batched_core
            if len(parts) == 1 or self._workers == 1
            else self._batched_core_of_a_worker
        )
        return Batched(core, self._states, -(-neurons // len(parts))), parts

    @cached_property
    def _workers(self) -> int:
        """How many pieces of a batch run at once, a thread each: as many as a pass would have threads."""
        if self._options is not None or self._providers != [CPU]:
            return 1
        return (
            self._threads or len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )

    @cached_property
    def _splits(self) -> bool:
        """Whether the batch size is free and every neuron's state has a batch axis."""
        free = all(spec.shape and not isinstance(spec.shape[0], int) for spec in self.inputs)
        return free and all(len(neuron["shape"]) > 1 for neuron in self.neurons)

    def _neurons(self, to_core: dict[str, Array]) -> int:
        """How many neurons there are for these inputs: by the description, else by one step tried and forgotten."""
        shapes = tuple(array.shape for array in to_core.values())
        if shapes not in self._sizes:
            each = neurons_of(self._model)
            if each is not None:
                self._sizes[shapes] = each * batch_of(to_core)
            else:
                tried = Batched(self._batched_core, self._states, 1).one(
                    ort_values(to_core), self._zeros
                )
                membranes = [s.input for s in self._model.states if s.kind == "membrane"]
                self._sizes[shapes] = sum(prod(tried[name].shape()) for name in membranes)
        return self._sizes[shapes]

    def _state(self, name: str, *, copy: bool = True) -> Array:
        """A state after the last step, the pieces of the batch together."""
        found = [values[name].numpy() for values in self._values]
        whole = len(found) == 1 or found[0].ndim < 2
        return np.array(found[0], copy=copy) if whole else np.concatenate(found)

    def _current_sums(self, *, copy: bool = True) -> dict[str, Array]:
        inputs = {s.mean: s.input for s in self._model.states if s.mean is not None}
        return {str(mean): self._state(name, copy=copy) for mean, name in inputs.items()}

    def _answer(
        self, static: dict[str, Array], sums: dict[int, dict[str, Array]], window: tuple[int, int]
    ) -> dict[str, Array]:
        start, end = window
        steps = np.float32(end - start)
        means = {
            m: (total - sums[start][m]) / steps if start else total / steps
            for m, total in sums[end].items()
        }
        known = static | means
        if self._readout is None:
            return known
        feed = {i.name: known[i.name] for i in self._readout.get_inputs()}
        with computing(self.inputs):
            made = self._readout.run(None, feed)
        return known | {
            o.name: value for o, value in zip(self._readout.get_outputs(), made, strict=True)
        }

    @cached_property
    def _observer(self) -> ort.InferenceSession:
        session = self._open(cut.core(self._model, spikes=True))
        assert session is not None
        return session

    def _last_spikes(self) -> dict[str, Array]:
        """Repeat the last step from what it started with, with the spikes as outputs."""
        feed = {i.name: self._given[i.name] for i in self._observer.get_inputs()}
        found = self._observer.run_with_ort_values([n["spikes"] for n in self.neurons], feed)
        return {n["name"]: value.numpy() for n, value in zip(self.neurons, found, strict=True)}


def _fits(spec: TensorSpec, value: Array) -> bool:
    if value.dtype != spec.dtype:
        return False
    pairs = zip(spec.shape, value.shape, strict=False) if spec.shape is not None else ()
    return (spec.shape is None or len(spec.shape) == value.ndim) and all(
        not isinstance(dim, int) or dim == size for dim, size in pairs
    )
