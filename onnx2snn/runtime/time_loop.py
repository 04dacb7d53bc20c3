"""The loop over simulated time: an input goes in, and the states go on from step to step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from onnx2snn.aliases import Array
from onnx2snn.protos.sessions import computing
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.runtime.feeds import check_goes_on, checked_feed
from onnx2snn.runtime.parts import Parts, with_outputs
from onnx2snn.runtime.plan import Planner, Schedule
from onnx2snn.runtime.schedules import Moment
from onnx2snn.runtime.states import CoreStates, Values, ort_values
from onnx2snn.snn.step_model import StepModel


class TimeLoop:
    """Runs one model through time, and keeps its states in `states`."""

    def __init__(
        self, model: StepModel, inputs: Sequence[TensorSpec], parts: Parts, states: CoreStates
    ) -> None:
        """Run with these sessions and states; `inputs` are the ANN's own."""
        self.states = states
        self.planner = Planner(model, inputs, parts, states)
        self.given: Values = {}
        """The tensors that the last pass of the core took (of the first chunk)."""
        self.moment = 0
        """Counts steps, runs and resets: as long as it stands still the states are the same."""
        self._model = model
        self._inputs = inputs
        self._parts = parts
        self._shapes: dict[str, tuple[int, ...]] = {}
        """Of the inputs of the last run."""

    def reset(self) -> None:
        """Forget all states: the next run starts from the initial potentials."""
        self.states.chunks = []
        self.moment += 1

    def advance(
        self, feed: Mapping[str, Array], stops: Sequence[int], schedule: Schedule, *, reset: bool
    ) -> Iterator[tuple[int, dict[str, Array]]]:
        """Simulate up to the last of some steps.

        Args:
            feed: The inputs by name.
            stops: Steps, ascending and each once.
            schedule: How the core is run.
            reset: Whether to start from the initial potentials.

        Yields:
            At each of the steps: its number, and the tensors that are constant in time.

        Raises:
            DataError: The inputs do not fit, or not those of the run that is gone on from.
        """
        values = checked_feed(feed, self._inputs)
        with computing(self._inputs):
            static = with_outputs(self._parts.encoder, values)
        # whatever was read of the last run is over from here on
        self.moment += 1
        old: dict[str, Array] = {}
        if self.states.chunks and not reset:
            check_goes_on(values, self._shapes)
            old = self.states.going_on()
        self._shapes = {name: value.shape for name, value in values.items()}

        to_core = {name: static[name] for name in self._model.to_core}
        runs = self._runs(to_core, old, stops, schedule)
        with ThreadPoolExecutor(self._parts.opening.workers) as pool:
            for _ in stops:
                with computing(self._inputs):
                    moments = _side_by_side(runs, pool)
                self.states.chunks = [moment.values for moment in moments]
                self.given = moments[0].given
                self.moment += 1
                yield moments[0].t, static

    def _runs(
        self,
        to_core: Mapping[str, Array],
        old: Mapping[str, Array],
        stops: Sequence[int],
        schedule: Schedule,
    ) -> list[Iterator[Moment]]:
        """Begin a run for each chunk of the batch, from old states, or from the start."""
        with computing(self._inputs):
            plan = self.planner.plan(schedule, to_core)
        runs = []
        for chunk in plan.chunks:
            start = self.states.zeros | ort_values(old, chunk)
            given = ort_values(to_core, chunk)
            runs.append(plan.way.run(given, start, stops))
        return runs


def _side_by_side(runs: Sequence[Iterator[Moment]], pool: Executor) -> list[Moment]:
    """Let each chunk get to its next stop."""
    if len(runs) == 1:
        return [next(runs[0])]
    return list(pool.map(next, runs))
