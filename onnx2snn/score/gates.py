"""Gates: limits that the result of an evaluation has to keep to, each with its verdict.

All of them are about the largest T; where frames were scored as a stream, too, about the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx2snn.errors import GateError
from onnx2snn.score.baseline import DROP, RISE, Baseline, joules_of


@dataclass(frozen=True)
class Gate:
    """A limit and the verdict on it: `option` names the limit, `said` is what was found."""

    option: str
    said: str
    passed: bool
    about: str = ""
    """What it limits, where the option limits several things."""

    @property
    def name(self) -> str:
        """A name that no other gate has."""
        return f"{self.option} ({self.about})" if self.about else self.option

    @property
    def sentence(self) -> str:
        """What was found, beside the limit."""
        return f"{self.said}, {'within' if self.passed else 'over'} {self.option}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of an evaluation; None stands for no limit."""

    max_drop: float | None = None
    """Percentage points that the SNN may be worse than the ANN (mse: percent of its error)."""
    max_sops: float | None = None
    """Synaptic operations of an answer."""
    max_energy: float | None = None
    """Joules of an answer with everything counted."""
    baseline: Baseline | None = None
    baseline_drop: float = DROP
    """Percentage points that the score may be worse than the baseline's (mse: percent)."""
    baseline_rise: float = RISE
    """Percent that SOPs and energy may be above the baseline's."""


def verdicts(result: Mapping[str, Any], limits: Limits) -> list[Gate]:
    """Return the gates that a result of `evaluate` meets, passed and failed ones."""
    rows = result.get("stream") or result["snn"]
    last = max(rows, key=lambda row: row["timesteps"])
    name = next(iter(result["ann"]))
    gates = []
    if limits.max_drop is not None:
        gates.append(_drop(name, result["ann"][name], last, limits.max_drop))
    if limits.max_sops is not None:
        option = f"--max-sops {limits.max_sops:g}"
        gates.append(_most("an answer takes {:.4g} SOPs", last["sops"], last, option))
    if limits.max_energy is not None:
        option = f"--max-energy {limits.max_energy:g}"
        gates.append(_most("an answer takes {:.4g} J", joules_of(last), last, option))
    if limits.baseline is not None:
        gates += _against(limits.baseline, name, last, limits)
    return gates


def require_passed(gates: Sequence[Gate]) -> None:
    """Raise GateError where a gate failed, with the sentences of all that did."""
    failed = [gate.sentence for gate in gates if not gate.passed]
    if failed:
        raise GateError("; ".join(failed))


def _drop(name: str, ann: float, last: Mapping[str, Any], limit: float) -> Gate:
    option = f"--max-drop {limit:g}"
    if name != "mse" and ann == 0:
        said = f"the ANN's own {name} is 0, so that no SNN could fall below it"
        return Gate(option, said, passed=False)
    drop = 100.0 * last["drop"]
    said = f"{_worse(name, drop)} at T = {last['timesteps']}"
    return Gate(option, said, passed=drop <= limit)


def _worse(name: str, drop: float) -> str:
    """Return what became of a score that is worse by so many points; an error in percent."""
    if name == "mse":
        return f"mse {_moved(drop)} percent"
    return f"{name} {_moved(drop, 'drops', 'rises')} percentage points"


def _moved(amount: float, worse: str = "rises", better: str = "falls") -> str:
    """Return a change as words: the first verb where it is for the worse."""
    if amount < 0:
        return f"{better} by {-amount:.2f}"
    return f"{worse} by {amount:.2f}"


def _most(said: str, value: float, last: Mapping[str, Any], option: str) -> Gate:
    """Return the gate of a value that may be as large as the number in an option."""
    limit = float(option.split()[-1])
    return Gate(option, f"{said.format(value)} at T = {last['timesteps']}", passed=value <= limit)


def _against(
    baseline: Baseline, name: str, last: Mapping[str, Any], limits: Limits
) -> Iterator[Gate]:
    """Yield the gates of a baseline: its score, and its costs where both have them."""
    before = baseline.rows[last["timesteps"]]
    score = float(last[name])
    worse = before["score"] - score
    if name == "mse":
        worse = _rise(before["score"], score)
    drop = 100.0 * worse
    at = f"from '{baseline.path}' at T = {last['timesteps']}"
    option = f"--baseline-drop {limits.baseline_drop:g}"
    yield Gate(option, f"{_worse(name, drop)} {at}", passed=drop <= limits.baseline_drop)
    if "SOPs" not in before or "sops" not in last:
        return
    option = f"--baseline-rise {limits.baseline_rise:g}"
    for what, value in {"SOPs": float(last["sops"]), "energy": joules_of(last)}.items():
        rise = 100.0 * _rise(before[what], value)
        said = f"the {what} of an answer: {rise:+.2f} percent {at}"
        yield Gate(option, said, rise <= limits.baseline_rise, what)


def _rise(before: float, after: float) -> float:
    """Return the relative increase; from nothing to something it is infinite."""
    if before == 0:
        return 0.0 if after == 0 else float("inf")
    return after / before - 1.0
