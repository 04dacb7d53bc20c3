"""Runs: what one run holds of simulated time, and what a session remembers of its runs.

A run belongs to the call that began it, so that threads may run one session at once. The session
remembers the last run of each thread: a thread that reads potentials or counts, or that goes on
without a reset, meets its own run and no other thread's. A thread that has not run anything meets
the latest run of all.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.runtime.states import CoreStates, Values


class Run:
    """One run: its inputs' shapes, what is constant in time, and the states after the last pass."""

    def __init__(
        self,
        states: CoreStates,
        shapes: Mapping[str, tuple[int, ...]],
        static: Mapping[str, Array],
        before: Run | None,
    ) -> None:
        """Begin a run, at t = 0.

        Args:
            states: The states of the core, which the run has values of.
            shapes: Of the inputs, by name.
            static: The tensors that are constant in time, by name.
            before: The run to go on from; None: from the initial potentials.
        """
        self.shapes = dict(shapes)
        self.static = dict(static)
        self.old = before.going_on() if before is not None else {}
        """The values of states that it starts from, as far as they are not zero."""
        self.t = 0
        """The last step that the states are of."""
        self.chunks: list[Values] = []
        """The states' values, one entry a chunk of the batch; empty before the first pass."""
        self.given: Values = {}
        """The tensors that the last pass of the core took (of the first chunk)."""
        self._states = states

    def value(self, name: str, *, copy: bool = True) -> Array:
        """Return a state after the last step, the chunks of the batch together.

        What is not copied holds until the next step.
        """
        # a state without a batch axis is the same for all chunks
        found = [values[name].numpy() for values in self.chunks]
        has_batch = found[0].ndim >= 2
        if len(found) > 1 and has_batch:
            return np.concatenate(found)
        return np.array(found[0], copy=copy)

    def going_on(self) -> dict[str, Array]:
        """Return copies of the states that a run without a reset goes on from."""
        return {name: self.value(name) for name in self._states.kept}


@dataclass
class ThreadRuns:
    """The runs of one thread.

    Attributes:
        current: The run it began or went on with last, whose steps may be read.
        last: The run it has results of.
    """

    current: Run | None = None
    last: Run | None = None


class LastRuns:
    """The last run of each thread, and the latest of all."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._threads = threading.local()
        self._latest: Run | None = None

    def of_thread(self) -> ThreadRuns:
        """Return the runs of the calling thread, to read and to write."""
        runs = getattr(self._threads, "runs", None)
        if runs is None:
            runs = ThreadRuns()
            self._threads.runs = runs
        return runs

    def last(self) -> Run | None:
        """Return the last run of the calling thread, or the latest of all where it has none."""
        return self.of_thread().last or self._latest

    def remember(self, runs: ThreadRuns, run: Run) -> None:
        """Swap in a run as the last one of a thread."""
        runs.current = run
        runs.last = run
        self._latest = run

    def forget(self) -> None:
        """Forget the runs of all threads."""
        # whoever still steps through a run of this thread is told that it is over
        self.of_thread().current = None
        self._threads = threading.local()
        self._latest = None
