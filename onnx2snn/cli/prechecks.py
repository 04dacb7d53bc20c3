"""What a command refuses before any work: results that could not be written, or not be drawn."""

from __future__ import annotations

from collections.abc import Mapping


def check_written(written: Mapping[str, str | None]) -> None:
    """Refuse results that cannot be written; `written` has their paths by argument."""
    from onnx2snn.protos.save import check_writable

    for path in written.values():
        if path is not None:
            check_writable(path)


def require_page_libraries(page: str | None) -> None:
    """Refuse a page that cannot be drawn."""
    from onnx2snn.display.libraries import require_libraries

    if page is not None:
        require_libraries()
