"""onnxruntime sessions of models of any size, as a rule on the CPU and optimised by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from onnx2snn.aliases import Array, Dim, DType
from onnx2snn.errors import (
    ComputationError,
    ModelFileError,
    one_line,
    out_of_memory,
)
from onnx2snn.protos.computing import from_runtime
from onnx2snn.protos.large import as_argument
from onnx2snn.version import release_of

InferredType = tuple[DType, Sequence[Dim] | None]
"""The type and the shape of a tensor; None where not even the rank is known."""

CPU = "CPUExecutionProvider"
"""onnxruntime's execution provider for processors."""

LEVELS = (
    ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
)
"""Levels of optimisation below onnxruntime's default, the highest first."""

LOSES_OUTPUTS = release_of(ort.__version__) < (1, 24)
"""Whether onnxruntime's highest level may lose inner tensors that are outputs: before 1.24."""

NO_PACKING = "session.disable_prepacking"
"""onnxruntime's option to leave weights as they are, once in memory."""

FATAL = 4
"""onnxruntime's log level: a failed run is reported once, by this package."""


# its events; what an import of onnxruntime does by itself, only the environment can prevent
ort.disable_telemetry_events()

MEASURED = "onnx2snn/shape/"
"""Before the name of the output that holds a tensor's shape."""

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def _numpy_types() -> dict[str, DType]:
    """Return NumPy's types by onnxruntime's names of tensors."""
    types = {f"tensor({name})": np.dtype(name) for name in INTEGERS}
    types["tensor(float16)"] = np.dtype(np.float16)
    types["tensor(float)"] = np.dtype(np.float32)
    types["tensor(double)"] = np.dtype(np.float64)
    return types


NUMPY_TYPES = _numpy_types()

MOST_SIDE_BY_SIDE = 8
"""Runs that go side by side where there are cores enough: each takes memory of its own."""


def session_options(
    threads: int | None, *, spinning: bool = True, once: bool = False
) -> ort.SessionOptions:
    """Return session options with a number of threads (None: onnxruntime's own choice).

    `spinning`: after a run threads wait for the next one in a busy loop for some 50 ms. That is
    quickest where it comes at once, and slows down all other work meanwhile. `once`: it runs a few
    times only, so that weights are not packed for speed, which takes their size.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    if not spinning:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if once:
        options.add_session_config_entry(NO_PACKING, "1")
        # where nothing is packed, onnxruntime's plan of all initializers takes their number squared
        options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def usable_cores() -> int:
    """Return the number of processor cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shared_out(threads: int | None) -> tuple[int, int]:
    """Return how many runs go side by side, and how many threads each of them has.

    Args:
        threads: All together (None: one for each usable core).
    """
    total = threads or usable_cores()
    workers = min(MOST_SIDE_BY_SIDE, total)
    return workers, total // workers


def open_session(
    proto: onnx.ModelProto,
    threads: int | None,
    providers: Sequence[Any] = (CPU,),
    *,
    used_up: bool = False,
    once: bool = False,
) -> ort.InferenceSession:
    """Return a session of a model.

    Args:
        proto: The model.
        threads: As many as onnxruntime uses (None: its own choice).
        providers: onnxruntime's execution providers, as it takes them.
        used_up: Nobody needs the model afterwards, which is emptied.
        once: As `session_options` has it.

    Raises:
        ModelFileError: onnxruntime cannot load it.
    """
    options = session_options(threads, once=once)
    with loading():
        return session_with(proto, options, providers, used_up=used_up)


def open_own_session(
    proto: onnx.ModelProto, threads: int | None, *, once: bool = False
) -> ort.InferenceSession:
    """Return a session of a model that was made of the ANN, which onnxruntime has loaded.

    The model is emptied: nobody needs it afterwards. `once`: as `session_options` has it.

    Raises:
        ComputationError: onnxruntime opens it at no level of its optimisation.
    """
    name = proto.graph.name
    options = session_options(threads, once=once)
    if LOSES_OUTPUTS:
        options.graph_optimization_level = LEVELS[0]
    try:
        with loading():
            return session_with(proto, options, used_up=True)
    except ModelFileError as error:
        reason = one_line(error.__cause__ or error)
        raise ComputationError(
            f"onnxruntime cannot open a model made of '{name}', however little it "
            f"optimises ({reason}); please report this model"
        ) from error


@contextmanager
def loading() -> Iterator[None]:
    """Turn onnxruntime's error about a model that it cannot load into a ModelFileError."""
    try:
        yield
    except Exception as error:
        if not from_runtime(error):
            raise
        if out_of_memory(error):
            raise MemoryError(one_line(error)) from error
        raise ModelFileError(f"onnxruntime cannot load the model: {one_line(error)}") from error


