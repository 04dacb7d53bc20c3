"""Division of a batch into chunks of samples: which tensors are divided, and along which axis.

A batch is divided where every tensor that the core is handed, and every state, is the same for all
samples or has a batch axis (`protos.batch_axis`). What the graph does not say of the encoder's
tensors is measured: the encoder runs on one sample, and on two. Else the batch stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx2snn.aliases import Array
from onnx2snn.protos.batch_arrays import first_samples, measured_by_sizes, samples_in
from onnx2snn.protos.batch_axis import BatchAxes, batch_axes
from onnx2snn.protos.batch_types import BatchAxis, Place
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.runtime.parts import Parts, with_outputs
from onnx2snn.runtime.spike_counters import SpikeCounter
from onnx2snn.runtime.tensors import Axes
from onnx2snn.snn.step_model import StepModel

Shape = tuple[int, ...]


def model_axes(model: StepModel, known: Mapping[str, Place] | None = None) -> BatchAxes:
    """Return the batch axes of a spiking model's tensors, states among them.

    Args:
        model: The model.
        known: Tensors whose batch axis is measured.
    """
    states = {state.input: state.output for state in model.states}
    return batch_axes(model.proto, model.inputs, nodes=model.nodes, states=states, known=known)


@dataclass
class Division:
    """The division of one model's batches."""

    model: StepModel
    inputs: Sequence[TensorSpec]
    """The ANN's own."""
    parts: Parts
    count: Sequence[SpikeCounter] = ()
    """Further states of the core."""
    _axes: list[Axes | None] = field(default_factory=list)
    """Once they are known: one entry, None where batches stay whole."""
    _by_sample: bool | None = None
    """Whether outputs can be computed sample by sample; None: not known yet."""

    def axes(self, feed: Mapping[str, Array], to_core: Mapping[str, Shape]) -> Axes | None:
        """Return the batch axes of what is divided, or None where this batch stays whole.

        Args:
            feed: The inputs of the whole batch, two samples at least.
            to_core: The shapes of what the encoder made of them.
        """
        if not self._axes:
            self._axes.append(self._found(feed))
        axes = self._axes[0]
        if axes is None:
            return None
        count = samples_in(feed)
        for name, shape in to_core.items():
            place = axes.get(name)
            if place is not None and shape[place.axis] != count * place.each:
                return None
        return axes

    def outputs_by_sample(self, feed: Mapping[str, Array]) -> bool:
        """Return whether each sample's part of every output depends on that sample alone.

        Samples have to lie along axis 0 of all inputs and outputs. The feed has two at least.
        """
        if self._by_sample is None:
            self._by_sample = self._has_outputs_by_sample(feed)
        return self._by_sample

    def _has_outputs_by_sample(self, feed: Mapping[str, Array]) -> bool:
        if not _has_free_batch(self.inputs) or any(value.ndim == 0 for value in feed.values()):
            return False
        axes = self._model_axes(feed)
        return all(axes.of(name) == BatchAxis(0) for name in self.model.outputs)

    def _model_axes(self, feed: Mapping[str, Array]) -> BatchAxes:
        """Return the batch axes of all tensors, those of the encoder measured if need be."""
        axes = model_axes(self.model)
        unknown = [name for name in self.model.to_core if _is_unknown(axes, name)]
        if unknown:
            measured = self._measured(feed, unknown)
            axes = model_axes(self.model, measured)
        return axes

    def _found(self, feed: Mapping[str, Array]) -> Axes | None:
        if not _has_free_batch(self.inputs):
            return None
        axes = self._model_axes(feed)
        divided = list(self.model.to_core)
        divided += [state.input for state in self.model.states]
        if any(_is_unknown(axes, name) for name in divided):
            return None
        found = {}
        for name in divided:
            place = axes.of(name)
            if place is not None:
                found[name] = place
        for counter in self.count:
            place = axes.of(counter.spikes)
            if place is None:
                return None
            found[counter.input] = place
        return found

    def _measured(self, feed: Mapping[str, Array], names: Sequence[str]) -> dict[str, Place]:
        """Return where the encoder's tensors have their samples, from runs of one and of two."""
        one, two = (self._encoded(feed, count) for count in (1, 2))
        return {name: measured_by_sizes(one[name], two[name]) for name in names}

    def _encoded(self, feed: Mapping[str, Array], count: int) -> dict[str, Array]:
        return with_outputs(self.parts.encoder, first_samples(feed, count))


def _is_unknown(axes: BatchAxes, name: str) -> bool:
    return not axes.is_shared(name) and axes.of(name) is None


def _has_free_batch(inputs: Sequence[TensorSpec]) -> bool:
    """Whether every input takes any number of samples."""
    leading = [spec.shape[0] if spec.shape else 1 for spec in inputs if spec.shape != ()]
    return not any(isinstance(size, int) for size in leading)
