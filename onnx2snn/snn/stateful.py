"""Stateful operators of our domain, which `rewrite.lowering_rules` makes standard ones of.

Unlike neurons they never stand in a file. t counts time-steps from 1, x is the input, y the output
and S(t) the sum of x over steps 1..t.

AccumulatedMaxPool: y(t) = P(S(t)) - P(S(t-1)), P the max-pool in the attribute `pool`.
RunningMean: y(t) = the mean of x over the evaluation window so far.
MeanSoFar: y(t) = S(t) / t.
Increase: y(t) = t x(t) - (t-1) x(t-1).
"""

from __future__ import annotations

ACCUMULATED_MAX_POOL = "AccumulatedMaxPool"
RUNNING_MEAN = "RunningMean"
MEAN_SO_FAR = "MeanSoFar"
INCREASE = "Increase"
