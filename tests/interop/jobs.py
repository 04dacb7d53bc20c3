"""What every runtime is asked to run: files in the form that it reads, inputs, and what is right.

Right is what a `SpikingSession` answers, step by step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray

import onnx2snn

Array = NDArray[np.float32]

ROOT = Path(__file__).parents[2]
TIMESTEPS = 4
BATCH = 2
CODINGS: dict[str, dict[str, Any]] = {
    "rate": {"preset": "paper", "method": "max", "delay": 1},
    "low-latency": {"preset": "low-latency"},
    "differential": {"preset": "differential"},
}
"""Options of a conversion, by the name of a row."""


@dataclass(frozen=True)
class Job:
    """A file to run.

    Attributes:
        network: Name of the ANN.
        coding: A key of `CODINGS`.
        form: "step", "rollout" or "plain rollout".
        path: The file.
        inputs: The ANN's inputs by name.
        states: Inputs and outputs of states, in order.
        wanted: The first output after each run.
    """

    network: str
    coding: str
    form: str
    path: Path
    inputs: Mapping[str, Array]
    states: tuple[tuple[str, str], ...]
    wanted: tuple[Array, ...]

    def zeros(self) -> dict[str, Array]:
        """Return states at the start, of the sizes that the file declares."""
        graph = onnx.load(self.path).graph
        shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.input}
        return {
            name: np.zeros([dim.dim_value or 1 for dim in shapes[name]], np.float32)
            for name, _ in self.states
        }

    def difference(self, found: list[Array]) -> float:
        """Return the largest difference from what is wanted, relative to the largest value."""
        assert len(found) == len(self.wanted)
        largest = max(float(np.abs(one).max()) for one in self.wanted)
        pairs = zip(found, self.wanted, strict=True)
        return max(float(np.abs(one - other).max()) for one, other in pairs) / largest


def jobs(folder: Path, models: tuple[str, ...], *, inline: bool = True) -> Iterator[Job]:
    """Write the files of some networks and yield what is to be run.

    Args:
        folder: Where files are written.
        models: Networks of `models/`, beside two small ones.
        inline: Write files without functions and with static shapes; rollouts are plain.
    """
    for network in ("resnet", "vgg", *models):
        for coding, options in CODINGS.items():
            yield from _of_network(folder, network, coding, options, inline=inline)


def _of_network(
    folder: Path, network: str, coding: str, options: Mapping[str, Any], *, inline: bool
) -> Iterator[Job]:
    ann, data, x = _network(network)
    made = onnx2snn.convert(ann, data, timesteps=TIMESTEPS, **options).model
    session = onnx2snn.SpikingSession(made, schedule="stepped")
    (name,) = (value.name for value in session.inputs)
    inputs = {name: x}
    answers = tuple(np.asarray(step.outputs[0]) for step in session.steps(inputs, TIMESTEPS))
    (answer,) = session.run(None, inputs)
    unrolled = onnx2snn.rollout(made, unroll=inline)
    if inline:
        made = onnx2snn.portable(made, batch=BATCH)
        unrolled = onnx2snn.portable(unrolled, batch=BATCH)
    states = tuple((one["input"], one["output"]) for one in session.metadata["states"])
    suffix = "inline" if inline else "functions"
    for form, model, own, wanted in (
        ("step", made, states, answers),
        ("plain rollout" if inline else "rollout", unrolled, (), (answer,)),
    ):
        path = folder / f"{network}.{coding}.{form.replace(' ', '_')}.{suffix}.onnx"
        onnx.save(model, path)
        yield Job(network, coding, form, path, inputs, own, wanted)


def _network(name: str) -> tuple[Any, Any, Array]:
    """Return an ANN, its calibration data and two samples."""
    if name in NETWORKS:
        return NETWORKS[name](), inputs_for(name, 40), inputs_for(name, BATCH, seed=3)
    test = np.load(ROOT / "models" / "fashion_test.npz")["input"][:BATCH]
    data = np.load(ROOT / "models" / "fashion_calibration.npz")["input"][:200]
    return ROOT / "models" / f"{name}.onnx", data, test.astype(np.float32)


def as_json(job: Job) -> str:
    """Return a job for a program in another language."""
    (output,) = own_outputs(job)
    feed = dict(job.inputs) | job.zeros()
    described = {
        "file": str(job.path),
        "runs": len(job.wanted),
        "inputs": {name: _tensor(values) for name, values in feed.items()},
        "states": [list(state) for state in job.states],
        "output": output,
    }
    return json.dumps(described)


def own_outputs(job: Job) -> list[str]:
    """Return the names of the ANN's outputs."""
    of_states = {output for _, output in job.states}
    graph = onnx.load(job.path).graph
    return [value.name for value in graph.output if value.name not in of_states]


def _tensor(values: Array) -> dict[str, object]:
    return {"shape": list(values.shape), "data": values.ravel().tolist()}
