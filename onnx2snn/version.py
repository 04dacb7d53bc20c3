"""The package's version, and versions of others as numbers."""

import re

__version__ = "0.1.0"


def release_of(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, three at most."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
