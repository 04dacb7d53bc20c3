"""What the package onnx2snn-kernels gains, as the Markdown table of docs/performance.md.

    pip install ./tools/kernels
    python benchmarks/kernels.py NAME=ANN,CALIBRATION ... [--timesteps 1 2 8 32] [--batch 1]
                                 [--threads 2] [--rounds 6] [--json FILE] [--write FILE]

For each network and coding: the time of a whole `SpikingSession.run` with stock operators and with
kernels, over the time that the ANN's file takes in stock onnxruntime, all in turn in one process
(`timing` says how; the ANN in its fastest way). Rate coding is that of ReLUs (`--method max`).
With --json, figures are kept in a file, and the table shows those of earlier runs, too.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from foreign import write_table
from speed_tables import fastest_ann
from timing import Variant, Watch, alternate
from variants import Network, ann_ways, inputs

import onnx2snn

Found = dict[str, Any]

CODINGS: dict[str, Found] = {
    "differential": {"preset": "differential", "method": "percentile"},
    "rate": {"preset": "paper", "method": "max"},
}
"""Options by coding: thresholds change no node, so the quickest to find."""


def main() -> None:
    """Measure what was asked for, and print the table of all that is known."""
    given = _parser().parse_args()
    warnings.simplefilter("ignore")
    found: Found = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    for text in given.networks:
        name, _, paths = text.partition("=")
        ann, calibration = map(Path, paths.split(","))
        network = Network(name, ann, calibration)
        for coding, options in CODINGS.items():
            conversion = onnx2snn.convert(str(ann), str(calibration), threads=1, **options)
            for batch in given.batch:
                found[f"{name}|{coding}|{batch}"] = measured(network, conversion, batch, given)
                if given.json is not None:
                    given.json.write_text(json.dumps(found, indent=1))
    lines = table(found)
    print("\n".join(lines))
    if given.write is not None:
        write_table(lines, given.write, "kernels")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", metavar="NAME=ANN,CALIBRATION")
    parser.add_argument("--timesteps", type=int, nargs="*", default=[1, 2, 8, 32])
    parser.add_argument("--batch", type=int, nargs="*", default=[1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    return parser


def measured(
    network: Network, conversion: onnx2snn.Conversion, batch: int, given: argparse.Namespace
) -> Found:
    """Return the times of the ANN, and of runs with stock operators and with kernels."""
    feed = inputs(network, batch)
    variants = ann_ways(network, feed, given.threads)
    for timesteps in given.timesteps:
        for kernels in (False, True):
            # a session each: one that runs several windows in turn is slower in all of them
            session = onnx2snn.SpikingSession(
                conversion.model, threads=given.threads, kernels=kernels
            )
            run = partial(session.run, None, feed, timesteps)
            variants.append(Variant(f"{timesteps}|{int(kernels)}", run, batch))
    watch = Watch()
    figures = alternate(variants, given.rounds)
    kept = {name: asdict(figure) for name, figure in figures.items()}
    return {"figures": kept, "others": watch.stop()}


def table(cells: Found) -> list[str]:
    """Return a row for each network, coding, batch and T."""
    head = ["network", "coding", "batch", "T", "ANN, ms a sample", "run / ANN", "with kernels"]
    head += ["a step / ANN", "with kernels", "other programs, cores"]
    rows = [head, ["---"] * len(head)]
    for key, cell in sorted(cells.items()):
        name, coding, batch = key.split("|")
        _, ann = fastest_ann(cell["figures"])
        own = {way: figure for way, figure in cell["figures"].items() if "|" in way}
        for timesteps in sorted({int(way.split("|")[0]) for way in own}):
            ratios = [own[f"{timesteps}|{way}"]["median"] / ann["median"] for way in (0, 1)]
            row = [name, coding, batch, str(timesteps), f"{1e3 * ann['median']:.3f}"]
            row += [f"{ratio:.2f}" for ratio in ratios]
            row += [f"{ratio / timesteps:.2f}" for ratio in ratios]
            row.append("" if cell["others"] is None else f"{cell['others']:.2f}")
            rows.append(row)
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    main()
