"""Saving of files, whole or not at all: a result appears under its name once it is complete.

Results of one run appear together. Pipes and devices are not replaced: the complete result is
sent to them (`protos.destination`).
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.errors import OutputError
from onnx2snn.protos import large, wire
from onnx2snn.protos.destination import Destination, destination
from onnx2snn.protos.temporary import listed

MOST_SHOWN = 50
"""Characters of a file's name that the name of its temporary file begins with."""

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ORDINARY_MODE = 0o666
"""Permissions of a new file, of which the system takes the process's umask away."""


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse early a path that `atomic_write` would refuse after minutes of work (OutputError)."""
    return destination(path).path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file that takes the place of `path` when all went well.

    Otherwise it is removed. A link stays and the file behind it is replaced; a pipe or a device is
    sent the content.

    Raises:
        OutputError: Where the file cannot be written.
    """
    target = destination(path)
    with blaming(target.path), _temporary(target) as temporary:
        yield temporary
        if target.direct:
            target.send(temporary)
        else:
            temporary.replace(target.file)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let no other process of this package replace results in a folder meanwhile.

    Two that write to the same places take turns. Where the system has no such lock they do not.
    """
    with ExitStack() as stack:
        if fcntl is not None:
            with suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn an error of the system while `path` is written into an OutputError that names it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}") from error


@contextmanager
def _temporary(target: Destination) -> Iterator[Path]:
    """Yield an empty file on the same disk as the target, with the mode it will have."""
    folder = Path(tempfile.gettempdir()) if target.direct else target.file.parent
    # a name may be as long as the system allows already
    path = folder / f".{target.file.name[:MOST_SHOWN]}.{secrets.token_hex(4)}"
    # made without tempfile, whose files are private whatever the umask says
    with listed(path):
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, ORDINARY_MODE)
        os.close(handle)
        if not target.direct:
            with suppress(FileNotFoundError):
                path.chmod(stat.S_IMODE(target.file.stat().st_mode))
        yield path


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all (OutputError)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays as .npz, whole or not at all (OutputError)."""
    with together() as results:
        results.npz(path, arrays)


def save_model(path: str | os.PathLike[str], proto: onnx.ModelProto) -> None:
    """Write a model whole or not at all; past 2 GiB with its weights in `PATH.data` (OutputError).

    No moment pairs an old model with new weights.
    """
    with together() as results:
        results.model(path, proto)


@contextmanager
def together() -> Iterator[Results]:
    """Yield a place for the results of one run, which appear when all went well, or not at all.

    Raises:
        OutputError: One of them cannot be written; none is then.
    """
    with ExitStack() as stack:
        results = Results(stack)
        yield results
        results.put()


class Results:
    """Results that are whole in temporary files, and take their places together."""

    def __init__(self, stack: ExitStack) -> None:
        """Begin without any; the temporary files go with the stack."""
        self._stack = stack
        self._staged: list[tuple[Destination, Path]] = []

    @contextmanager
    def file(self, path: str | os.PathLike[str]) -> Iterator[Path]:
        """Yield the temporary file of a result (OutputError)."""
        target = destination(path)
        with blaming(target.path):
            temporary = self._stack.enter_context(_temporary(target))
            yield temporary
        self._staged.append((target, temporary))

    def write(self, path: str | os.PathLike[str], data: bytes) -> None:
        """Add a file of some bytes (OutputError)."""
        with self.file(path) as temporary:
            temporary.write_bytes(data)

    def npz(self, path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
        """Add an archive of arrays (OutputError)."""
        with self.file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, value in arrays.items():
                if value.dtype.hasobject:
                    value = value.astype(str)
                # np.savez, which has parameters like `file`, cannot write arrays of these names
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, value, allow_pickle=False)

    def model(self, path: str | os.PathLike[str], proto: onnx.ModelProto) -> None:
        """Add a model, in two files where it is over 2 GiB (OutputError)."""
        if large.fits(proto):
            with self.file(path) as temporary, temporary.open("wb") as file:
                for part in wire.parts(proto):
                    file.write(part)
            return
        target = destination(path)
        if target.direct:
            raise OutputError(
                f"'{target.path}' cannot be written: the model is over 2 GiB and needs a second "
                "file; name an ordinary file"
            )
        beside = target.file.with_name(f"{target.file.name}.data")
        with self.file(beside) as data, self.file(path) as model:
            large.write(proto, model, data, beside.name)

    def put(self) -> None:
        """Send results to pipes and devices, then let the others take their places."""
        files = []
        for target, temporary in self._staged:
            if not target.direct:
                files.append((target, temporary))
                continue
            with blaming(target.path):
                target.send(temporary)
        if len(files) > 1:
            with _locked(files[0][0].file.parent):
                self._replace(files)
            return
        for target, temporary in files:
            with blaming(target.path):
                temporary.replace(target.file)

    def _replace(self, files: list[tuple[Destination, Path]]) -> None:
        """Let new files take the places of old ones, which come back where one cannot.

        All old ones leave first: no moment, and no kill, shows results of two runs.
        """
        left: list[tuple[Path, Path]] = []
        placed: list[Path] = []
        try:
            for target, temporary in files:
                aside = self._stack.enter_context(
                    listed(temporary.with_name(f"{temporary.name}.old"))
                )
                with blaming(target.path), suppress(FileNotFoundError):
                    target.file.rename(aside)
                    left.append((aside, target.file))
            for target, temporary in files:
                with blaming(target.path):
                    temporary.replace(target.file)
                placed.append(target.file)
        except BaseException:
            for file in placed:
                file.unlink(missing_ok=True)
            for aside, file in left:
                aside.rename(file)
            raise
