"""Readings of a simulation: spikes, potentials and estimates, as the last run left them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from onnx2snn.aliases import Array
from onnx2snn.errors import UsageError
from onnx2snn.runtime.answers import Answers
from onnx2snn.runtime.parts import Parts
from onnx2snn.runtime.runs import LastRuns, Run
from onnx2snn.runtime.spike_counters import CounterKind, SpikeCounter, counters_by_site
from onnx2snn.runtime.states import CoreStates
from onnx2snn.snn.format import NeuronEntry
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel


class Readings:
    """What can be read of a model's last run; `Simulation` makes the runs."""

    model: StepModel
    states: CoreStates
    _count: Sequence[SpikeCounter]
    _parts: Parts
    _answers: Answers
    _runs: LastRuns

    @property
    def neurons(self) -> list[NeuronEntry]:
        """The neuron sites: name, kind, source node, spike tensor, channels, shape."""
        return list(self.model.metadata["neurons"])

    # The states.

    def spike_counts(self) -> dict[str, Array]:
        """Return the spikes of each neuron since the last run began, by site.

        Those taken back are subtracted. UsageError without `count_spikes=True`.
        """
        return self._counted("count_spikes", "count", copy=True)

    def activity(self, *, copy: bool = True, kind: CounterKind = "activity") -> dict[str, Array]:
        """Return what each neuron's spikes cost at a synapse since the last run began, by site.

        That is the sum of their heights, of which -1 counts as 1, and in differential coding their
        number. UsageError without `count_activity=True`.

        Args:
            copy: Whether to copy; arrays that are not copied hold until the next step.
            kind: "height" or "event" for the sum of heights or the number in either coding; these
                are what they say with `both_sizes=True`.
        """
        return self._counted("count_activity", kind, copy=copy)

    def _counted(self, option: str, kind: CounterKind, *, copy: bool) -> dict[str, Array]:
        found = counters_by_site(self.model, self._count, kind)
        complete = len(found) == len(self.neurons)
        run = self._runs.last()
        if not complete or run is None:
            raise UsageError(
                f"there are no spike counts; open the session with {option}=True and run it first"
            )
        counts = {}
        for site, counter in found.items():
            counts[site] = run.value(counter.input, copy=copy)
        return counts

    def potentials(self) -> dict[str, Array]:
        """Return the membrane potentials less their initial value, in threshold units, by site.

        There are none before the first run.
        """
        run = self._runs.last()
        if run is None:
            return {}
        return {site: run.value(name) for site, name in self._membranes.items()}

    def sent(self) -> dict[str, Array]:
        """Return what neurons before weighted operators have sent, in threshold units, by site.

        There is nothing before the first run.
        """
        run = self._runs.last()
        if run is None:
            return {}
        return {site: run.value(name) for site, name in self._first_states.items()}

    def given(self) -> dict[str, Array]:
        """Return what neurons before weighted operators are given after the last step, by site.

        It is in threshold units, less the estimate that they start at.
        """
        run = self._runs.last()
        assert run is not None
        session = self._parts.neuron_inputs
        by_output = {state.output: state.input for state in self.model.states}
        feed = {}
        for value in session.get_inputs():
            name = value.name
            if name in by_output:
                feed[name] = run.value(by_output[name], copy=False)
            else:
                feed[name] = run.static[name]
        tensors = {value.name: index for index, value in enumerate(session.get_outputs())}
        found = session.run(None, feed)
        nodes = neuron_nodes(self.model.nodes)
        return {node.name: found[tensors[node.input[0]]] for node in nodes}

    def state_size(self) -> int:
        """Return how many numbers the states of the last run hold."""
        run = self._runs.last()
        if run is None:
            return 0
        names = [state.input for state in self.states.carried]
        return sum(run.value(name, copy=False).size for name in names)

    @cached_property
    def _first_states(self) -> dict[str, str]:
        """The first state of each site: its membrane potential, or what it has sent."""
        nodes = neuron_nodes(self.model.nodes)
        return {node.name: node.input[1] for node in nodes}

    @cached_property
    def _membranes(self) -> dict[str, str]:
        """The state of each site that is its membrane potential; none in differential coding."""
        kinds = {state.input: state.kind for state in self.model.states}
        firsts = self._first_states.items()
        return {site: name for site, name in firsts if kinds[name] == "membrane"}

    def _last_spikes(self, run: Run) -> dict[str, Array]:
        """Repeat the last step from what it started with, with the spikes as outputs."""
        observer = self._parts.observer
        names = [value.name for value in observer.get_inputs()]
        feed = {name: run.given[name] for name in names}
        spikes = [neuron["spikes"] for neuron in self.neurons]
        found = observer.run_with_ort_values(spikes, feed)
        by_site = {}
        for neuron, value in zip(self.neurons, found, strict=True):
            by_site[neuron["name"]] = value.numpy()
        return by_site

    def answer_size(self) -> int:
        """Return how many numbers the sums hold that the last answer was made of."""
        run = self._runs.last()
        if run is None:
            return 0
        sums = self._answers.sums(run, copy=False)
        return sum(total.size for total in sums.values())
