"""Methods and delays side by side on one network, as a Markdown table.

    python benchmarks/conversions.py ANN CALIBRATION TEST [--timesteps 8,16,32,64,128] [--only NAME ...] [--limit N]

Thresholds are fitted on CALIBRATION alone, accuracy is scored on TEST; every row is one conversion, scored at all T and
both delays (0 and half of T) out of one simulation. The low-latency preset is fitted to its T: a conversion each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import onnx2snn

BATCH = 100

LOW_LATENCY = "low-latency preset"

CONVERSIONS: dict[str, dict[str, Any]] = {
    "local, channel-wise": {},
    "local, channel-wise, max-pool on the current": {"maxpool": "current"},
    "local, layer-wise": {"granularity": "layer"},
    "99 % percentile, layer-wise (robust norm)": {"method": "percentile", "granularity": "layer"},
    "99 % percentile, channel-wise": {"method": "percentile"},
    "max, channel-wise": {"method": "max"},
    LOW_LATENCY: {"preset": "low-latency"},
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
        groups = [[t] for t in times] if name == LOW_LATENCY else [times]
        made = [
            onnx2snn.convert(given.ann, given.calibration, timesteps=group[-1], **CONVERSIONS[name]) for group in groups
        ]
        seconds = time.perf_counter() - started
        snn = []
        for conversion, group in zip(made, groups, strict=True):
            ann, found = score(given.ann, conversion, given.test, group, given.limit)
            snn += found
        cells = "".join(f" {100 * whole:.2f} ({100 * late:.2f}) |" for whole, late in snn)
        print(f"| {name} | {100 * ann:.2f} |{cells} {seconds:.0f} |", flush=True)


def score(
    ann: str, conversion: onnx2snn.Conversion, test: str, times: list[int], limit: int | None
) -> tuple[float, list[tuple[float, float]]]:
    """Accuracy of the ANN, and of the SNN at each T without a delay and with half of T."""
    with np.load(test) as data:
        x, labels = data["input"][:limit], data["labels"][:limit]
    reference, session = onnxruntime.InferenceSession(ann), onnx2snn.SpikingSession(conversion.model)
    windows: list[tuple[int, int | str | None]] = [(t, delay) for t in times for delay in (0, "half")]
    correct = np.zeros(1 + len(windows), np.int64)
    for start in range(0, len(x), BATCH):
        feed = {"input": x[start : start + BATCH]}
        outputs = [reference.run(None, feed), *session.run_at(None, feed, windows)]
        correct += [int((scores[0].argmax(1) == labels[start : start + BATCH]).sum()) for scores in outputs]
    first, *rest = (correct / len(x)).tolist()
    return first, list(zip(rest[::2], rest[1::2], strict=True))


if __name__ == "__main__":
    main()
