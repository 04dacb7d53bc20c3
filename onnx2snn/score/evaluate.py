"""ANN and SNN side by side on labelled data, at several numbers of time-steps out of one simulation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array, Delay, ModelSource, Progress, silent_progress
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.data.scripts import script_function
from onnx2snn.errors import DataError, GateError, UsageError
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.sessions import computing, open_session
from onnx2snn.protos.specs import first_samples, fixed_batch, input_specs, mismatch, output_specs
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.session import SpikingSession
from onnx2snn.score.energy import FLOP_JOULES, SHARES, SOP_JOULES, Prices, Tally, sops_at
from onnx2snn.score.intervals import drop_intervals
from onnx2snn.score.metrics import Metric, Scripted
from onnx2snn.score.registry import metric_class
from onnx2snn.score.synapses import multiply_accumulates, wiring
from onnx2snn.snn.format import metadata_of
from onnx2snn.snn.window import resolve_delay

BATCH = 100
DEFAULTS = {"labels": "top1", "masks": "miou", "boxes": "map"}
"""The metric by what stands beside the inputs."""


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation; `result` is that of the samples done, marked as partial."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


@dataclass(frozen=True)
class _Batch:
    """What was found on some samples: the metric's rows, the SNN's by window, and spikes and SOPs by T and site."""

    count: int
    ann: Any
    snn: list[Any]
    sent: dict[int, dict[str, Array]]


@dataclass
class _Evaluation:
    """One evaluation: the models, what is asked of them, and what was found so far."""

    source: LoadedModel
    reference: ort.InferenceSession
    session: SpikingSession
    samples: Samples
    name: str
    metric: Metric
    windows: list[tuple[int, Delay]]
    asked: int
    """How many of the windows are asked for; the others tell from which T on a share of the accuracy is kept."""
    count: int
    size: int
    """Samples at a time."""
    tally: Tally | None
    prices: Prices
    ann_flops: float
    batches: list[_Batch] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Samples scored."""
        return sum(batch.count for batch in self.batches)

    def run(self, progress: Progress) -> None:
        """Score all samples, batch by batch."""
        specs = input_specs(self.source.proto)
        fixed = fixed_batch(specs)
        for start in range(0, self.count, self.size):
            indices = np.arange(start, min(start + self.size, self.count))
            fed = fixed or len(indices)
            feed = self.samples.batch(np.resize(indices, fed))
            with computing(specs):
                expected = first_samples(self.reference.run(None, feed), len(indices))
            targets = [self.samples.target(key, indices) for key in self.metric.targets]
            wanted = expected if self.metric.against_ann else targets
            ann = self.metric.measure(expected, wanted, start)
            snn: list[Any] = [None] * len(self.windows)
            sent: dict[int, dict[str, Array]] = {}
            for index, outputs in self.session.windows(None, feed, self.windows):
                snn[index] = self.metric.measure(
                    first_samples(outputs, len(indices)), wanted, start
                )
                t = self.windows[index][0]
                if self.tally is not None and t not in sent:
                    sent[t] = self.tally.measure(
                        self.session.activity(copy=False), fed, len(indices)
                    )
            self.batches.append(
                _Batch(len(indices), ann, snn, sent)
            )  # all of it or nothing: an interrupt may come
            progress("evaluating", self.done, self.count)

    def result(self) -> dict[str, Any]:
        """What `evaluate` returns, but for the time it took."""
        ann_rows = [batch.ann for batch in self.batches]
        ann = self.metric.score(ann_rows)
        if self.tally is not None:
            for batch in self.batches:
                self.tally.add(batch.count, batch.sent)
        rows = [self._row(index) for index in range(len(self.windows))]
        snn_rows = [self._rows(index) for index in range(self.asked)]
        intervals = drop_intervals(self.metric, self.done, ann_rows, snn_rows)
        asked = []
        for row, interval in zip(rows, intervals, strict=False):
            known = {key: row[key] for key in ("timesteps", "delay", self.name)}
            drop = float(self.metric.drop(ann, row[self.name]))
            asked.append({**known, "drop": drop, "drop_95": interval, **row})
        other = self.session.metadata["source_sha256"] != self.source.sha256
        made = f"the spiking model was made from another file than '{self.source.name}' (their hashes differ)"
        result = {
            "samples": self.done,
            "partial": self.done < self.count,
            "ann": {self.name: ann},
            "snn": asked,
            "warnings": [made] if other else [],
        }
        return (
            result
            if self.tally is None
            else result | {"energy": self._energy(self.tally, ann, rows)}
        )

    def _energy(self, tally: Tally, ann: float, rows: list[dict[str, Any]]) -> dict[str, Any]:
        every = sorted(rows, key=lambda row: row["timesteps"])
        return {
            "sop_joules": self.prices.sop,
            "flop_joules": self.prices.flop,
            "ann": self.prices.ann(self.ann_flops),
            **{
                f"sops{share}": sops_at(share, self.metric, ann, every, self.name)
                for share in SHARES
            },
            "layers": tally.layers(max(row["timesteps"] for row in rows)),
            "steps": [
                {key: row[key] for key in ("timesteps", self.name, "sops", "flops", "energy_j")}
                for row in every
            ],
        }

    def _row(self, index: int) -> dict[str, Any]:
        t, delay = self.windows[index]
        energy = {} if self.tally is None else self.tally.row(t, self.prices, self.ann_flops)
        score = self.metric.score(self._rows(index))
        steps = resolve_delay(delay, t, *_delays(self.session))
        return {"timesteps": t, "delay": steps, self.name: score, **energy}

    def _rows(self, window: int) -> list[Any]:
        return [batch.snn[window] for batch in self.batches]


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
    energy: bool = True,
    every_step: bool | None = None,
    sop_joules: float = SOP_JOULES,
    flop_joules: float = FLOP_JOULES,
    progress: Progress = silent_progress,
) -> dict[str, Any]:
    """Score an ANN and its spiking model.

    `data` is anything calibration data may be; beside the inputs stand `labels` [N] for top1 and top5, [N,...] for mse,
    `masks` [N,H,W] (255: ignored) for miou, `boxes` [N,M,4] and `classes` [N,M] (-1: padding) for map. `timesteps`
    default to the model's own; `delay` None is the model's own, else a number, "half" or "auto" for each T. `metric` is
    top1, top5, miou, map, mse, agreement or `script.py:function(outputs, labels)`; by default what the data is for.
    `energy` counts synaptic operations and tells the first T that keeps 90 and 95 % of the ANN's accuracy: of every T
    up to the largest with `every_step`, else of those asked for (None: every one, but for map). Prices are in joules.

    Returns {"samples": n, "ann": {METRIC: x}, "snn": [row, ...], "partial": False, "energy": {...}, "warnings": [...],
    "seconds": s}; a row is {"timesteps": T, "delay": d, METRIC: x, "drop": x, "drop_95": (low, high), "sops": x, ...}.
    Accuracies and drops are fractions (mse: relative increase), the interval is paired over samples (None for map),
    operations and joules are a sample's. Raises UsageError, DataError, ModelFileError, or EvaluationInterrupted.
    """
    started = time.perf_counter()
    prices = Prices(sop_joules, flop_joules)
    source = load_model(ann)
    if metadata_of(source.proto) is not None:
        raise UsageError(f"'{source.name}' is a spiking model; give the ANN first, then the SNN")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it has to be 1 or more")
    if metric is not None and ":" not in metric:
        metric_class(metric)  # an unknown one is refused before anything is read
    session = SpikingSession(snn, threads=threads, count_activity=energy)
    specs = input_specs(source.proto)
    found = mismatch(specs, session.inputs) or mismatch(output_specs(source.proto), session.outputs)
    if found is not None:
        raise UsageError(
            f"'{source.name}' and the spiking model do not fit together ({found}): the SNN was made from another model"
        )
    with ExitStack() as stack:
        samples = (
            data if isinstance(data, Samples) else stack.enter_context(open_samples(data, specs))
        )
        name = metric or next(
            (m for key, m in DEFAULTS.items() if key in samples.targets), "agreement"
        )
        chosen = _metric(name, [s.name for s in output_specs(source.proto)], samples, stack)
        asked = list(timesteps or [session.metadata["timesteps"]])
        windows = _windows(
            asked,
            delay,
            session,
            every=energy and (chosen.every_step if every_step is None else every_step),
        )
        starts = {resolve_delay(d, t, *_delays(session)) for t, d in windows}
        size = fixed_batch(specs) or affordable_batch(
            session, samples.batch([0]), BATCH, len(starts - {0})
        )
        tally, flops = None, 0.0
        if energy:
            one = samples.batch(np.zeros(fixed_batch(specs) or 1, np.int64))
            with computing(specs):
                tally, flops = (
                    Tally(wiring(session.step_model, one)),
                    multiply_accumulates(source.proto, one),
                )
        reference = open_session(source.proto, threads)
        count = min(len(samples), limit or len(samples))
        work = _Evaluation(
            source,
            reference,
            session,
            samples,
            name,
            chosen,
            windows,
            len(asked),
            count,
            size,
            tally,
            prices,
            flops,
        )
        try:
            work.run(progress)
        except KeyboardInterrupt:
            if not work.done:
                raise
            raise EvaluationInterrupted(work.result() | {"seconds": _since(started)}) from None
        return work.result() | {"seconds": _since(started)}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _metric(name: str, outputs: Sequence[str], samples: Samples, stack: ExitStack) -> Metric:
    """The metric of this name; a script stays importable as long as the stack is open."""
    script, _, function = name.rpartition(":")
    if not script.endswith(".py"):
        return metric_class(name)(outputs)
    path = Path(script).absolute()
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path of the metric")
    found = stack.enter_context(script_function(path, function))
    return Scripted(outputs, name, found, samples.targets)


