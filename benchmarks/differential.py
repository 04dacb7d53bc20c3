"""Differential coding on networks with labelled data: score, spikes and energy at a few time-steps.

    python benchmarks/differential.py [--json FILE] [--set NAME=VALUE ...] [FOLDER ...]

Without folders the networks are those of models/. A folder holds model.onnx, calibration.npz and
test.npz, whose labels are scored (relative error of the first output where there are none).
One setting serves all networks; `--set` gives options of `onnx2snn.convert`, as NAME=VALUE in
Python's words (coding="rate"). Prints a Markdown
table: the score at each T, and at `--energy-at` T spikes a neuron and the ANN's energy over that of
the SNN with everything counted, at 77 fJ / 12.5 pJ and at 0.9 pJ / 4.6 pJ. `--no-data` leaves the
calibration data out.
"""

from __future__ import annotations

import argparse
import ast
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx2snn

MODELS = Path(__file__).parent.parent / "models"
PRICES = ((77e-15, 12.5e-12), (0.9e-12, 4.6e-12))
"""Joules of a synaptic and of a floating-point operation: the paper's, and Horowitz's."""


@dataclass(frozen=True)
class Network:
    """A network with its data."""

    name: str
    model: Path
    calibration: Path
    test: Path


def own_networks() -> Iterator[Network]:
    """Yield the networks of models/."""
    for model in sorted(MODELS.glob("*.onnx")):
        kind = model.name.split("_")[0]
        yield Network(
            model.stem, model, MODELS / f"{kind}_calibration.npz", MODELS / f"{kind}_test.npz"
        )


def in_folder(folder: Path) -> Network:
    """Return the network of a folder."""
    return Network(
        folder.name, folder / "model.onnx", folder / "calibration.npz", folder / "test.npz"
    )


def measured(
    network: Network, options: dict[str, Any], given: argparse.Namespace
) -> dict[str, Any]:
    """Convert and score one network."""
    data = None if given.no_data else str(network.calibration)
    conversion = onnx2snn.convert(str(network.model), data, **options)
    spiking = conversion.to_bytes()
    result = onnx2snn.evaluate(
        str(network.model),
        spiking,
        str(network.test),
        timesteps=given.timesteps,
        every_step=False,
        limit=given.limit,
    )
    (counted,) = (row for row in result["snn"] if row["timesteps"] == given.energy_at)
    flops = result["energy"]["ann"]["flops"]
    # everything counted: SOPs and what stays analog
    joules = [counted["sops"] * sop + counted["flops"] * flop for sop, flop in PRICES]
    ratios = [flops * flop / spent for (_, flop), spent in zip(PRICES, joules, strict=True)]
    return {
        "network": network.name,
        "samples": result["samples"],
        "ann": dict(result["ann"]),
        "rows": [dict(row) for row in result["snn"]],
        "spikes": counted["rate"] * given.energy_at,
        "ratios": ratios,
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    ((metric, ann),) = row["ann"].items()
    scores = [f"{100 * step[metric]:.2f}" for step in row["rows"]]
    ratios = [f"{ratio:.2f}" for ratio in row["ratios"]]
    cells = [row["network"], metric, f"{100 * ann:.2f}", *scores, f"{row['spikes']:.2f}", *ratios]
    return "| " + " | ".join(cells) + " |"


def several(text: str) -> list[int]:
    """Return the numbers of a list with commas."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--timesteps", type=several, default=[1, 2, 3, 4], metavar="T,...")
    parser.add_argument("--energy-at", type=int, metavar="T", help="default: the last T")
    parser.add_argument("--no-data", action="store_true", help="convert without calibration data")
    given = parser.parse_args()
    if given.energy_at is None:
        given.energy_at = given.timesteps[-1]
    options: dict[str, Any] = {"preset": "differential"}
    for text in given.set:
        name, _, value = text.partition("=")
        options[name] = ast.literal_eval(value)
    networks = [in_folder(folder) for folder in given.folders] or list(own_networks())
    warnings.simplefilter("ignore")
    columns = ["network", "metric", "ANN", *(f"T={t}" for t in given.timesteps)]
    columns += ["spikes a neuron", "energy, 77 fJ / 12.5 pJ", "0.9 / 4.6 pJ"]
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    rows = []
    for network in networks:
        if given.only in network.name:
            row = measured(network, options, given)
            rows.append(row)
            print(line(row), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
