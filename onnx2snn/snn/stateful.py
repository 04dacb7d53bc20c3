"""Operators of our domain that a spiking graph holds until `rewrite.emit` lowers them to standard ones with states.

Unlike neurons they never stand in a file. t counts time-steps from 1, x is the input and y the output:

AccumulatedMaxPool: y(t) = P(S(t)) - P(S(t-1)), S the sum of x so far, P the max-pool in the attribute `pool`.
RunningMean: y(t) = the mean of x over the evaluation window so far.
MeanSoFar: y(t) = S(t) / t, S the sum of x so far.
Increase: y(t) = t x(t) - (t-1) x(t-1).
"""

from __future__ import annotations

ACCUMULATED_MAX_POOL = "AccumulatedMaxPool"
RUNNING_MEAN = "RunningMean"
MEAN_SO_FAR = "MeanSoFar"
INCREASE = "Increase"
