"""Natures of outputs: whether an output is known to hold probabilities, from what makes it.

Cases: `Nature.PROBABILITIES`, a Softmax or LogSoftmax makes it, so it holds the scores of classes;
`Nature.DECISIONS`, a Sigmoid makes it, so each value is a probability of its own. Operators that
only move elements are looked through. `Nature.NUMBERS`: labels of its shape beside the data hold
fractions, so that it is no score of classes (`score.targets`). Any other output is unknown: a
linear layer's output may hold logits or anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Nature(Enum):
    """What an output's values are known to be."""

    PROBABILITIES = "probabilities of classes"
    DECISIONS = "probabilities"
    NUMBERS = "targets of a regression"


Natures = Mapping[str, Nature]
"""By output; an output that is not there is unknown."""
