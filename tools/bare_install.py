"""Check an installation without extras: the package pulls its five libraries and their own needs.

python tools/bare_install.py, with the Python of the environment in question.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata

ALLOWED = {"numpy", "onnx", "onnx-graphsurgeon", "onnxruntime", "rich"}
"""The libraries that an installation may pull by itself."""

ALWAYS = {"pip", "setuptools", "wheel", "onnx2snn"}
"""What stands in a fresh environment anyway, and the package."""


def normalised(name: str) -> str:
    """Return the name of a package as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(package: str) -> set[str]:
    """Return the packages that an installed one names without an extra; none if it is missing."""
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return set()
    names = (re.match(r"[\w.-]+", line) for line in lines if "extra ==" not in line)
    return {normalised(found[0]) for found in names if found}


def closure(packages: Iterable[str]) -> set[str]:
    """Return packages with all that they need, and what that needs."""
    found: set[str] = set()
    left = set(packages)
    while left:
        name = left.pop()
        found.add(name)
        left |= needs(name) - found
    return found


def complaints(installed: Iterable[str]) -> list[str]:
    """Return what is wrong with an environment, in sentences."""
    said = []
    own = needs("onnx2snn")
    if own != ALLOWED:
        said.append(f"onnx2snn requires {sorted(own)}, and not {sorted(ALLOWED)}")
    more = set(installed) - closure(ALLOWED) - ALWAYS
    if more:
        said.append(f"{sorted(more)} are installed, and none of {sorted(ALLOWED)} needs them")
    return said


def main() -> None:
    """Leave with exit code 1 where something else is installed."""
    installed = {normalised(found.metadata["Name"]) for found in metadata.distributions()}
    said = complaints(installed)
    if said:
        sys.exit("; ".join(said))


if __name__ == "__main__":
    main()
