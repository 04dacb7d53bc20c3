"""The two ways to run a core through time: step by step, or many time-steps in one pass.

Both take what the encoder hands over and the states by input name, and yield the states each time simulated time gets
to a step asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.runtime.time_batched import TICKS
from onnx2snn.snn.step_model import StepModel

Values = dict[str, ort.OrtValue]

Carried = Sequence[tuple[str, str, int]]
"""States as (input, output, rank)."""

NEURON_STEPS = 2**23
"""Neurons times time-steps in one pass: some five tensors of that many numbers are alive, and caches still help."""
STEPS_TOGETHER = 8
"""Time-steps worth having in one pass before a batch is kept whole."""


@dataclass(frozen=True)
class Moment:
    """The states after step `t`, and what the last pass of the core was given."""

    t: int
    values: Values
    given: Values


@dataclass(frozen=True)
class Stepped:
    """One pass a time-step; the states are fed back through two bindings that take turns, so nothing is copied."""

    core: ort.InferenceSession
    states: Carried

    def run(self, to_core: Values, values: Values, stops: Sequence[int]) -> Iterator[Moment]:
        """Simulate up to the last of the (ascending) steps asked for."""
        first = self._bind(to_core | values, None)
        pair: list[tuple[ort.IOBinding, Values]] = []
        wanted = set(stops)
        for t in range(1, stops[-1] + 1):
            if t == 2:  # the first step has told the shapes
                other = {
                    n: ort.OrtValue.ortvalue_from_shape_and_type(v.shape(), np.float32)
                    for n, v in values.items()
                }
                pair = [
                    (self._bind(to_core | values, other), other),
                    (self._bind(to_core | other, values), values),
                ]
            binding, made = pair[t % 2] if pair else (first, {})
            self.core.run_with_iobinding(binding)
            if not made:
                made = dict(
                    zip([name for name, _, _ in self.states], binding.get_outputs(), strict=True)
                )
            given, values = to_core | values, made
            if t in wanted:
                yield Moment(t, values, given)

    def _bind(self, taken: Values, target: Values | None) -> ort.IOBinding:
        """Bind one step from `taken` into the buffers of `target`, or into new ones."""
        binding = self.core.io_binding()
        for name, value in taken.items():
            binding.bind_ortvalue_input(name, value)
        for name, output, _ in self.states:
            if target is None:
                binding.bind_output(output, "cpu")
            else:
                binding.bind_ortvalue_output(output, target[name])
        return binding


@dataclass(frozen=True)
class Batched:
    """As many time-steps a pass as `NEURON_STEPS` allows; `neurons` is the number of neurons simulated."""

    core: ort.InferenceSession
    states: Carried
    neurons: int

    @property
    def most(self) -> int:
        """The largest number of time-steps a pass."""
        return max(1, NEURON_STEPS // self.neurons)

    def run(self, to_core: Values, values: Values, stops: Sequence[int]) -> Iterator[Moment]:
        """Simulate up to the last of the (ascending) steps asked for."""
        t = 0
        for stop in stops:
            passes = -(-(stop - t) // self.most)
            for index in range(passes):
                steps = (stop - t) // (passes - index)
                given = to_core | values
                values = self._pass(given, steps)
                t += steps
            yield Moment(t, values, given)

    def _pass(self, given: Values, steps: int) -> Values:
        ticks = ort.OrtValue.ortvalue_from_numpy(np.zeros(steps, np.float32))
        binding = self.core.io_binding()
        for name, value in (given | {TICKS: ticks}).items():
            binding.bind_ortvalue_input(name, value)
        for _, output, _ in self.states:
            binding.bind_output(output, "cpu")
        self.core.run_with_iobinding(binding)
        return dict(zip([name for name, _, _ in self.states], binding.get_outputs(), strict=True))

    def one(self, to_core: Values, values: Values) -> Values:
        """The states after a single step."""
        return self._pass(to_core | values, 1)


def neurons_of(model: StepModel) -> int | None:
    """Neurons of one sample, or None where the description does not know their number."""
    total = 0
    for neuron in model.metadata["neurons"]:
        shape = neuron["shape"][1:]
        sizes = [size for size in shape if isinstance(size, int)]
        if len(sizes) < len(shape):
            return None
        total += prod(sizes)
    return total


def batch_of(to_core: Mapping[str, Array]) -> int:
    """Samples in what the encoder hands over; 1 where its tensors do not agree on a leading axis."""
    sizes = {array.shape[0] if array.ndim else 1 for array in to_core.values()}
    return sizes.pop() if len(sizes) == 1 else 1


def pieces(samples: int, neurons: int, workers: int) -> list[slice]:
    """How to divide a batch, of so many neurons in all, so that a pass holds several time-steps of a piece.

    There are as many pieces as workers or a multiple, as far as there are samples.
    """
    most = max(1, NEURON_STEPS * samples // (neurons * STEPS_TOGETHER))
    count = min(samples, workers * -(-samples // (most * workers)))
    bounds = np.linspace(0, samples, count + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def ort_values(arrays: Mapping[str, Array], part: slice | None = None) -> Values:
    """Arrays as onnxruntime takes them; of a piece of the batch, where there is a batch."""
    return {
        name: ort.OrtValue.ortvalue_from_numpy(
            np.ascontiguousarray(
                array[part] if part is not None and array.ndim > 1 and len(array) > 1 else array
            )
        )
        for name, array in arrays.items()
    }
