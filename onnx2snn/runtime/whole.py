"""Whole runs of a few time-steps: encoder, core and readout behind one another, in one pass.

Each time-step is written out as in a plain rollout. The states that a run starts from are zeros, so
onnxruntime folds what is made of them, nothing crosses from one session to another, and what the
last step hands on to nobody is not computed. States are made when somebody asks for them, by
simulating anew (`runtime.runs.Answered`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import RLock

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.protos.computing import from_runtime
from onnx2snn.runtime.answers import Span
from onnx2snn.runtime.division import Division
from onnx2snn.runtime.feeds import checked_feed
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.plan import Schedule, batch_of, neurons_of
from onnx2snn.runtime.rollout_plain import written_out

MOST_STEPS = 4
"""Time-steps that are run as a whole."""
MOST_STEPS_OF_CHAINS = 8
"""The same with kernels, which leave little to be computed step by step."""
MOST_LAYERS = 1024
"""Layers of neurons times time-steps that are written out: opening a session takes longer than it
saves where a network has more.
"""
MOST_SESSIONS = 2
"""Windows that a session of its own is opened for; each holds the weights once more."""
CHUNK_NEURONS = 2**21
"""Neurons of the samples that run together: what an operator makes stays in the caches."""


class WholeRuns:
    """Runs of one model from the initial potentials, whole."""

    def __init__(self, division: Division, opening: Opening, schedule: Schedule) -> None:
        """Open nothing yet."""
        self._division = division
        self._opening = opening
        self._schedule = schedule
        self._sessions: dict[tuple[Span, bool], ort.InferenceSession] = {}
        """By window and whether it has one thread alone."""
        self._lock = RLock()
        """Held while a session is opened, so that threads do not open it twice."""

    def takes(self, span: Span) -> bool:
        """Return whether a run up to the end of a window is run as a whole."""
        if self._schedule != "auto" or self._division.count:
            return False
        most = MOST_STEPS_OF_CHAINS if self._opening.kernels else MOST_STEPS
        if self._opening.float16 or not self._opening.is_plain or span.end > most:
            return False
        if len(self._division.model.metadata["neurons"]) * span.end > MOST_LAYERS:
            return False
        with self._lock:
            known = {window for window, _ in self._sessions}
        return span in known or len(known) < MOST_SESSIONS

    def opened(self, span: Span) -> bool:
        """Open the session of a window; return whether this takes it."""
        if not self.takes(span):
            return False
        self._session(span, alone=False)
        return True

    def _session(self, span: Span, *, alone: bool) -> ort.InferenceSession:
        """Return the session of a window; `alone`: of one thread, since runs go side by side."""
        opening = self._opening
        key = span, alone and opening.workers > 1
        with self._lock:
            if key not in self._sessions:
                made = written_out(self._division.model, span.end, span.start)
                if key[1]:
                    self._sessions[key] = opening.open_alone(made)
                else:
                    self._sessions[key] = opening.open(made, spinning=True)
            return self._sessions[key]

    def answer(self, feed: Mapping[str, Array], span: Span) -> list[Array] | None:
        """Return the answer for a window, in the order of the model's outputs.

        None where the window is not taken, or onnxruntime fails: a run of the parts tells why.

        Args:
            feed: The inputs by name.
            span: The window.

        Raises:
            DataError: The inputs do not fit.
        """
        if not self.takes(span):
            return None
        values = checked_feed(feed, self._division.inputs)
        chunks = self._chunks(values)
        names = list(self._division.model.outputs)
        session = self._session(span, alone=len(chunks) > 1)
        try:
            if len(chunks) == 1:
                return _run(session, names, values)
            return self._side_by_side(session, names, values, chunks)
        except Exception as error:
            if not from_runtime(error):
                raise
            return None

    def _chunks(self, values: Mapping[str, Array]) -> list[slice]:
        """Divide a batch into chunks of as many neurons as stay in the caches."""
        batch = batch_of(values)
        of_sample = neurons_of(self._division.model) if batch > 1 else None
        if of_sample is None or not self._division.outputs_by_sample(values):
            return [slice(None)]
        workers = self._opening.workers
        most = max(1, CHUNK_NEURONS // max(1, of_sample))
        # rounds of a chunk for each worker; -(-a // b) rounds up
        rounds = -(-batch // (most * workers))
        count = min(batch, rounds * workers)
        bounds = np.linspace(0, batch, count + 1).astype(int)
        return [slice(start, end) for start, end in pairwise(bounds.tolist())]

    def _side_by_side(
        self,
        session: ort.InferenceSession,
        names: Sequence[str],
        values: Mapping[str, Array],
        chunks: Sequence[slice],
    ) -> list[Array]:
        """Run each chunk, a thread each, and put their outputs together."""
        run = partial(_run_chunk, session, names, values)
        pool = ThreadPoolExecutor(self._opening.workers)
        try:
            found = list(pool.map(run, chunks))
        finally:
            # where one fails, or is interrupted, the chunks that wait are not begun
            pool.shutdown(cancel_futures=True)
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _run_chunk(
    session: ort.InferenceSession, names: Sequence[str], values: Mapping[str, Array], chunk: slice
) -> list[Array]:
    of_chunk = {name: value[chunk] for name, value in values.items()}
    return _run(session, names, of_chunk)


def _run(
    session: ort.InferenceSession, names: Sequence[str], values: Mapping[str, Array]
) -> list[Array]:
    return list(session.run(names, dict(values)))
