"""How silent the layers of differential coding are at each step, as a Markdown table.

    python benchmarks/silence.py NAME=ANN,CALIBRATION,TEST ... [--samples 200] [--steps 4]
                                 [--write docs/performance.md]

For each step: the share of neurons that send a spike, of pairs of a sample and a layer that send
none, of pairs of a sample and a channel that send none, and of layers of which no sample of a batch
of 32 sends any.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from foreign import write_table
from variants import Array

import onnx2snn
from onnx2snn.runtime.simulation import Simulation

BATCH = 32


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", metavar="NAME=ANN,CALIBRATION,TEST")
    parser.add_argument("--samples", type=int, default=192)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    head = ["network", "t", "neurons that spike, %", "silent channels, %", "silent layers, %"]
    rows = [[*head, "silent layers of a batch, %"], ["---"] * (len(head) + 1)]
    for text in given.networks:
        name, _, paths = text.partition("=")
        ann, calibration, test = paths.split(",")
        shares = silence(ann, calibration, test, given.samples, given.steps)
        for t, row in enumerate(shares, 1):
            rows.append([name, str(t), *(f"{100 * share:.2f}" for share in row)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    print("\n".join(lines))
    if given.write is not None:
        write_table(lines, given.write, "silence")


def silence(ann: str, calibration: str, test: str, count: int, steps: int) -> Array:
    """Return the four shares at each step, [steps, 4]."""
    model = onnx2snn.convert(ann, calibration, preset="differential", threads=1).model
    simulation = Simulation(model, schedule="stepped", count_activity=True)
    name = simulation.inputs[0].name
    with np.load(test) as data:
        samples = data[name][:count]
    found = []
    for start in range(0, len(samples), BATCH):
        before: dict[str, Array] = {}
        of_batch = []
        windows = [(t, 0) for t in range(1, steps + 1)]
        for _ in simulation.answers({name: samples[start : start + BATCH]}, windows):
            now = simulation.activity()
            of_batch.append(_shares({k: v - before.get(k, 0) for k, v in now.items()}))
            before = now
        found.append(of_batch)
    return np.asarray(np.mean(found, axis=0))


def _shares(spikes: Mapping[str, Array]) -> list[float]:
    """Return the shares of one step, of the spikes of each site."""
    neurons = sum(values.size for values in spikes.values())
    spiking = sum(float(np.count_nonzero(values)) for values in spikes.values())
    channels = []
    layers = []
    batch = []
    for values in spikes.values():
        fires = (values != 0).reshape(len(values), values.shape[1], -1).any(axis=2)
        channels.append(~fires)
        layers.append(~fires.any(axis=1))
        batch.append(not fires.any())
    silent = np.concatenate([values.ravel() for values in channels])
    return [spiking / neurons, float(silent.mean()), float(np.mean(layers)), float(np.mean(batch))]


if __name__ == "__main__":
    main()
