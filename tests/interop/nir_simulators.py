"""NIR graphs in simulators that read NIR, and how far their spike counts lie from the package's.

python tests/interop/nir_simulators.py [--small]

Prints the tables of docs/nir.md. Simulators that are not installed have a row that says so; `nir`
and NumPy are enough for the first row. --small leaves out the network of 28x28 images. Exit code 1:
the walk in NumPy counts otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.networks import mlp
from helpers.nir_networks import cnn_1d, resnet_of_averages, vgg_of_averages
from helpers.nir_walk import AS_MEANT, Reader

import onnx2snn
from interop.nir_readers import SIMULATORS, Array, Counts, Task, in_numpy

ROOT = Path(__file__).parents[2]
TIMESTEPS = 32

SMALL: dict[str, Callable[[], onnx.ModelProto]] = {
    "MLP": mlp,
    "1-d CNN": cnn_1d,
    "VGG": vgg_of_averages,
    "ResNet": resnet_of_averages,
}
"""Networks with random weights."""


@dataclass(frozen=True)
class Case:
    """A network: what the session counts, the graph, and that with v(0) as a bias."""

    name: str
    wanted: Counts
    task: Task
    biased: Task


def fashion_vgg() -> onnx.ModelProto:
    """Return fashion_vgg with average pools in place of its max-pools, not trained again."""
    model = onnx.load(ROOT / "models" / "fashion_vgg.onnx")
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            node.op_type = "AveragePool"
            kept = [one for one in node.attribute if one.name in ("kernel_shape", "strides")]
            del node.attribute[:]
            node.attribute.extend(kept)
    return model


def cases(folder: Path, *, small: bool) -> list[Case]:
    """Convert all networks and write their graphs."""
    made = []
    for name, network in SMALL.items():
        ann = network()
        shape = [dim.dim_value for dim in ann.graph.input[0].type.tensor_type.shape.dim[1:]]
        rng = np.random.default_rng(1)
        data = rng.standard_normal((40, *shape)).astype(np.float32)
        samples = rng.standard_normal((4, *shape)).astype(np.float32)
        made.append(_case(folder, name, ann, data, samples))
    if not small:
        data = np.load(ROOT / "models" / "fashion_calibration.npz")["input"][:200]
        samples = np.load(ROOT / "models" / "fashion_test.npz")["input"][:2]
        made.append(_case(folder, "fashion_vgg", fashion_vgg(), data, samples.astype(np.float32)))
    return made


def _case(folder: Path, name: str, ann: Any, data: Array, samples: Array) -> Case:
    made = onnx2snn.convert(ann, data, preset="paper", method="max", timesteps=TIMESTEPS).model
    session = onnx2snn.SpikingSession(made, schedule="stepped", count_spikes=True)
    session.run(None, {session.inputs[0].name: samples}, TIMESTEPS)
    tasks = []
    for label, start_bias in (("graph", False), ("biased", True)):
        path = folder / f"{name}.{label}.nir"
        _write(path, onnx2snn.nir_graph(made, start_bias=start_bias))
        tasks.append(Task(path, samples, TIMESTEPS))
    return Case(name, session.spike_counts(), *tasks)


def _write(path: Path, graph: Any) -> None:
    import nir

    nir.write(path, graph)


def difference(found: Counts, wanted: Counts, graph: Any) -> str:
    """Return the largest difference of a count, and the share of neurons that count the same."""
    largest = 0.0
    same = []
    for name, counts in found.items():
        label = graph.nodes[name].metadata["name"]
        other = wanted[label] if label in wanted else wanted[name]
        gaps = np.abs(counts - other).ravel()
        largest = max(largest, float(gaps.max()))
        same.append(gaps == 0)
    share = np.concatenate(same).mean()
    if largest > 0:
        # all but a few are not all
        share = min(share, 0.9999)
    return f"{largest:.0f} ({share:.2%})"


def row(told: str, run: Callable[[Case], str], tasks: list[Case]) -> None:
    """Print a row; a network that a simulator does not read has the reason on stderr."""
    cells = []
    for case in tasks:
        try:
            cells.append(run(case))
        except Exception as error:  # noqa: BLE001 - every simulator has errors of its own
            print(f"{told}, {case.name}: {error!r}", file=sys.stderr)
            cells.append("not read")
    print(f"| {told} | {' | '.join(cells)} |")


def header(tasks: list[Case]) -> None:
    """Print the head of a table."""
    print(f"| simulator | {' | '.join(case.name for case in tasks)} |")
    print(f"| --- | {' | '.join('---' for _ in tasks)} |")


def as_meant(tasks: list[Case]) -> bool:
    """Print the table against the session; return whether the walk counts the same."""
    header(tasks)
    told: dict[str, str] = {}

    def by_walk(case: Case) -> str:
        found = difference(in_numpy(case.task, AS_MEANT), case.wanted, case.task.graph())
        told[case.name] = found
        return found

    row(f"a walk in NumPy {np.__version__}", by_walk, tasks)
    for name, simulator in SIMULATORS.items():
        if simulator.meant is not None:
            _simulator_row(name, tasks, _against_session(simulator.run))
    return len(told) == len(tasks) and all(found[0] in "01" for found in told.values())


def explained(tasks: list[Case]) -> None:
    """Print the table against a walk with each simulator's own semantics."""
    header(tasks)
    for name, simulator in SIMULATORS.items():
        if simulator.meant not in (None, AS_MEANT):
            right = _against_walk(simulator.run, simulator.meant, meant=True)
            _simulator_row(name, tasks, right, ", set")
        read = _against_walk(simulator.run, simulator.own, meant=False)
        _simulator_row(name, tasks, read, ", as read")


def _against_session(run: Callable[..., Counts]) -> Callable[[Case], str]:
    def compared(case: Case) -> str:
        return difference(run(case.task, meant=True), case.wanted, case.task.graph())

    return compared


def _against_walk(run: Callable[..., Counts], own: Reader, *, meant: bool) -> Callable[[Case], str]:
    def compared(case: Case) -> str:
        # what is left as read starts at 0: the graph brings v(0) as a bias
        task = case.task if meant else case.biased
        return difference(run(task, meant=meant), in_numpy(task, own), task.graph())

    return compared


def _simulator_row(name: str, tasks: list[Case], run: Callable[[Case], str], how: str = "") -> None:
    try:
        own = version(SIMULATORS[name].package)
    except PackageNotFoundError:
        print(f"| {name}{how} | {' | '.join('not at hand' for _ in tasks)} |")
        return
    row(f"{name} {own}{how}", run, tasks)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="networks of a few neurons alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tasks = cases(Path(folder), small=given.small)
        print("Set to what the metadata say, against the session:\n")
        fine = as_meant(tasks)
        print("\nAgainst a walk with the simulator's semantics; as read with v(0) as a bias:\n")
        explained(tasks)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
