"""Runs: what one run holds of simulated time, and what a session remembers of its runs.

A run belongs to the call that began it, so that threads may run one session at once. The session
remembers the last run of each thread: a thread that reads potentials or counts, or that goes on
without a reset, meets its own run and no other thread's. A thread that has not run anything meets
the latest run of all.

A run without a reset goes on from the last one. On the very inputs of the last one it goes on
exactly, as if both were one run. On other inputs, as in a stream of frames, most of what the
membranes hold is owed for the last frame: a neuron that it inhibited for T steps may be T currents
below zero, and would stay silent. So only a bounded share of the potential u goes on,
    u' = min(max(u / 5, -1/2), 1/2)    (threshold units),
and signed neurons and sums start afresh. Measured on correlated frames, answers are about as close
as with a reset for each, or closer; with whole potentials they are up to eleven times as far off.

In differential coding every state goes on: an estimate of the last input is where that of the next
one starts, and Z = λ W R holds throughout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import UsageError
from onnx2snn.protos.batch_arrays import joined_samples
from onnx2snn.runtime.device import Values
from onnx2snn.runtime.states import CoreStates
from onnx2snn.runtime.tensors import Axes, Tensors

CARRIED_SHARE = 0.2
"""The share of a membrane potential that goes on into a run on other inputs."""
MOST_CARRIED = 0.5
"""The largest distance from the initial potential that goes on, in threshold units."""


class Run:
    """One run: its inputs, what is constant in time, and the states after the last pass."""

    def __init__(
        self,
        states: CoreStates,
        inputs: Mapping[str, Array],
        static: Tensors,
        before: Run | None,
    ) -> None:
        """Begin a run, at t = 0.

        Args:
            states: The states of the core, which the run has values of.
            inputs: The inputs, by name.
            static: The tensors that are constant in time.
            before: The run to go on from; None: from the initial potentials.
        """
        self.static = static
        # whoever gave them may write the next frame into the same memory
        self.inputs = {name: np.array(value) for name, value in inputs.items()}
        self.old = Tensors(states.device, {})
        """The values of states that it starts from, as far as they are not zero."""
        if before is not None:
            self.old = before.going_on(inputs)
        self.t = 0
        """The last step that the states are of."""
        self.over = False
        """Whether that was the last step of all, so that the states stay what they are."""
        self.broken = False
        """Whether it failed, or was interrupted, on the way to its next stop."""
        self.chunks: list[Values] = []
        """The states' values, one entry a chunk of the batch; empty before the first pass."""
        self.axes: Axes = {}
        """Where the states that the chunks divide have their samples."""
        self.given: Values = {}
        """The tensors that the last pass of the core took (of the first chunk)."""
        self._states = states

    def value(self, name: str, *, copy: bool = True) -> Array:
        """Return a state after the last step, the chunks of the batch together.

        What is not copied holds until the next step.
        """
        read = self._states.device.read
        found = [read(values[name]) for values in self.chunks]
        place = self.axes.get(name)
        if len(found) > 1 and place is not None:
            return joined_samples(found, place)
        return np.array(found[0], copy=copy)

    def going_on(self, inputs: Mapping[str, Array]) -> Tensors:
        """Return the states that a run of some inputs goes on from; those left out are zero."""
        states = self._states
        if not states.all_go_on and not self._has_run(inputs):
            shares = {name: _bounded(self.value(name)) for name in states.membranes}
            return Tensors(states.device, shares)
        if self.over and len(self.chunks) == 1:
            # they stay where they are, since nothing writes into them any more
            values = {name: self.chunks[0][name] for name in states.kept}
            return Tensors(states.device, {}, values)
        return Tensors(states.device, {name: self.value(name) for name in states.kept})

    def _has_run(self, inputs: Mapping[str, Array]) -> bool:
        """Whether these are the very inputs of this run."""
        return all(np.array_equal(inputs[name], own) for name, own in self.inputs.items())


def _bounded(potential: Array) -> Array:
    """Return u' = min(max(u / 5, -1/2), 1/2)."""
    share = potential * np.float32(CARRIED_SHARE)
    return np.clip(share, -MOST_CARRIED, MOST_CARRIED)


class Answered:
    """A run that only its answer was made of; the states are made when somebody asks for them."""

    def __init__(
        self, inputs: Mapping[str, Array], simulate: Callable[[Mapping[str, Array]], Run]
    ) -> None:
        """Remember the inputs.

        Args:
            inputs: The inputs by name, which are copied.
            simulate: Returns the run of some inputs, when it is over.
        """
        self._inputs = {name: np.array(value) for name, value in inputs.items()}
        self._simulate = simulate
        self._run: Run | None = None
        self._lock = Lock()

    def run(self) -> Run:
        """Return the run with its states."""
        with self._lock:
            if self._run is None:
                self._run = self._simulate(self._inputs)
            return self._run


@dataclass
class ThreadRuns:
    """The runs of one thread.

    Attributes:
        current: The run it began or went on with last, whose steps may be read.
        last: The run it has results of.
    """

    current: Run | None = None
    last: Run | Answered | None = None


class LastRuns:
    """The last run of each thread, and the latest of all."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._threads = threading.local()
        self._latest: Run | Answered | None = None

    def of_thread(self) -> ThreadRuns:
        """Return the runs of the calling thread, to read and to write."""
        runs = getattr(self._threads, "runs", None)
        if runs is None:
            runs = ThreadRuns()
            self._threads.runs = runs
        return runs

    def last(self) -> Run | None:
        """Return the last run of the calling thread, or the latest of all where it has none.

        Raises:
            UsageError: It was interrupted, so that its states are of no one step.
        """
        found = self.of_thread().last or self._latest
        run = found.run() if isinstance(found, Answered) else found
        if run is not None and run.broken:
            raise UsageError("the last run was interrupted, and its states are lost; start afresh")
        return run

    def remember(self, runs: ThreadRuns, run: Run) -> None:
        """Swap in a run as the last one of a thread."""
        runs.current = run
        runs.last = run
        self._latest = run

    def remember_answered(self, answered: Answered) -> None:
        """Swap in a run without states as the last one of the calling thread."""
        runs = self.of_thread()
        # whoever still steps through another run is told that it is over
        runs.current = None
        runs.last = answered
        self._latest = answered

    def forget(self) -> None:
        """Forget the runs of all threads."""
        # whoever still steps through a run of this thread is told that it is over
        self.of_thread().current = None
        self._threads = threading.local()
        self._latest = None


Read = TypeVar("Read")


def in_time(runs: ThreadRuns, run: Run, t: int, read: Callable[[], Read]) -> Read:
    """Read something of a step, as long as it is the last one of the last run."""
    if runs.current is not run or run.t != t:
        raise UsageError(
            f"step {t} is over; read its outputs and spikes before the next step or run"
        )
    return read()
