"""The onnxruntime sessions of a spiking model's parts: encoder, core and readout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import RLock

import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.errors import ComputationError, ModelFileError, UsageError, one_line
from onnx2snn.protos.computing import simulating
from onnx2snn.protos.providers import Provider, name_of
from onnx2snn.protos.sessions import (
    CPU,
    loading,
    session_options,
    session_with,
    usable_cores,
)
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.runtime import cut
from onnx2snn.runtime.blocks import opened_in_blocks
from onnx2snn.runtime.chains import has_chains, with_chains
from onnx2snn.runtime.device import FLOATS, Device, device_of
from onnx2snn.runtime.half import in_half
from onnx2snn.runtime.kernels import kernel_library
from onnx2snn.runtime.spike_counters import SpikeCounter
from onnx2snn.runtime.tensors import Tensors
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.snn.step_model import StepModel


@dataclass(frozen=True)
class Opening:
    """How sessions are opened.

    Attributes:
        options: The user's own, which stand instead of the number of threads.
        providers: Execution providers, as `protos.providers.usable` returns them.
        threads: Of each session; None is onnxruntime's choice.
        memory: Where states stay; None: the memory of the first provider.
        float16: Whether spikes cross weights in float16.
        kernels: Whether elementwise operators are chains, which the package onnx2snn-kernels has.
    """

    options: ort.SessionOptions | None = None
    providers: Sequence[Provider] = (CPU,)
    threads: int | None = None
    memory: Device | None = None
    float16: bool = False
    kernels: bool = False

    def __post_init__(self) -> None:
        """Refuse kernels where there are none (UsageError)."""
        if not self.kernels:
            return
        if self.options is not None:
            raise UsageError("kernels ask for sessions of our own: give threads, not sess_options")
        if not self.is_plain:
            raise UsageError(
                f"kernels run on the CPU, not on {name_of(self.providers[0])}: leave either out"
            )
        kernel_library()

    @property
    def device(self) -> Device:
        """The memory that states stay in."""
        return self.memory or device_of(self.providers)

    @property
    def workers(self) -> int:
        """How many chunks of a batch run at once, a thread each.

        As many as a pass would have threads, and 1 where those are not ours to choose.
        """
        if self.options is not None or not self.is_plain:
            return 1
        return self.threads or usable_cores()

    @property
    def is_plain(self) -> bool:
        """Whether the CPU computes all."""
        return list(self.providers) == [CPU]

    @contextmanager
    def computing(self, inputs: Sequence[TensorSpec] = ()) -> Iterator[None]:
        """Turn onnxruntime's error about a model of ours into one of ours, as `simulating` does.

        Where another provider fails, it is to blame (UsageError).
        """
        try:
            with simulating(inputs=inputs):
                yield
        except ComputationError as error:
            if self.is_plain:
                raise
            raise self._refusal(error.__cause__ or error) from error

    def _refusal(self, error: BaseException) -> UsageError:
        name = name_of(self.providers[0])
        return UsageError(
            f"{name} cannot compute this spiking model: leave the provider out, or take another "
            f"({one_line(error)})"
        )

    def open(
        self, proto: onnx.ModelProto, *, spinning: bool, once: bool = False
    ) -> ort.InferenceSession:
        """Open a session and use up its model.

        `spinning` is about threads, `once` about weights (`session_options`).
        """
        options = self.options
        if options is None:
            options = session_options(self.threads, spinning=spinning, once=once)
        proto = self._with_kernels(proto, options)
        try:
            with loading():
                return session_with(proto, options, self.providers, used_up=True)
        except ModelFileError as error:
            if self.is_plain:
                raise
            raise self._refusal(error) from error

    def open_alone(self, proto: onnx.ModelProto) -> ort.InferenceSession:
        """Open a session of one thread and use up its model."""
        options = session_options(1)
        proto = self._with_kernels(proto, options)
        with loading():
            return session_with(proto, options, self.providers, used_up=True)

    def _with_kernels(self, proto: onnx.ModelProto, options: ort.SessionOptions) -> onnx.ModelProto:
        """Return a model with chains where there are kernels for them, known to the options."""
        if not self.kernels:
            return proto
        library = kernel_library()
        options.register_custom_ops_library(library)
        if not has_chains(proto):
            proto = with_chains(proto)
        return opened_in_blocks(proto, library, options)


class Parts:
    """The sessions of one spiking model; those of the core are opened when first needed."""

    def __init__(self, model: StepModel, count: Sequence[SpikeCounter], opening: Opening) -> None:
        """Open encoder and readout, where there is one.

        They run before and after the core, whose threads must not find theirs still spinning.

        Raises:
            UsageError: Float16 is asked for, of a model of differential coding.
        """
        self.opening = opening
        if opening.float16:
            model = in_half(model)
        self._model = model
        self._count = count
        self._lock = RLock()
        """Held while a session is opened, so that threads do not open it twice."""
        self._unopened: onnx.ModelProto | None = None
        """A core of many time-steps that no session has used up."""
        self.encoder = self._opened(cut.encoder(model))
        self.readout = self._opened(cut.readout(model))

    def _opened(self, proto: onnx.ModelProto | None) -> ort.InferenceSession | None:
        if proto is None:
            return None
        return self.opening.open(proto, spinning=False)

    @property
    def core(self) -> ort.InferenceSession:
        """The core of one time-step."""
        with self._lock:
            return self._core

    @cached_property
    def _core(self) -> ort.InferenceSession:
        proto = cut.core(self._model, count=self._count)
        return self.opening.open(proto, spinning=True)

    @property
    def observer(self) -> ort.InferenceSession:
        """The core of one time-step with every neuron's spikes as outputs."""
        with self._lock:
            return self._observer

    @cached_property
    def _observer(self) -> ort.InferenceSession:
        proto = cut.core(self._model, spikes=True)
        return self.opening.open(proto, spinning=True)

    @cached_property
    def neuron_inputs(self) -> ort.InferenceSession:
        """The way from states after a step to what neurons of differential coding are given."""
        return self.opening.open(cut.neuron_inputs(self._model), spinning=False, once=True)

    @property
    def refusal(self) -> str | None:
        """Why time cannot be folded into this model's batch axis, or None where it can."""
        with self._lock:
            return self._reason

    @cached_property
    def _reason(self) -> str | None:
        made = batched_core(self._model, self._count, joined=self.opening.kernels)
        if isinstance(made, str):
            return made
        self._unopened = made
        return None

    def require_batched(self) -> None:
        """Refuse to fold time into the batch axis where an operator forbids it (UsageError)."""
        if self.refusal is not None:
            raise UsageError(
                f"time cannot be folded into this model's batch axis ({self.refusal}); "
                "use schedule='stepped' or 'auto'"
            )

    @property
    def batched_core(self) -> ort.InferenceSession:
        """The core of many time-steps at once; UsageError where an operator forbids it."""
        self.require_batched()
        with self._lock:
            return self._batched

    @cached_property
    def _batched(self) -> ort.InferenceSession:
        return self.opening.open(self._batched_model(), spinning=False)

    @cached_property
    def _batched_alone(self) -> ort.InferenceSession:
        """The time-batched core with one thread."""
        return self.opening.open_alone(self._batched_model())

    def _batched_model(self) -> onnx.ModelProto:
        """Return the core of many time-steps, for one session, which uses it up."""
        made, self._unopened = self._unopened, None
        joined = self.opening.kernels
        if made is None:
            made = self._made_again(joined=joined)
        if joined:
            made = with_chains(made)
            # a Scan that is left of joined recurrences would need the shape of each state
            if any(node.op_type == "Scan" for node in made.graph.node):
                made = self._made_again(joined=False)
        return made

    def _made_again(self, *, joined: bool) -> onnx.ModelProto:
        made = batched_core(self._model, self._count, joined=joined)
        assert not isinstance(made, str)
        return made

    def batched_core_for(self, chunks: int) -> ort.InferenceSession:
        """Return the core of many time-steps for a batch of some chunks.

        It has one thread where chunks run side by side.
        """
        if chunks > 1 and self.opening.workers > 1:
            self.require_batched()
            with self._lock:
                return self._batched_alone
        return self.batched_core

    def open_core(self) -> None:
        """Open the core of one time-step."""
        _ = self.core

    def open_batched_core(self) -> None:
        """Open the core of many time-steps; UsageError where an operator forbids it."""
        _ = self.batched_core


