"""ANN and SNN side by side on labelled data, at several numbers of time-steps out of one simulation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._data import open_samples
from ._errors import GateError, UsageError
from ._load import ModelSource, input_specs, load_model, metadata_of, output_specs
from ._metrics import METRICS
from ._ort import open_session, session_options
from ._progress import Progress, silent_progress
from ._session import Delay, SpikingSession, affordable_batch, computing, resolve_delay
from ._specs import first_samples, fixed_batch, mismatch

BATCH = 100


def evaluate(
    ann: ModelSource,
    snn: ModelSource,
    data: object,
    *,
    timesteps: Sequence[int] | None = None,
    delay: Delay = None,
    metric: str | None = None,
    limit: int | None = None,
    threads: int | None = None,
    progress: Progress = silent_progress,
) -> dict[str, Any]:
    """Score an ANN and its spiking model.

    `data` is anything calibration data may be, with `labels` [N] beside the inputs for top1; `timesteps` default to the
    model's own; `delay` None is the model's own, else a number, "half" or "auto" for each T; `metric` defaults to top1
    where there are labels, else agreement. Returns {"samples": n, "ann": {METRIC: x}, "snn": [{"timesteps": T, "delay":
    d, METRIC: x}, ...], "warnings": [...], "seconds": s}, accuracies as fractions.
    Raises UsageError, DataError or ModelFileError.
    """
    started = time.perf_counter()
    source = load_model(ann)
    if metadata_of(source.proto) is not None:
        raise UsageError(f"'{source.name}' is a spiking model; give the ANN first, then the SNN")
    if metric is not None and metric not in METRICS:
        raise UsageError(f"metric is '{metric}'; it has to be one of {', '.join(METRICS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it has to be 1 or more")
    session = SpikingSession(snn, session_options(threads))
    times = list(timesteps or [session.metadata["timesteps"]])
    delays = [resolve_delay(delay, t, session.metadata["delay"], session.metadata["delay_auto"]) for t in times]
    specs = input_specs(source.proto)
    found = mismatch(specs, session.inputs) or mismatch(output_specs(source.proto), session.outputs)
    if found is not None:
        raise UsageError(
            f"'{source.name}' and the spiking model do not fit together ({found}): the SNN was made from another model"
        )
    reference = open_session(source.proto, threads)
    with open_samples(data, specs) as samples:
        name = metric or ("top1" if "labels" in samples.targets else "agreement")
        kind = METRICS[name]
        count = min(len(samples), limit or len(samples))
        scores = [kind() for _ in range(len(times) + 1)]
        fixed = fixed_batch(specs)
        size = fixed or affordable_batch(session, samples.batch([0]), BATCH)
        for start in range(0, count, size):
            indices = np.arange(start, min(start + size, count))
            feed = samples.batch(np.resize(indices, fixed) if fixed else indices)
            with computing(specs):
                expected = reference.run(None, feed)
            outputs = [expected, *session.run_at(None, feed, [(t, delay) for t in times])]
            outputs = [first_samples(found, len(indices)) for found in outputs]
            wanted = outputs[0] if kind.target is None else [samples.target(kind.target, indices)]
            for score, found in zip(scores, outputs, strict=True):
                score.add(found, wanted)
            progress("evaluating", min(start + size, count), count)
    rows = [{"timesteps": t, "delay": d, name: s.value()} for t, d, s in zip(times, delays, scores[1:], strict=True)]
    other = session.metadata["source_sha256"] != source.sha256
    warnings = (
        [f"the spiking model was made from another file than '{source.name}' (their hashes differ)"] if other else []
    )
    seconds = round(time.perf_counter() - started, 3)
    return {"samples": count, "ann": {name: scores[0].value()}, "snn": rows, "warnings": warnings, "seconds": seconds}


def check_drop(result: dict[str, Any], max_drop: float) -> None:
    """The gate: GateError where, at the largest T, the SNN scores over `max_drop` percentage points below the ANN."""
    name, ann = next(iter(result["ann"].items()))
    last = max(result["snn"], key=lambda row: row["timesteps"])
    drop = 100.0 * (ann - last[name])
    if drop > max_drop:
        raise GateError(
            f"{name} drops by {drop:.2f} percentage points at T = {last['timesteps']}, over --max-drop {max_drop:g}"
        )
