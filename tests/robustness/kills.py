"""Kill conversions at random moments: `python -m robustness.kills COUNT`, in the folder of tests.

Two networks are converted in turn to the same results: model, thresholds, report and page. After a
SIGKILL each of these has to be absent or whole, and all that are there have to be of one network.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from helpers.networks import inputs_for, mlp

from onnx2snn.cli.commands import main
from onnx2snn.display import build, report_tables
from onnx2snn.pipeline import convert

LOADED = (build, convert, report_tables)
"""Modules that a conversion imports when it runs: here once, before all forks."""

RESULTS = {"-o": "out.onnx", "--save-thresholds": "t.npz", "--report": "r.json", "--html": "p.html"}

NETWORKS = ("first.onnx", "second.onnx")


def prepared(folder: Path) -> None:
    """Write the networks and the data, and make the folder for temporary files."""
    for seed, name in enumerate(NETWORKS):
        onnx.save(mlp(seed), folder / name)
    np.save(folder / "x.npy", inputs_for("mlp", 20))
    (folder / "spare").mkdir()


def begun(network: str) -> int:
    """Begin a conversion in the working folder, in a process of its own."""
    words = [network, "--calibration", "x.npy", "--timesteps", "2", "--quiet"]
    words += [word for pair in RESULTS.items() for word in pair]
    child = os.fork()
    if child:
        return child
    tempfile.tempdir = "spare"
    os._exit(main(words))


def faults(folder: Path) -> list[str]:
    """Return what is half-written or mixed among the results."""
    marks = {name: _marks(folder / name) for name in NETWORKS}
    found, owners = [], set()
    for name in RESULTS.values():
        path = folder / name
        if not path.exists():
            continue
        data = path.read_bytes()
        if not _whole(path, data):
            found.append(f"{name} is half-written")
        of = {network for network, words in marks.items() if any(word in data for word in words)}
        if len(of) != 1:
            found.append(f"{name} is of {sorted(of)}")
        owners |= of
    if len(owners) > 1:
        found.append("results of two runs")
    return found


def _marks(network: Path) -> tuple[bytes, ...]:
    """Return what tells that a result is of a network: its name, or the hash of its file."""
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    # texts in arrays are UTF-32
    return network.name.encode(), digest.encode(), digest.encode("utf-32-le")


def _whole(path: Path, data: bytes) -> bool:
    try:
        if path.suffix == ".onnx":
            onnx.checker.check_model(onnx.ModelProto.FromString(data))
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                return all(arrays[name] is not None for name in arrays.files)
        elif path.suffix == ".json":
            json.loads(data)
        else:
            return data.rstrip().endswith(b"</html>")
    except Exception:  # noqa: BLE001 - a damaged file is refused in many ways
        return False
    return True


def killed(count: int, folder: Path, seed: int = 0) -> tuple[int, list[str]]:
    """Kill conversions; return how many were killed before their end, and what was wrong."""
    chance = random.Random(seed)
    prepared(folder)
    os.chdir(folder)
    spans = []
    for name in NETWORKS:
        start = time.monotonic()
        os.waitpid(begun(name), 0)
        spans.append(time.monotonic() - start)
    longest = min(spans)
    assert all((folder / name).exists() for name in RESULTS.values())
    hit, wrong = 0, faults(folder)
    for number in range(1, count + 1):
        child = begun(NETWORKS[number % 2])
        # more often near the end, where files are written
        time.sleep(longest * chance.choice([chance.uniform(0, 1), chance.uniform(0.6, 1.1)]))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        hit += os.WIFSIGNALED(status)
        wrong += [f"kill {number}: {fault}" for fault in faults(folder)]
        shutil.rmtree(folder / "spare")
        (folder / "spare").mkdir()
    return hit, wrong


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        struck, said = killed(int(sys.argv[1]), Path(scratch))
    print(f"{struck} of {sys.argv[1]} were killed at work; {len(said)} faults {said}")  # noqa: T201
    sys.exit(bool(said))
