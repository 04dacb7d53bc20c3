"""The onnxruntime sessions of a spiking model's parts: encoder, core (in its several forms) and readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.errors import UsageError
from onnx2snn.protos.sessions import session_options, session_with, usable_cores
from onnx2snn.runtime import cut
from onnx2snn.runtime.spike_counters import SpikeCounter
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.snn.step_model import StepModel

CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Opening:
    """How sessions are opened: the user's options and providers, or a number of threads (None: onnxruntime's choice)."""

    options: ort.SessionOptions | None = None
    providers: Sequence[Any] = (CPU,)
    threads: int | None = None

    @property
    def workers(self) -> int:
        """How many chunks of a batch run at once, a thread each: as many as a pass would have threads."""
        if self.options is not None or list(self.providers) != [CPU]:
            return 1
        return self.threads or usable_cores()

    def open(self, proto: onnx.ModelProto, *, spinning: bool) -> ort.InferenceSession:
        """Open a session and use up its model; `spinning` is about its threads (`session_options`)."""
        options = self.options or session_options(self.threads, spinning=spinning)
        return session_with(proto, options, self.providers, used_up=True)

    def open_alone(self, proto: onnx.ModelProto) -> ort.InferenceSession:
        """Open a session of one thread and use up its model."""
        return session_with(proto, session_options(1), self.providers, used_up=True)


class Parts:
    """The sessions of one spiking model; those of the core are opened when they are first needed."""

    def __init__(self, model: StepModel, count: Sequence[SpikeCounter], opening: Opening) -> None:
        """Open encoder and readout, where there is one.

        They run before and after the core, whose threads must not find theirs still spinning.
        """
        self.opening = opening
        self._model = model
        self._count = count
        self.encoder = self._beside_the_core(cut.encoder(model))
        self.readout = self._beside_the_core(cut.readout(model))

    def _beside_the_core(self, proto: onnx.ModelProto | None) -> ort.InferenceSession | None:
        if proto is None:
            return None
        return self.opening.open(proto, spinning=False)

    @cached_property
    def core(self) -> ort.InferenceSession:
        """The core of one time-step."""
        return self.opening.open(cut.core(self._model, count=self._count), spinning=True)

    @cached_property
    def observer(self) -> ort.InferenceSession:
        """The core of one time-step with every neuron's spikes as outputs."""
        return self.opening.open(cut.core(self._model, spikes=True), spinning=True)

    @property
    def refusal(self) -> str | None:
        """Why time cannot be folded into this model's batch axis, or None where it can."""
        return self._batched if isinstance(self._batched, str) else None

    @property
    def batched_core(self) -> ort.InferenceSession:
        """The core of many time-steps at once; UsageError where an operator forbids it."""
        if isinstance(self._batched, str):
            raise UsageError(
                f"time cannot be folded into this model's batch axis ({self._batched}); "
                "use schedule='stepped' or 'auto'"
            )
        return self._batched

    @cached_property
    def _batched(self) -> ort.InferenceSession | str:
        made = batched_core(self._model, self._count)
        if isinstance(made, str):
            return made
        return self.opening.open(made, spinning=False)

    @cached_property
    def batched_core_of_a_worker(self) -> ort.InferenceSession:
        """The time-batched core with one thread, for chunks that run side by side."""
        made = batched_core(self._model, self._count)
        assert not isinstance(made, str)
        return self.opening.open_alone(made)


def with_outputs(
    session: ort.InferenceSession | None, known: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the tensors known and those a part makes of them; no part (None) makes none."""
    if session is None:
        return dict(known)
    feed = {value.name: known[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return {**known, **dict(zip(names, session.run(None, feed), strict=True))}
