"""Outcomes of a command: the sentence that a person reads, and the exit code that a shell gets."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onnx2snn.cli.machine import say, silence
from onnx2snn.cli.stopping import exit_code
from onnx2snn.errors import Onnx2snnError, UsageError, one_line, out_of_memory, printable

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

CLOSED_PIPE = 141
"""Exit code when whoever reads stdout or stderr is gone, as shells have it."""

UNEXPECTED = 70
"""Exit code of an exception that nobody raised on purpose, EX_SOFTWARE of sysexits.h."""

NO_MEMORY = (
    "there is not enough memory; a conversion takes some three times the model's size, and the "
    "activations of a batch: use a larger machine"
)


def exit_code_of(work: Callable[[], object], *, debug: bool = False) -> int:
    """Do some work and return its exit code; all errors are told in one sentence on stderr.

    Args:
        work: The command.
        debug: Print the traceback of an error, too.
    """
    try:
        code = _told(work, debug)
        _flush()
    except BrokenPipeError:
        # the reader has what it wanted, and nobody is left to be told
        silence(sys.stdout)
        silence(sys.stderr)
        return CLOSED_PIPE
    return code


def _told(work: Callable[[], object], debug: bool) -> int:
    try:
        work()
    except BrokenPipeError:
        raise
    except SystemExit:  # --help and --version have printed something
        _flush()
        raise
    except BaseException as error:  # noqa: BLE001 - everything gets its sentence
        if debug:
            lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
            say("\n".join(map(printable, lines)))
        return _tell(error)
    return 0


def _tell(error: BaseException) -> int:
    """Print the sentence of an error and return its exit code."""
    if isinstance(error, Onnx2snnError):
        say(f"error: {printable(error)}")
        return error.exit_code
    if out_of_memory(error):
        say(f"error: {NO_MEMORY}")
        return UsageError.exit_code
    if isinstance(error, KeyboardInterrupt):
        done = error.args[0] if error.args else "nothing was written"
        say(f"interrupted; {printable(done)}")
        return exit_code(INTERRUPTED)
    say(
        f"error: unexpected {type(error).__name__} ({printable(one_line(error))}); please report "
        "it at the project's issues; --debug shows the traceback"
    )
    return UNEXPECTED


def _flush() -> None:
    """Let a closed pipe be noticed here, not when Python leaves."""
    if sys.stdout is not None:
        sys.stdout.flush()


def attempted(draw: Callable[[], str]) -> str | Exception:
    """Return a drawing, or why it failed: what else a run has made is written all the same."""
    try:
        return draw()
    except Exception as error:  # noqa: BLE001 - of any kind; it is raised later
        return error


@contextmanager
def done_already(what: str) -> Iterator[None]:
    """Tell on every failure what was written before it."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(what) from None
    except BrokenPipeError:
        raise
    except Exception:
        say(printable(what))
        raise
