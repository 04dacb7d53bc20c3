"""Parts of a document that scripts write: between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write_table(lines: Sequence[str], path: Path, name: str) -> None:
    """Put lines between the marks of a document."""
    before, _, after = parts(path, name)
    path.write_text("\n".join([before, *lines, after]))


def parts(path: Path, name: str) -> tuple[str, str, str]:
    """Return what stands before the end of one mark, between the marks, and from the other on."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = path.read_text().partition(start)
    inside, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no place for the table: write {start} and {end} into it")
    return before + start, inside.strip("\n"), end + after
