"""What a command reads is never written over, nor one of its results over another.

Read are the files named, the external data of a model, a script, and the files of a folder. Places
are compared behind all links; pipes and devices take several results. A path may be anything here:
`os.path` takes one that is too long or has NUL for a path that leads nowhere, `pathlib` raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnx2snn.errors import UsageError

SHARDS = {".tar", ".gz", ".tgz", ".parquet", ".arrow", ".feather"}

DATA_SUFFIXES = frozenset(
    {".npy", ".npz", ".pb", ".png", ".jpg", ".jpeg", ".bmp", ".csv", ".txt", ".py", *SHARDS}
)
"""Endings of the files that are read from a folder."""

MODELS = frozenset({"MODEL", "ANN", "SNN"})
"""Arguments that name a model, which may have external data."""


def require_distinct(read: Mapping[str, str | None], written: Mapping[str, str | None]) -> None:
    """Refuse to write over what is read, or over another result.

    Args:
        read: The paths that are read, by the argument that names them.
        written: The paths that are written, by the argument.

    Raises:
        UsageError: With both arguments.
    """
    from onnx2snn.protos.destination import is_replaced

    kept = dict(_read_places(read))
    folders = {place: name for place, name in kept.items() if os.path.isdir(place)}  # noqa: PTH112
    seen = dict(kept)
    for name, path in written.items():
        if path is None or not is_replaced(path):
            continue
        place = _place(path)
        other = seen.setdefault(place, name)
        if other == name:
            other = _owner(place, folders) or name
        if other == name and name == "-o":
            # weights past 2 GiB go to a second file
            beside = place.with_name(f"{place.name}.data")
            other = kept.get(beside, name)
        if other != name:
            raise UsageError(
                f"{name} would overwrite '{path}', which is {other}; name another file"
            )


def _read_places(read: Mapping[str, str | None]) -> Iterator[tuple[Path, str]]:
    """Yield every file and folder that is read, with the words for it."""
    from onnx2snn.data.scripts import names_script

    for name, path in read.items():
        if path is None:
            continue
        if names_script(path):
            yield _place(path.rpartition(":")[0]), name
            continue
        yield _place(path), name
        if name in MODELS or path.lower().endswith(".pb"):
            for file in _external_files(path):
                yield file, f"external data of {name}"


def _external_files(path: str) -> Iterator[Path]:
    """Yield the files of a model's external data; a model that cannot be read has none."""
    from onnx2snn.protos.external import locations

    if not os.path.isfile(path):  # noqa: PTH113
        return
    folder = os.path.dirname(path)  # noqa: PTH120
    for location in locations(path):
        yield _place(os.path.join(folder, location))  # noqa: PTH118


def _owner(place: Path, folders: Mapping[Path, str]) -> str | None:
    """Return the argument whose folder holds a file that is read from there, or None."""
    is_file = os.path.isfile(place)  # noqa: PTH113
    if not is_file or place.suffix.lower() not in DATA_SUFFIXES:
        return None
    for folder, name in folders.items():
        if folder in place.parents:
            return f"in the folder of {name}"
    return None


def _place(path: str) -> Path:
    """Return the place that a path leads to; one that leads nowhere stays as it is."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return Path(path)