def with_outputs(
    session: ort.InferenceSession | None, known: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the tensors known and those a part makes of them; no part (None) makes none."""
    found = dict(known)
    if session is None:
        return found
    feed = {value.name: known[value.name] for value in session.get_inputs()}
    made = session.run(None, feed)
    for value, array in zip(session.get_outputs(), made, strict=True):
        found[value.name] = array
    return found


def encoded(
    session: ort.InferenceSession | None, inputs: Mapping[str, Array], device: Device
) -> Tensors:
    """Return the inputs and what the encoder (None: there is none) makes of them on a device."""
    if session is None or device.is_host:
        return Tensors(device, with_outputs(session, inputs))
    binding = session.io_binding()
    # a binding does not keep what shares the memory of an array, as integers do (onnxruntime 1.20)
    given = {value.name: device.put(inputs[value.name]) for value in session.get_inputs()}
    for name, value in given.items():
        binding.bind_ortvalue_input(name, value)
    made = session.get_outputs()
    for value in made:
        if value.type in FLOATS:
            device.bind_output(binding, value.name)
        else:
            binding.bind_output(value.name)
    session.run_with_iobinding(binding)
    names = [value.name for value in made]
    values = dict(zip(names, binding.get_outputs(), strict=True))
    return Tensors(device, inputs, values)