def _windows(
    asked: Sequence[int], delay: Delay, session: SpikingSession, *, every: bool
) -> list[tuple[int, Delay]]:
    """The (T, delay) asked for, then, with `every`, all smaller T at which the delay leaves a step."""
    for t in asked:
        resolve_delay(delay, t, *_delays(session))  # refuses what leaves no step
    first = delay + 1 if isinstance(delay, int) else 1
    others = [t for t in range(first, max(asked)) if t not in asked] if every else []
    return [(t, delay) for t in [*asked, *others]]


def _delays(session: SpikingSession) -> tuple[int, int]:
    """The model's own and its automatic delay."""
    return session.metadata["delay"], session.metadata["delay_auto"]


def check_drop(result: dict[str, Any], max_drop: float) -> None:
    """The gate: GateError where, at the largest T, the SNN is over `max_drop` percentage points worse than the ANN.

    For mse it is percent of the ANN's error.
    """
    name = next(iter(result["ann"]))
    last = max(result["snn"], key=lambda row: row["timesteps"])
    drop = 100.0 * last["drop"]
    if not drop <= max_drop:
        how = (
            f"{name} drops by {drop:.2f} percentage points"
            if name != "mse"
            else f"mse rises by {drop:.2f} percent"
        )
        raise GateError(f"{how} at T = {last['timesteps']}, over --max-drop {max_drop:g}")
