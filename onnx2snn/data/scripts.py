"""Scripts of users: `script.py:function` is run in this process, as `python script.py` would.

Running a script runs the code of whoever wrote it. In Python only a `Script` is run, made by
`onnx2snn.script`; a plain string never is. The command line runs what its user names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onnx2snn.data.blame import users_code
from onnx2snn.errors import DataError, UsageError
from onnx2snn.protos.reading import require_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Script(str):
    """A path and a function, "script.py:function", that may be run."""

    __slots__ = ()


def script(where: str | os.PathLike[str]) -> Script:
    """Allow the function of a script to be run: as data, or as a metric.

    Args:
        where: The path of a Python file, a colon and the name of a function in it.

    Returns:
        The same text, which `convert`, `evaluate` and the like run.

    Raises:
        UsageError: The text is not of that form.
    """
    text = os.fspath(where)
    if not names_script(text):
        raise UsageError(f"script is '{text}'; it has to be script.py:function")
    return Script(text)


def names_script(text: str) -> bool:
    """Return whether a text has the form script.py:function."""
    path, _, function = text.rpartition(":")
    return path.endswith(".py") and bool(function)


def allowed(text: str) -> str:
    """Return what a user typed, as a script where it has the form of one."""
    return Script(text) if names_script(text) else text


@contextmanager
def script_function(path: Path, function: str) -> Iterator[Callable[..., Any]]:
    """Run a user's script and yield its function.

    Inside the context the function may import the script's neighbours, as under `python script.py`;
    afterwards neither these nor the script are among Python's modules, nor its folder on the path.

    Raises:
        DataError: Where the script raises, or has no such function.
    """
    with _visiting(path.parent):
        module = _run_script(path)
        found = getattr(module, function, None)
        if not callable(found):
            raise DataError(f"{path} has no function '{function}': define it or correct the name")
        yield found


@contextmanager
def _visiting(folder: Path) -> Iterator[None]:
    """Put a folder on Python's path; afterwards forget it and all that came from there."""
    before = list(sys.path)
    before_modules = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        # the script may have added to the list
        added = {str(folder)} | (set(sys.path) - set(before))
        sys.path[:] = before
        places = {os.path.realpath(place) for place in added}
        new = set(sys.modules) - before_modules
        # all are looked at first: the place of a module is that of its package
        for name in [name for name in new if _place(name) in places]:
            del sys.modules[name]


def _place(name: str) -> str | None:
    """Return the entry of Python's path that a module was found in, or None where it has none."""
    top = sys.modules.get(name.partition(".")[0])
    packages = list(getattr(top, "__path__", ()))
    file = packages[0] if packages else getattr(top, "__file__", None)
    if file is None:
        return None
    return os.path.realpath(Path(file).parent)


def _run_script(path: Path) -> ModuleType:
    """Return the module that a script makes."""
    try:
        # Python would wait for a pipe, and read a device without end
        require_file(path)
    except OSError as error:
        said = error.strerror or error
        raise DataError(f"the script '{path}' cannot be read: {said}; correct the path") from error
    name = f"_onnx2snn_data_{path.stem}"
    loader = _WithoutCache(name, str(path))
    spec = util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # there is a loader
    module = util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    with users_code(str(path)):
        loader.exec_module(module)
    return module


class _WithoutCache(SourceFileLoader):
    """Loads a script and leaves no bytecode beside it, as `python script.py` does."""

    def set_data(self, path: str, data: ReadableBuffer, *, _mode: int = 0o666) -> None:
        """Write nothing."""
