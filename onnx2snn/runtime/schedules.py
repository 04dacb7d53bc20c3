"""The two ways to run a core through time: step by step, or many time-steps in one pass.

Both take what the encoder hands over and the states by input name, and yield the states each time
simulated time gets to a step asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import onnxruntime as ort

from onnx2snn.protos.time_left import Pace, limited
from onnx2snn.runtime.cut import Carried
from onnx2snn.runtime.device import HOST, Device, Values
from onnx2snn.runtime.time_forms import TICKS

STEPS = "time-steps"

TELLING = 256
"""The most time-steps a pass where time is limited."""


@dataclass(frozen=True)
class Moment:
    """The states after step `t`, and what the last pass of the core was given."""

    t: int
    values: Values
    given: Values


@dataclass(frozen=True)
class Stepped:
    """One pass a time-step.

    The states are fed back through two bindings that take turns, so that nothing is copied: one
    writes into the buffers that the other one reads.
    """

    core: ort.InferenceSession
    states: Sequence[Carried]
    device: Device = HOST
    """The memory that the states stay in."""
    halt: Event = field(default_factory=Event)
    """Set by another thread: the way through time ends at the next pass."""

    def run(self, to_core: Values, values: Values, stops: Sequence[int]) -> Iterator[Moment]:
        """Simulate up to the last of the (ascending) steps asked for."""
        wanted = set(stops)
        given = to_core | values
        # step 1: onnxruntime makes the buffers, since shapes are not known before
        binding = self._binding(given)
        for state in self.states:
            self.device.bind_output(binding, state.output)
        self.core.run_with_iobinding(binding)
        values = _after(binding, self.states)
        if 1 in wanted:
            yield Moment(1, values, given)

        # from here on two sets of buffers take turns: even steps write into `other`, odd ones back
        other = {name: self.device.empty_like(value) for name, value in values.items()}
        turns = [
            (self._bound(to_core | values, other), other),
            (self._bound(to_core | other, values), values),
        ]
        pace = Pace(STEPS)
        for t in range(2, stops[-1] + 1):
            if self.halt.is_set():
                return
            pace.require(t - 2, stops[-1])
            given = to_core | values
            binding, values = turns[t % 2]
            self.core.run_with_iobinding(binding)
            if t in wanted:
                yield Moment(t, values, given)

    def _binding(self, given: Values) -> ort.IOBinding:
        """Bind the inputs of a step."""
        binding = self.core.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, value)
        return binding

    def _bound(self, given: Values, target: Values) -> ort.IOBinding:
        """Bind a step whose next states go into the buffers of `target`."""
        binding = self._binding(given)
        for state in self.states:
            binding.bind_ortvalue_output(state.output, target[state.input])
        return binding


@dataclass(frozen=True)
class Batched:
    """At most `most` time-steps a pass, folded into the batch axis."""

    core: ort.InferenceSession
    states: Sequence[Carried]
    most: int
    device: Device = HOST
    """The memory that the states stay in."""
    halt: Event = field(default_factory=Event)
    """Set by another thread: the way through time ends at the next pass."""

    def run(self, to_core: Values, values: Values, stops: Sequence[int]) -> Iterator[Moment]:
        """Simulate up to the last of the (ascending) steps asked for."""
        t = 0
        pace = Pace(STEPS)
        # a pass tells its pace when it is over: under a limit of time it is no long one
        most = min(self.most, TELLING) if limited() else self.most
        for stop in stops:
            # as few passes as will do (-(-a // b) rounds up), as even as possible
            passes = -(-(stop - t) // most)
            for done in range(passes):
                if self.halt.is_set():
                    return
                pace.require(t, stops[-1])
                steps = (stop - t) // (passes - done)
                given = to_core | values
                values = self._pass(given, steps)
                t += steps
            yield Moment(t, values, given)

    def one_step(self, to_core: Values, values: Values) -> Values:
        """Return the states after a single step."""
        return self._pass(to_core | values, 1)

    def _pass(self, given: Values, steps: int) -> Values:
        ticks = self.device.put(np.zeros(steps, np.float32))
        binding = self.core.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_input(TICKS, ticks)
        for state in self.states:
            self.device.bind_output(binding, state.output)
        self.core.run_with_iobinding(binding)
        return _after(binding, self.states)


def _after(binding: ort.IOBinding, states: Sequence[Carried]) -> Values:
    """Return the states after a pass, by the names of their inputs."""
    names = [state.input for state in states]
    return dict(zip(names, binding.get_outputs(), strict=True))
