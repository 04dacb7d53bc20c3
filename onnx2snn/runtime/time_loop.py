"""The loop over simulated time: an input goes in, and the states go on from step to step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from onnx2snn.aliases import Array
from onnx2snn.protos.computing import computing
from onnx2snn.runtime.division import Division
from onnx2snn.runtime.feeds import check_goes_on, checked_feed
from onnx2snn.runtime.parts import Parts, encoded
from onnx2snn.runtime.plan import Planner, Schedule
from onnx2snn.runtime.runs import Run
from onnx2snn.runtime.schedules import Moment
from onnx2snn.runtime.states import CoreStates
from onnx2snn.snn.step_model import StepModel


class TimeLoop:
    """Runs one model through time; the runs hold all that changes."""

    def __init__(
        self, model: StepModel, division: Division, parts: Parts, states: CoreStates
    ) -> None:
        """Run with these sessions and states."""
        inputs = division.inputs
        self.planner = Planner(model, division, parts, states)
        self._states = states
        self._model = model
        self._inputs = inputs
        self._parts = parts

    def begin(self, feed: Mapping[str, Array], before: Run | None) -> Run:
        """Return a run of some inputs, at t = 0.

        Args:
            feed: The inputs by name.
            before: The run to go on from; None: from the initial potentials.

        Raises:
            DataError: The inputs do not fit, or not those of the run that is gone on from.
        """
        values = checked_feed(feed, self._inputs)
        if before is not None:
            check_goes_on(values, before.inputs)
        with computing(self._inputs):
            static = encoded(self._parts.encoder, values, self._states.device)
        return Run(self._states, values, static, before)

    def advance(self, run: Run, stops: Sequence[int], schedule: Schedule) -> Iterator[int]:
        """Take a run to the last of some steps.

        Args:
            run: The run; it holds the states of each of the steps in turn.
            stops: Steps, ascending and each once.
            schedule: How the core is run.

        Yields:
            Each of the steps.
        """
        halt, chunks = self._chunks(run, stops, schedule)
        with ThreadPoolExecutor(self._parts.opening.workers) as pool, _halting(halt):
            for _ in stops:
                try:
                    with self._parts.opening.computing(self._inputs):
                        moments = _side_by_side(chunks, pool)
                except BaseException:
                    # later steps may have been written over those that the run holds
                    run.broken = True
                    raise
                run.chunks = [moment.values for moment in moments]
                run.given = moments[0].given
                run.t = moments[0].t
                run.over = run.t == stops[-1]
                yield run.t

    def simulated(self, feed: Mapping[str, Array], *, end: int, schedule: Schedule) -> Run:
        """Return a run of some inputs from the initial potentials that is over after `end`."""
        run = self.begin(feed, None)
        for _ in self.advance(run, [end], schedule):
            pass
        return run

    def _chunks(
        self, run: Run, stops: Sequence[int], schedule: Schedule
    ) -> tuple[Event, list[Iterator[Moment]]]:
        """Begin the way through time of each chunk of the batch; the event ends all of them."""
        with self._parts.opening.computing(self._inputs):
            plan = self.planner.plan(schedule, run.inputs, run.static)
        run.axes = plan.axes
        chunks = []
        for chunk in plan.chunks:
            old = run.old.values_of(list(run.old), chunk, plan.axes)
            start = self._states.zeros | old
            given = run.static.values_of(self._model.to_core, chunk, plan.axes)
            chunks.append(plan.way.run(given, start, stops))
        return plan.way.halt, chunks


@contextmanager
def _halting(halt: Event) -> Iterator[None]:
    """Let other threads stop at their next pass where this one is interrupted."""
    try:
        yield
    finally:
        halt.set()


def _side_by_side(chunks: Sequence[Iterator[Moment]], pool: Executor) -> list[Moment]:
    """Let each chunk get to its next stop."""
    if len(chunks) == 1:
        return [next(chunks[0])]
    return list(pool.map(next, chunks))
