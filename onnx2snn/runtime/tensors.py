"""Tensors of a run that do not change, in the host's memory, a device's, or both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.protos.batch_arrays import samples_of
from onnx2snn.protos.batch_types import BatchAxis
from onnx2snn.runtime.device import Device, Values

Axes = Mapping[str, BatchAxis]
"""The batch axes of the tensors that are divided, by name."""


class Tensors(Mapping[str, Array]):
    """Tensors by name, as arrays; each crosses to the other memory when it is first asked for."""

    def __init__(
        self, device: Device, arrays: Mapping[str, Array], values: Values | None = None
    ) -> None:
        """Hold these.

        Args:
            device: The device's memory.
            arrays: Tensors of the host.
            values: Further ones, of the device.
        """
        self.device = device
        self._arrays = dict(arrays)
        self._values = dict(values or {})
        self._names = tuple(dict.fromkeys([*self._arrays, *self._values]))

    def __getitem__(self, name: str) -> Array:
        """Return a tensor as an array, which is not to be written."""
        if name not in self._arrays:
            self._arrays[name] = self.device.read(self._values[name])
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)

    def value(self, name: str) -> ort.OrtValue:
        """Return a tensor as onnxruntime takes it on the device."""
        if name not in self._values:
            self._values[name] = self.device.put(self._arrays[name])
        return self._values[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, wherever it is."""
        if name in self._arrays:
            return self._arrays[name].shape
        return tuple(self._values[name].shape())

    def values_of(
        self, names: Collection[str], chunk: slice | None = None, axes: Axes | None = None
    ) -> Values:
        """Return tensors as onnxruntime takes them on the device.

        Args:
            names: Their names.
            chunk: The samples to take; None takes all of them.
            axes: The batch axes of the tensors that are divided; all others stay whole.
        """
        if chunk is None:
            return {name: self.value(name) for name in names}
        values = {}
        for name in names:
            place = axes.get(name) if axes else None
            if place is None:
                values[name] = self.value(name)
            else:
                array = samples_of(self[name], place, chunk.start, chunk.stop)
                values[name] = self.device.put(array)
        return values
