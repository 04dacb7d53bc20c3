"""Scripts of users: `script.py:function` is run in this process, as `python script.py` would.

Running a script runs the code of whoever wrote it. Only paths that a user names are run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

from onnx2snn.data.blame import users_code
from onnx2snn.errors import DataError


@contextmanager
def script_function(path: Path, function: str) -> Iterator[Callable[..., Any]]:
    """Run a user's script and yield its function.

    Inside the context the function may import the script's neighbours, as under `python script.py`.

    Raises:
        DataError: Where the script raises, or has no such function.
    """
    folder = str(path.parent)
    sys.path.insert(0, folder)
    try:
        module = _run_script(path)
        found = getattr(module, function, None)
        if not callable(found):
            raise DataError(f"{path} has no function '{function}': define it or correct the name")
        yield found
    finally:
        with suppress(ValueError):  # the script may have changed the list
            sys.path.remove(folder)


def _run_script(path: Path) -> ModuleType:
    """Return the module that a script makes."""
    spec = util.spec_from_file_location(f"_onnx2snn_data_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    with users_code(str(path)):
        spec.loader.exec_module(module)
    return module
