"""Print the lowest versions that pyproject.toml allows, a requirement a line, for pip to install.

python tools/lowest.py [EXTRA ...]
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(extras: list[str]) -> list[str]:
    """Return the requirements of the package and of some extras, each at its floor."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    # an extra made of others names the package itself; these are given by name
    return [line.replace(">=", "==") for line in wanted if not line.startswith("onnx2snn")]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest(sys.argv[1:])) + "\n")
