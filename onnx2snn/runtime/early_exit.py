"""Early exit: a sample stops as soon as its answer is stable.

The answer is stable at step t if its best class is that of step t - 1, and the margin, the
probability of the best class less that of the second, is at least M. So no sample stops before the
second step. Probabilities are the softmax of the class scores, or the scores where they already are
probabilities. A sample that is never stable stops at T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx2snn.aliases import Array, Delay
from onnx2snn.errors import UsageError, quoted
from onnx2snn.runtime.simulation import Simulation, Windows

SUM_TOLERANCE = 1e-3
"""How far from 1 probabilities may add up to."""


def class_scores(output: Array) -> Array | None:
    """Return an output [N, C] or [N, C, 1, ...] as class scores [N, C]; None for any other."""
    if output.dtype.kind != "f" or output.ndim < 2 or output.shape[1] < 2:
        return None
    count, classes = output.shape[:2]
    if output.size != count * classes:
        return None
    return output.reshape(count, classes)


def margins(scores: Array) -> Array:
    """Return the largest probability less the second, [N], of class scores [N, C]."""
    probabilities = _probabilities(scores.astype(np.float64))
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.asarray(first - second)


def _probabilities(scores: Array) -> Array:
    sums = scores.sum(axis=1)
    if (scores >= 0).all() and (np.abs(sums - 1) < SUM_TOLERANCE).all():
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def check_margin(margin: object) -> None:
    """Raise UsageError for a number that is no difference of two probabilities."""
    number = isinstance(margin, int | float | np.number) and not isinstance(margin, bool)
    if not number or not 0 <= float(str(margin)) <= 1:
        raise UsageError(f"exit margin is {margin!r}; it has to be a number from 0 to 1")


def windows_up_to(simulation: Simulation, timesteps: int | None, delay: Delay) -> Windows:
    """Return a window for each step up to the last one, less those that a delay leaves out."""
    last = simulation.span(timesteps, delay).end
    first = delay + 1 if isinstance(delay, int) else 1
    return [(t, delay) for t in range(first, last + 1)]


class Exits:
    """The samples of one batch: which are stable, step by step."""

    def __init__(self, margin: float) -> None:
        """Stop samples at a margin."""
        self._margin = margin
        self._best: Array | None = None

    def stable(self, scores: Array) -> Array:
        """Return which samples are stable after the next step, bool [N]."""
        best = scores.argmax(axis=1)
        if self._best is None:
            found = np.zeros(len(best), bool)
        else:
            found = (best == self._best) & (margins(scores) >= self._margin)
        self._best = best
        return found


def run_early(
    simulation: Simulation, feed: Mapping[str, Array], windows: Windows, margin: float, reset: bool
) -> tuple[list[Array], Array]:
    """Run until each sample is stable, or the last window is over.

    Args:
        simulation: The model in time.
        feed: The inputs by name.
        windows: The windows of ascending steps, as `windows_up_to` returns them.
        margin: M.
        reset: Whether to start from the initial potentials.

    Returns:
        The outputs, each sample's of the step it stopped at; and these steps, int64 [N].

    Raises:
        UsageError: The model's outputs are not those of one classification.
        DataError: The inputs do not fit.
    """
    exits = Exits(margin)
    names = [spec.name for spec in simulation.outputs]
    answer: list[Array] = []
    steps = np.zeros(0, np.int64)
    for index, outputs in simulation.answers(feed, windows, reset=reset):
        scores = _only_scores(names, outputs)
        if index == 0:
            answer = [output.copy() for output in outputs]
            steps = np.zeros(len(scores), np.int64)
        open_still = steps == 0
        t, _ = windows[index]
        for kept, output in zip(answer, outputs, strict=True):
            kept[open_still] = output[open_still]
        steps[open_still & exits.stable(scores)] = t
        if (steps > 0).all():
            break
    steps[steps == 0] = windows[-1][0]
    return answer, steps


def _only_scores(names: Sequence[str], outputs: Sequence[Array]) -> Array:
    """Return the class scores among outputs that all have their samples along axis 0."""
    found = [scores for scores in map(class_scores, outputs) if scores is not None]
    sizes = {len(output) if output.ndim else 0 for output in outputs}
    if len(found) != 1 or len(sizes) != 1:
        raise no_classification(names)
    return found[0]


def no_classification(names: Sequence[str]) -> UsageError:
    """Return the error of a model whose outputs, of these names, are not one classification."""
    return UsageError(
        "early exit needs one output of class scores, [N, classes], and samples along axis 0 "
        f"of all outputs; the model has {quoted(names)}"
    )