def session_with(
    proto: onnx.ModelProto,
    options: ort.SessionOptions,
    providers: Sequence[Any] = (CPU,),
    *,
    used_up: bool = False,
    disabled_optimizers: Collection[str] = (),
) -> ort.InferenceSession:
    """Return a session of a model with options of one's own.

    Where onnxruntime's own optimisation fails on a model, a lower level of it is tried.

    Args:
        proto: The model.
        options: The session's options.
        providers: onnxruntime's execution providers, as it takes them.
        used_up: Nobody needs the model afterwards; it is emptied, so that its weights are not held
            twice.
        disabled_optimizers: Names of onnxruntime's graph optimisations to leave out.

    Returns:
        The session.
    """
    writes_model = bool(options.optimized_model_filepath)
    with as_argument(proto, whole=writes_model) as model:
        if used_up:
            proto.Clear()

        def opened() -> ort.InferenceSession:
            return ort.InferenceSession(
                model,
                options,
                providers=list(providers),
                disabled_optimizers=list(disabled_optimizers),
                # it would say so on stdout, and run on the CPU: `protos.providers` refuses instead
                enable_fallback=0,
            )

        if writes_model:
            # it is wanted as it was asked for
            return opened()
        return _first_opened(opened, options)


def _first_opened(
    opened: Callable[[], ort.InferenceSession], options: ort.SessionOptions
) -> ort.InferenceSession:
    """Open a session as the options say, or else at the first lower level that works.

    The options are as before afterwards. Where no level works, the first error is raised.
    """
    asked = options.graph_optimization_level
    try:
        return opened()
    except Exception as error:
        if out_of_memory(error):
            raise
        for level in _lower_levels(options):
            options.graph_optimization_level = level
            with suppress(Exception):
                return opened()
        raise
    finally:
        options.graph_optimization_level = asked


def _lower_levels(options: ort.SessionOptions) -> list[ort.GraphOptimizationLevel]:
    """Return the levels of optimisation below that of the options, the highest first."""
    asked = options.graph_optimization_level
    return [level for level in LEVELS if level.value < asked.value]


def types_of(proto: onnx.ModelProto, names: Sequence[str]) -> dict[str, InferredType]:
    """Return the types and shapes that onnxruntime infers of inner tensors, by name.

    A tensor of a type that NumPy has not is left out.
    """
    session = _unoptimised_session(_with_outputs(proto, names), used_up=True)
    asked = set(names)
    found: dict[str, InferredType] = {}
    for output in session.get_outputs():
        if output.name in asked and output.type in NUMPY_TYPES:
            # onnxruntime gives the same empty shape for a scalar and for an unknown rank
            found[output.name] = (NUMPY_TYPES[output.type], output.shape or None)
    return found


def measured_shapes(
    proto: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Mapping[str, Array]]
) -> list[dict[str, tuple[int, ...]]]:
    """Return the shapes that tensors of a model have in some runs of it.

    Args:
        proto: The model, of opset 15 or newer.
        names: The tensors, none of which is a sequence or optional.
        feeds: The inputs of each run; what the model has no input for is left out.

    Returns:
        The shapes by name, run by run, without the runs that fail.
    """
    if not names:  # onnxruntime would take that for all outputs
        return [{} for _ in feeds]
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    measured = [f"{MEASURED}{name}" for name in names]
    # shapes alone leave a session: what a run holds is no more than the network needs
    for name, shape in zip(names, measured, strict=True):
        asked.graph.node.append(helper.make_node("Shape", [name], [shape]))
        output = helper.make_tensor_value_info(shape, onnx.TensorProto.INT64, [None])
        asked.graph.output.append(output)
    session = _unoptimised_session(asked, used_up=True)
    taken = {value.name for value in session.get_inputs()}
    found = []
    for feed in feeds:
        own = {name: values for name, values in feed.items() if name in taken}
        try:
            shapes = session.run(measured, own)
        except Exception:  # noqa: BLE001 - onnxruntime's have no base; a later stage says why
            continue
        sizes = [tuple(int(size) for size in shape) for shape in shapes]
        found.append(dict(zip(names, sizes, strict=True)))
    return found


def _unoptimised_session(proto: onnx.ModelProto, *, used_up: bool) -> ort.InferenceSession:
    """Return a session without optimisation, which would cost time and believe inferred sizes."""
    options = session_options(None, once=True)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with loading():
        return session_with(proto, options, used_up=used_up)


def _with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of a model in which some inner tensors are outputs, too."""
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    given = {value.name for value in proto.graph.output}
    for name in names:
        if name not in given:
            asked.graph.output.append(onnx.ValueInfoProto(name=name))
    return asked
