"""onnxruntime's execution providers: names as users write them, refused where they cannot run.

A provider is named as onnxruntime does, or in short (`cuda` for CUDAExecutionProvider), with the
number of the device behind a colon where there are several (`cuda:1`). Each is tried on a network
of one node before any work: onnxruntime itself falls back to the CPU without an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from onnx2snn.errors import UsageError, one_line
from onnx2snn.protos.sessions import CPU, session_options

Provider = str | tuple[str, dict[str, Any]]
"""A provider's name, or that and its options, as onnxruntime takes it."""

SUFFIX = "ExecutionProvider"

PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "dml": "onnxruntime-directml",
}
"""The package that has a provider, by short names; it is installed in place of onnxruntime."""

OPSET, IR = 13, 8
"""Of the network that a provider is tried on: what every onnxruntime reads."""


def usable(providers: Sequence[Any] | str | None) -> list[Provider]:
    """Return execution providers as onnxruntime takes them; None or nothing: the CPU alone.

    Raises:
        UsageError: One is unknown, not in this build of onnxruntime, or cannot start here.
    """
    if not providers:
        return [CPU]
    asked = [providers] if isinstance(providers, str) else list(providers)
    found = [_known(provider) for provider in asked]
    if found != [CPU]:
        _require_start(found)
    return found


def name_of(provider: Provider) -> str:
    """Return a provider's name without its options."""
    return provider if isinstance(provider, str) else provider[0]


def options_of(provider: Provider) -> Mapping[str, Any]:
    """Return a provider's options."""
    return {} if isinstance(provider, str) else provider[1]


def short(name: str) -> str:
    """Return a provider's name in lower case, without what all have in common."""
    return name.removesuffix(SUFFIX).lower()


def _known(provider: object) -> Provider:
    """Return a provider with the name that onnxruntime has for it."""
    if isinstance(provider, str):
        text, _, number = provider.partition(":")
        if not number:
            return _available(text)
        if not number.isdecimal():
            raise UsageError(
                f"provider is '{provider}'; behind the colon stands the number of a device"
            )
        return _available(text), {"device_id": int(number)}
    if isinstance(provider, tuple | list) and len(provider) == 2:
        name, options = provider
        if isinstance(name, str) and isinstance(options, Mapping):
            return _available(name), dict(options)
    raise UsageError(
        f"provider is {provider!r}; it has to be a name like cuda, or a name and its options"
    )


def _available(asked: str) -> str:
    there = ort.get_available_providers()
    for name in there:
        if short(name) == short(asked):
            return str(name)
    package = PACKAGES.get(short(asked))
    mend = f"; install {package} in place of onnxruntime" if package else ""
    raise UsageError(f"onnxruntime has no provider '{asked}' here, but {', '.join(there)}{mend}")


def _require_start(providers: Sequence[Provider]) -> None:
    """Refuse providers of which one does not start (UsageError)."""
    names = ", ".join(name_of(provider) for provider in providers)
    try:
        session = ort.InferenceSession(
            _smallest().SerializeToString(),
            session_options(1),
            providers=list(providers),
            enable_fallback=0,
        )
    except Exception as error:
        raise UsageError(
            f"onnxruntime cannot start {names} here ({one_line(error)}); there are "
            f"{', '.join(ort.get_available_providers())}"
        ) from error
    started = session.get_providers()
    for provider in providers:
        if name_of(provider) not in started:
            raise UsageError(
                f"{name_of(provider)} does not start here: onnxruntime does not find its driver, "
                f"libraries or device; there are {', '.join(started)}"
            )


def _smallest() -> onnx.ModelProto:
    """Return a network of one node."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "provider",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
