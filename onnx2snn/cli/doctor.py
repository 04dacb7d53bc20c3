"""The command `doctor`: what is installed, what is missing, and what the runtime does unasked."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from onnx2snn.errors import UsageError
from onnx2snn.version import __version__, release_of

FLOORS = {
    "numpy": "1.26",
    "onnx": "1.17",
    "onnx-graphsurgeon": "0.6.1",
    "onnxruntime": "1.20",
    "rich": "13.7",
}
"""The packages that are needed, with their lowest versions: those of pyproject.toml."""

EXTRAS = {
    "images": ("PIL",),
    "detection": ("pycocotools",),
    "report": ("jinja2", "matplotlib"),
    "datasets": ("pyarrow",),
    "nir": ("nir",),
    "distributed": ("distributed",),
}
"""The modules behind each extra of a user."""

USES = {
    "images": "data from folders of images",
    "detection": "the metric map",
    "report": "pages of charts (--html)",
    "datasets": "data from Parquet and Arrow tables",
    "nir": "NIR graphs (export --to nir)",
    "distributed": "work on a Dask cluster (--dask)",
}
"""What each extra is for."""

SWITCH = "ORT_DISABLE_TELEMETRY"
"""The environment variable that keeps onnxruntime's telemetry from starting."""

FIRST_WITH_TELEMETRY = (1, 29)
"""The version of onnxruntime whose packages for Linux and macOS collect telemetry, too."""


def examined() -> dict[str, Any]:
    """Return versions, providers, extras and telemetry as JSON has them."""
    versions = {name: _version(name) for name in FLOORS}
    return {
        "onnx2snn": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "problems": _problems(versions),
        "providers": _providers(),
        "extras": {name: _missing(name) for name in EXTRAS},
        "telemetry": _telemetry(versions["onnxruntime"]),
    }


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """Return what was found as lines for a person."""
    lines = [f"onnx2snn {found['onnx2snn']}, Python {found['python']}, {found['platform']}"]
    for name, version in found["packages"].items():
        lines.append(f"{name} {version or 'is missing'} ({FLOORS[name]} or newer)")
    lines.append(f"providers of onnxruntime: {', '.join(found['providers']) or 'none'}")
    for name, missing in found["extras"].items():
        state = "there"
        if missing:
            state = f"{', '.join(missing)} missing: pip install 'onnx2snn[{name}]'"
        lines.append(f"extra {name} ({USES[name]}): {state}")
    lines.append(f"telemetry of onnxruntime: {found['telemetry']}")
    return lines


def require_sound(found: Mapping[str, Any]) -> None:
    """Refuse an installation in which a needed package is missing or too old (UsageError)."""
    if found["problems"]:
        raise UsageError(f"{'; '.join(found['problems'])}: run `pip install --upgrade onnx2snn`")


def _version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _problems(versions: Mapping[str, str | None]) -> list[str]:
    problems = []
    for name, version in versions.items():
        if name == "onnxruntime" and version is None and find_spec(name) is not None:
            continue  # builds for other devices go by other names, onnxruntime-gpu say
        if version is None:
            problems.append(f"{name} is missing")
        elif release_of(version) < release_of(FLOORS[name]):
            problems.append(f"{name} {version} is older than {FLOORS[name]}")
    return problems


def _missing(extra: str) -> list[str]:
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def _providers() -> list[str]:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return []
    return list(runtime.get_available_providers())


def _telemetry(version: str | None) -> str:
    """Return what is known of telemetry: whether this version has it, and what is switched off."""
    if version is None:
        return "unknown, no onnxruntime is installed"
    if sys.platform != "win32" and release_of(version)[:2] < FIRST_WITH_TELEMETRY:
        return f"version {version} has none on this system"
    return (
        f"switched off here; a Python program of yours sets {SWITCH}=1 before it imports "
        "onnxruntime, which otherwise writes a device id and may look up a host"
    )
