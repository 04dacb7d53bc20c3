"""One time-step of a run, as the user sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from onnx2snn.aliases import Array


@dataclass(frozen=True)
class Step:
    """One time-step of a run.

    `t` counts from 1. `outputs` and `spikes` are computed when first read, which has to be before
    the next step.
    """

    t: int
    _outputs: Callable[[], list[Array]]
    _spikes: Callable[[], dict[str, Array]]

    @cached_property
    def outputs(self) -> list[Array]:
        """The answer so far, in the order of the model's outputs.

        It is of the mean since the delay, before that of the mean since t = 1.
        """
        return self._outputs()

    @cached_property
    def spikes(self) -> dict[str, Array]:
        """The spikes of this step by neuron site, 0 or 1."""
        return self._spikes()
