"""Time to an answer as good as the ANN's, as the Markdown table of docs/performance.md.

    python benchmarks/answer.py NAME=ANN,CALIBRATION,TEST ... [--presets differential paper]
                                [--batch 1 32] [--threads 2] [--rounds 4] [--limit N]
                                [--json FILE] [--write docs/performance.md]
    python benchmarks/answer.py NAME=ANN,CALIBRATION,TEST ... --presets spikingjelly ...

For each network and preset: the smallest T of a row of them that keeps 99 % of the ANN's accuracy
on the test data, the delay counted, and the time of a whole `SpikingSession.run` at that T over the
time that the ANN's file takes in stock onnxruntime, in the same process (`timing` says how; the ANN
in its fastest way). A preset that fits its corrections to T is converted for each T anew.
`spikingjelly` is SpikingJelly's local threshold balancing (`spikingjelly_twin` says how, what to
install), given the thresholds of the paper preset, in its faster step mode; it scores top-1. With
--json, figures are kept in a file, those of earlier runs stay, and the table shows all of them: a
first run with --rounds 0 scores alone, which needs no quiet machine.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from foreign import write_table
from speed_tables import fastest_ann
from spikingjelly_ways import thresholds_of
from timing import Variant, Watch, alternate
from variants import Network, ann_ways, inputs

import onnx2snn

Found = dict[str, Any]

PORTION = 100
"""Samples that SpikingJelly runs at once, for scores."""
SHARE = 0.99
"""Of the ANN's accuracy."""
TIMES: dict[str, tuple[int, ...]] = {
    "differential": (1, 2, 3, 4),
    "paper": (4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    "low-latency": (4, 8, 16, 32),
}
"""By preset, the T that are tried."""
FITTED = ("low-latency",)
"""Presets that are fitted to T."""
PEER = "spikingjelly"
"""In the place of a preset."""
QUICK: dict[str, Found] = {
    "differential": {},
    "paper": {"method": "percentile"},
    "low-latency": {"method": "percentile", "correct": "none"},
}
"""Options of a conversion that is only timed: thresholds and corrections change no node."""


def main() -> None:
    """Measure what was asked for, and print the table of all that is known."""
    given = _parser().parse_args()
    warnings.simplefilter("ignore")
    found: Found = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    for text in given.networks:
        name, _, paths = text.partition("=")
        ann, calibration, test = map(Path, paths.split(","))
        network = Network(name, ann, calibration)
        for preset in given.presets:
            scored = f"{name}|{preset}|"
            if preset == PEER:
                ask_peer(network, test, scored, found, given)
                continue
            if scored not in found:
                found[scored] = first_answer(network, test, preset, given.limit)
            about = found[scored]
            if given.rounds and "timesteps" in about:
                model = spiking(network, preset, about["timesteps"], QUICK[preset]).model
                for batch in given.batch:
                    cell = timed(network, model, about, batch, given)
                    found[f"{scored}{batch}"] = cell
            if given.json is not None:
                given.json.write_text(json.dumps(found, indent=1))
    lines = table(found)
    print("\n".join(lines))
    if given.write is not None:
        write_table(lines, given.write, "answer")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", metavar="NAME=ANN,CALIBRATION,TEST")
    parser.add_argument("--presets", nargs="*", choices=[*TIMES, PEER], default=list(TIMES))
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4, help="0: score only")
    parser.add_argument("--limit", type=int, help="score the first test samples only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    return parser


def first_answer(network: Network, test: Path, preset: str, limit: int | None) -> Found:
    """Return the first T that keeps the accuracy, and both accuracies; or what was tried."""
    rows = TIMES[preset]
    for times in [[t] for t in rows] if preset in FITTED else [rows]:
        result = onnx2snn.evaluate(
            str(network.ann),
            spiking(network, preset, times[-1], {}).model,
            str(test),
            timesteps=times,
            energy=False,
            limit=limit,
            threads=1,
        )
        ((metric, wanted),) = result["ann"].items()
        for step in result["snn"]:
            row: Found = dict(step)
            if row[metric] >= SHARE * wanted:
                return {"timesteps": row["timesteps"], "ann": wanted, "snn": row[metric]}
    return {"tried": rows[-1]}


def ask_peer(
    network: Network, test: Path, scored: str, found: Found, given: argparse.Namespace
) -> None:
    """Enter SpikingJelly's first T that keeps the accuracy, and its times there."""
    import spikingjelly_twin

    conversion = spiking(network, "paper", 0, {})
    twin = spikingjelly_twin.Twin(network.ann, thresholds_of(conversion), given.threads)
    if scored not in found:
        found[scored] = first_answer_of_peer(twin, test, TIMES["paper"][-1], given.limit)
    about = found[scored]
    if not given.rounds or "timesteps" not in about:
        return
    for batch in given.batch:
        feed = inputs(network, batch)
        (x,) = feed.values()
        variants = ann_ways(network, feed, given.threads)
        for mode in (twin.single_step, twin.multi_step):
            run = partial(mode, x, about["timesteps"])
            variants.append(Variant(mode.__name__, run, batch))
        watch = Watch()
        figures = alternate(variants, given.rounds)
        kept = {name: asdict(figure) for name, figure in figures.items()}
        modes = [kept.pop("single_step"), kept.pop("multi_step")]
        kept["auto"] = min(modes, key=lambda figure: float(figure["median"]))
        found[f"{scored}{batch}"] = {**about, "figures": kept, "others": watch.stop()}


def first_answer_of_peer(twin: Any, test: Path, most: int, limit: int | None) -> Found:
    """Return the first T at which SpikingJelly keeps the accuracy, and both accuracies."""
    with np.load(test) as data:
        labels = data["labels"][:limit]
        (name,) = set(data.files) - {"labels"}
        samples = data[name][:limit]
    right = np.zeros(most)
    of_ann = 0.0
    for start in range(0, len(samples), PORTION):
        x, wanted = samples[start : start + PORTION], labels[start : start + PORTION]
        of_ann += np.sum(twin.ann_outputs(x).argmax(1) == wanted)
        for t, outputs in enumerate(twin.means_until(x, most)):
            right[t] += np.sum(outputs.argmax(1) == wanted)
    (kept,) = np.nonzero(right >= SHARE * of_ann)
    if not kept.size:
        return {"tried": most}
    first = int(kept[0])
    shares = {"ann": of_ann / len(samples), "snn": right[first] / len(samples)}
    return {"timesteps": first + 1, **shares}


def spiking(network: Network, preset: Any, timesteps: int, options: Found) -> onnx2snn.Conversion:
    """Return the network converted, for this T if the preset is fitted to one."""
    if preset in FITTED:
        options = {**options, "timesteps": timesteps}
    ann, data = str(network.ann), str(network.calibration)
    return onnx2snn.convert(ann, data, preset=preset, threads=1, **options)


def timed(
    network: Network, model: onnx.ModelProto, about: Found, batch: int, given: argparse.Namespace
) -> Found:
    """Return what is known of the answer, with the times of its run and of the ANN."""
    feed = inputs(network, batch)
    session = onnx2snn.SpikingSession(model, threads=given.threads)
    run = partial(session.run, None, feed, about["timesteps"])
    watch = Watch()
    variants = [*ann_ways(network, feed, given.threads), Variant("auto", run, batch)]
    figures = alternate(variants, given.rounds)
    kept = {name: asdict(figure) for name, figure in figures.items()}
    return {**about, "figures": kept, "others": watch.stop()}


def table(cells: Found) -> list[str]:
    """Return a row for each network, preset and batch."""
    head = ["network", "preset", "batch", "ANN, %", "T", "SNN, %", "ANN, ms a sample"]
    head += ["answer / ANN", "other programs, cores"]
    rows = [head, ["---"] * len(head)]
    for key, cell in sorted(cells.items()):
        name, preset, batch = key.split("|")
        if "tried" in cell:
            rows.append([name, preset, "", "", f"none up to {cell['tried']}", *[""] * 4])
            continue
        if not batch:
            continue
        _, ann = fastest_ann(cell["figures"])
        own = cell["figures"]["auto"]
        median, low, high = (own[part] / ann["median"] for part in ("median", "low", "high"))
        scores = [f"{100 * cell[part]:.2f}" for part in ("ann", "snn")]
        rows.append([name, preset, batch, scores[0], str(cell["timesteps"]), scores[1]])
        rows[-1] += [f"{1e3 * ann['median']:.3f}", f"{median:.2f} ({low:.2f} to {high:.2f})"]
        rows[-1].append("" if cell["others"] is None else f"{cell['others']:.2f}")
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    main()
