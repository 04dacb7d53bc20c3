"""Methods and delays side by side on one network, as a Markdown table.

    python benchmarks/conversions.py ANN CALIBRATION TEST [--timesteps 8,16,32,64,128] [--only NAME ...] [--limit N]

Thresholds are fitted on CALIBRATION alone, accuracy is scored on TEST; every row is one conversion, scored at all T and
both delays (0 and half of T) out of one simulation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import onnx2snn

Scores = tuple[float, list[tuple[float, float]]]

CONVERSIONS: dict[str, dict[str, Any]] = {
    "local, channel-wise": {},
    "local, channel-wise, max-pool on the current": {"maxpool": "current"},
    "local, layer-wise": {"granularity": "layer"},
    "99 % percentile, layer-wise (robust norm)": {"method": "percentile", "granularity": "layer"},
    "99 % percentile, channel-wise": {"method": "percentile"},
    "max, channel-wise": {"method": "max"},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ann")
    parser.add_argument("calibration")
    parser.add_argument("test")
    parser.add_argument("--timesteps", default="8,16,32,64,128")
    parser.add_argument("--only", nargs="*", choices=list(CONVERSIONS))
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    times = [int(t) for t in given.timesteps.split(",")]
    scale = "".join(f" T={t} |" for t in times)
    print(f"{Path(given.ann).name}, delay 0 (delay T/2), top-1 in %\n")
    print(f"| conversion | ANN |{scale} conversion s |\n| --- | --- |{' --- |' * len(times)} --- |")
    for name in given.only or CONVERSIONS:
        started = time.perf_counter()
        conversion = onnx2snn.convert(given.ann, given.calibration, **CONVERSIONS[name])
        seconds = time.perf_counter() - started
        ann, accuracy = score(given.ann, conversion.model, given.test, times, given.limit)
        cells = "".join(f" {100 * late:.2f} ({100 * half:.2f}) |" for late, half in accuracy)
        print(f"| {name} | {100 * ann:.2f} |{cells} {seconds:.0f} |", flush=True)


def score(ann: str, snn: Any, test: str, times: list[int], limit: int | None) -> Scores:
    """Accuracy of the ANN, and of the SNN at each T without a delay and with half of T."""
    found = [
        onnx2snn.evaluate(ann, snn, test, timesteps=times, delay=delay, metric="top1", limit=limit)
        for delay in (0, "half")
    ]
    rows = zip(*(result["snn"] for result in found), strict=True)
    return found[0]["ann"]["top1"], [(whole["top1"], late["top1"]) for whole, late in rows]


if __name__ == "__main__":
    main()
