"""Time, memory and start-up of spiking networks beside their ANN's, as Markdown tables for
docs/performance.md.

    python benchmarks/speed.py [--model resnet20.onnx --calibration calibration.npz] [--networks
    NAME ...]
                               [--only time|memory|startup|cost|gpu ...] [--batch 1 32]
                               [--timesteps 8 32] [--threads 2] [--provider cuda]
                               [--delay D|half] [--variants NAME ...] [--rounds N] [--json FILE]
                               [--no-spikingjelly] [--write docs/performance.md]

Networks are those of models/, a ResNet-18 at 224 x 224 with random weights, and whatever --model
names. Time is that of a whole run (encoder, all steps, readout) over T and the batch, and over the
time that the ANN's file takes a sample in stock onnxruntime, in the same process: at batches above
1 in its fastest way (the whole batch, one by one, in pieces, or divided among threads). See
`timing` for how runs take turns so that none disturbs the next. With --json, figures are kept in a
file, those of earlier runs stay, and the tables show all of them: what takes too long for a quiet
machine can be measured in several goes. SpikingJelly is left out where it is not installed
(`spikingjelly_twin` says how), and where it has nothing for an operator. The table of a GPU
(`--provider`, cuda by default) is of ResNet-18 in both codings; without one it says "no GPU here".
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import resnet18
import resources
from foreign import write_table
from gpu import gpu_times
from speed_tables import tables
from spikingjelly_ways import thresholds_of
from timing import Variant, Watch, alternate
from variants import (
    SCHEDULES,
    SPIKINGJELLY,
    Array,
    Network,
    ann_ways,
    converted,
    inputs,
    options,
    spiking_ways,
)

import onnx2snn

MODELS = Path(__file__).parent.parent / "models"
RESNET18 = "resnet18_224"
PARTS = ("time", "memory", "startup", "cost", "gpu")
COSTED: tuple[tuple[onnx2snn.Preset, int], ...] = (("paper", 32), ("low-latency", 8))
"""Presets, and the T they are converted for."""
MEASURED = (*SCHEDULES, "rollout")

Found = dict[str, Any]


def main() -> None:
    """Measure what was asked for, and print the tables of all that is known."""
    given = _parser().parse_args()
    warnings.simplefilter("ignore", UserWarning)  # agreement is not what is measured here
    found: Found = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        known = networks(Path(folder), given.model, given.calibration)
        unknown = [name for name in given.networks or () if name not in known]
        if unknown:
            raise SystemExit(f"there is no network '{unknown[0]}'; there are {', '.join(known)}")
        for network in (known[name] for name in given.networks or known):
            for kind, key, figures in measured(network, given, Path(folder)):
                keep(found, kind, key, figures, given.json)
        if "startup" in given.only:
            for key, figures in startup(known[RESNET18], Path(folder)).items():
                keep(found, "startup", key, figures, given.json)
        if "gpu" in given.only:
            about = (given.provider, given.timesteps, given.threads, given.rounds)
            for key, figures in gpu_times(known[RESNET18], *about):
                keep(found, "gpu", key, figures, given.json)
    for kind, lines in tables(found).items():
        print("\n".join(lines))
        if given.write is not None:
            write_table(lines[:-1], given.write, kind)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--timesteps", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--delay", default=0, type=lambda text: int(text) if text.isdecimal() else text
    )
    parser.add_argument("--variants", nargs="*", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--provider", default="cuda", help="of the table of a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="a document with marks for the tables")
    parser.add_argument("--no-spikingjelly", action="store_true")
    return parser


def networks(folder: Path, model: Path | None, calibration: Path | None) -> dict[str, Network]:
    """All networks by name, `model` first; what has to be made is written into `folder`."""
    found = [] if model is None else [Network(model.stem, model, calibration)]
    for path in sorted(MODELS.glob("*.onnx")):
        data = path.with_name(f"{path.stem.split('_')[0]}_calibration.npz")
        found.append(Network(path.stem, path, data if data.exists() else None))
    made = folder / f"{RESNET18}.onnx"
    onnx.save(resnet18.resnet18(), made)
    return {network.name: network for network in [*found, Network(RESNET18, made, None)]}


def keep(found: Found, kind: str, key: str, figures: Any, file: Path | None) -> None:
    """Add figures to all that is known, in the file too."""
    found.setdefault(kind, {})[key] = figures
    if file is not None:
        file.write_text(json.dumps(found, indent=1))


def measured(
    network: Network, given: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, str, Found]]:
    """What was asked for of one network: the kind of figures, what they are of, and they."""
    made = cache(partial(converted, network, given.threads))
    if "time" in given.only:
        for batch in given.batch:
            for timesteps in given.timesteps:
                print(f"{network.name}: batch {batch}, T = {timesteps}", file=sys.stderr)
                yield (
                    "time",
                    f"{network.name}|{batch}|{timesteps}",
                    times(network, made(), batch, timesteps, given),
                )
    if "memory" in given.only:
        yield "memory", network.name, memory(network, made(), given, folder)
    if "cost" in given.only and network.calibration is not None:
        yield "cost", network.name, costs(network, given.threads)


def times(
    network: Network,
    conversion: onnx2snn.Conversion,
    batch: int,
    timesteps: int,
    given: argparse.Namespace,
) -> Found:
    """Figures of all variants of one cell, and what else kept the machine busy meanwhile."""
    feed = inputs(network, batch)
    ways = spiking_ways(conversion, feed, timesteps, given.threads, given.delay)
    opened = []
    for name in given.variants:
        try:
            opened.append(ways[name]())
        except (
            onnx2snn.UsageError
        ) as error:  # the time-batched schedule, where an operator forbids it
            print(f"{network.name}: {error}", file=sys.stderr)
    peer, agreement = (
        ([], None)
        if given.no_spikingjelly
        else spikingjelly(network, conversion, feed, timesteps, given.threads)
    )
    watch = Watch()
    figures = alternate([*ann_ways(network, feed, given.threads), *opened, *peer], given.rounds)
    return {
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "others": watch.stop(),
        "agreement": agreement,
        "threads": given.threads,
        "delay": given.delay,
    }


def spikingjelly(
    network: Network,
    conversion: onnx2snn.Conversion,
    feed: Mapping[str, Array],
    timesteps: int,
    threads: int,
) -> tuple[list[Variant], Found | None]:
    """Both step modes of SpikingJelly's network, and how far its outputs are from the ANN's and
    from ours.

    Nothing where SpikingJelly is not installed, or has nothing for an operator. Raises SystemExit
    where its ANN computes something else, since the comparison would be none.
    """
    if importlib.util.find_spec("spikingjelly") is None:
        return [], None
    import spikingjelly_twin

    proto = conversion.model
    try:
        twin = spikingjelly_twin.Twin(network.ann, thresholds_of(conversion), threads)
    except spikingjelly_twin.UnsupportedOperatorError as error:
        print(f"{network.name}: no SpikingJelly, {error}", file=sys.stderr)
        return [], None
    (x,) = feed.values()
    ann = ort.InferenceSession(network.ann, options(threads)).run(None, dict(feed))[0]
    ours = onnx2snn.SpikingSession(proto, threads=threads).run(None, feed, timesteps, 0)[0]
    theirs = twin.single_step(x, timesteps)
    agreement = {"ann": distance(twin.ann_outputs(x), ann), "snn": distance(theirs, ours)}
    if agreement["ann"] > 1e-3:
        raise SystemExit(f"{network.name}: torch's ANN is {agreement['ann']:.2%} off onnxruntime's")
    units = timesteps * len(x)
    modes = {"single-step": twin.single_step, "multi-step": twin.multi_step}
    return [
        Variant(f"{SPIKINGJELLY}{n}", partial(run, x, timesteps), units) for n, run in modes.items()
    ], agreement


def distance(found: Array, wanted: Array) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def memory(
    network: Network, conversion: onnx2snn.Conversion, given: argparse.Namespace, folder: Path
) -> Found:
    """Peak bytes at batch 1.

    Of the ANN alone, and of its spiking network by variant and T, each a process.
    """
    file = folder / f"{network.name}.snn.onnx"
    conversion.save(str(file))
    found: Found = {
        "ann": resources.peak_bytes("stock", network.ann, 0, given.threads),
        "states": resources.state_bytes(onnx2snn.SpikingSession(file).metadata["states"]),
        "peaks": {},
    }
    for timesteps in given.timesteps:
        unrolled = folder / f"{network.name}.rollout.onnx"
        onnx.save(onnx2snn.rollout(file, timesteps, 0), unrolled)
        kinds = {
            "stepped": ("stepped", file),
            "auto": ("auto", file),
            "rollout": ("stock", unrolled),
        }
        for name, (kind, path) in kinds.items():
            peak = resources.peak_bytes(kind, path, timesteps, given.threads)
            found["peaks"].setdefault(name, {})[str(timesteps)] = peak
    return found


def startup(network: Network, folder: Path) -> Found:
    """Seconds of Python alone, of --help, and of a whole conversion without calibration data."""
    tool = [sys.executable, "-W", "ignore", "-m", "onnx2snn"]
    python, help_ = resources.command_seconds([sys.executable, "-c", "pass"], [*tool, "--help"])
    target = str(folder / "started.snn.onnx")
    (conversion,) = resources.command_seconds(
        [*tool, str(network.ann), "-o", target, "--quiet"], tries=3
    )
    return {"python": python, "help": help_, network.name: conversion}


def costs(network: Network, threads: int) -> Found:
    """Cost of calibrating and correcting by preset, in passes of the ANN over the data."""
    found: Found = {}
    for preset, timesteps in COSTED:
        report = onnx2snn.convert(
            network.ann,
            str(network.calibration),
            preset=preset,
            timesteps=timesteps,
            threads=threads,
        ).report
        found[preset] = {
            "timesteps": timesteps,
            "seconds": sum(report.seconds.values()),
            **(report.cost or {}),
        }
    return found


if __name__ == "__main__":
    main()
