"""The map of modules, for docs/architecture.md: every module with the first line of its docstring.

mkdocs runs `on_page_markdown` as a hook, so the map of the site is never out of date.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1] / "onnx2snn"
MARK = "<!-- modules -->"
"""The place in a page that the map takes."""


def about(path: Path) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def module_map() -> str:
    """Return a Markdown table of all modules, folder by folder in alphabetical order."""
    rows = ["| module | contents |", "| --- | --- |"]
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        first_line = about(path).replace("|", "\\|")
        if path.name == "__init__.py" and path.parent != PACKAGE:
            name = f"**{path.parent.relative_to(PACKAGE).as_posix()}/**"
        rows.append(f"| {name} | {first_line} |")
    return "\n".join(rows)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark in a page by the map."""
    return markdown.replace(MARK, module_map())
