"""What a network takes beside time: memory, start-up, conversion. `speed.py` prints it.

    python benchmarks/resources.py KIND MODEL TIMESTEPS THREADS

is a process of its own that runs a model at batch 1 and prints the most memory it ever held, in
bytes. KIND is "stock" (onnxruntime and NumPy alone, for an ANN or a rollout) or a schedule of
`SpikingSession`.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onnx2snn.snn.format import StateEntry

RUNS = 5
"""Runs before memory is read; each process makes as many."""
TRIES = 9
"""Starts of a command that are timed."""


def peak_bytes(kind: str, model: Path, timesteps: int, threads: int) -> int:
    """The peak of a new process that runs `model`."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        kind,
        str(model),
        str(timesteps),
        str(threads),
    ]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def state_bytes(states: Sequence[StateEntry]) -> int:
    """Bytes of a spiking model's states at batch 1, by its description.

    Dimensions it does not know count as 1.
    """
    sizes = [[d if isinstance(d, int) else 1 for d in state["shape"] or ()] for state in states]
    return 4 * int(sum(np.prod(size) for size in sizes))


def command_seconds(*commands: Sequence[str], tries: int = TRIES) -> list[float]:
    """Median wall time of each command, in turn."""
    spent: list[list[float]] = [[] for _ in commands]
    for _ in range(tries):
        for command, seconds in zip(commands, spent, strict=True):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
    return [float(np.median(seconds)) for seconds in spent]


def _main(kind: str, model: str, timesteps: str, threads: str) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(threads)
    session: Any
    if kind == "stock":
        session = ort.InferenceSession(model, options)
        feed = {spec.name: _sample(spec.shape) for spec in session.get_inputs()}
        for _ in range(RUNS):
            session.run(None, feed)
    else:
        import onnx2snn

        session = onnx2snn.SpikingSession(model, threads=int(threads), schedule=kind)  # type: ignore[arg-type]
        feed = {spec.name: _sample(spec.shape) for spec in session.inputs}
        for _ in range(RUNS):
            session.run(None, feed, int(timesteps), 0)
    print(_peak())


def _sample(shape: Sequence[Any]) -> NDArray[Any]:
    return np.zeros([d if isinstance(d, int) else 1 for d in shape], np.float32)


def _peak() -> int:
    """Of this program alone.

    `ru_maxrss` starts, on Linux, with what the process held that started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    _main(*sys.argv[1:])
