"""The libraries that draw a page: installed by the extra `report`, needed by `--html` only."""

from __future__ import annotations

import os
from importlib.util import find_spec

from onnx2snn.errors import UsageError
from onnx2snn.protos.save import check_writable

LIBRARIES = ("jinja2", "matplotlib")


def require_libraries() -> None:
    """Check that the libraries of a page are installed, without loading them.

    Raises:
        UsageError: One of them is not; the sentence says how to install them.
    """
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if not missing:
        return
    names = " and ".join(missing)
    raise UsageError(
        f"a page of charts (--html) needs {names}: run `pip install 'onnx2snn[report]'`"
    )


def require_page(html: str | os.PathLike[str] | None) -> None:
    """Refuse a page that cannot be drawn or written, before any work is done (UsageError)."""
    if html is None:
        return
    if not isinstance(html, str | os.PathLike):
        raise UsageError(f"html is {html!r}; it has to be the path of a file")
    require_libraries()
    check_writable(html)
