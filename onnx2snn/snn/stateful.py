"""Stateful operators of our domain, which `rewrite.lowering_rules` makes standard ones of.

Unlike neurons they never stand in a file. t counts time-steps from 1, x is the input, y the output
and S(t) the sum of x over steps 1..t.

AccumulatedMaxPool: y(t) = P(S(t)) - P(S(t-1)), P the max-pool in the attribute `pool`.
RunningMean: y(t) = the mean of x over the evaluation window so far.
MeanSoFar: y(t) = S(t) / t.
Increase: y(t) = t x(t) - (t-1) x(t-1).
Accumulate: y(t) = S(t), plus the second input where there is one: a bias, constant in time.
SpikingProduct: y(t) = A(t) B(t) of two tensors that spikes arrive for, A(t) = A(t-1) + a(t), where
    a and b are the inputs; the product is the operator in the attribute `product`.
"""

from __future__ import annotations

ACCUMULATED_MAX_POOL = "AccumulatedMaxPool"
RUNNING_MEAN = "RunningMean"
MEAN_SO_FAR = "MeanSoFar"
INCREASE = "Increase"
ACCUMULATE = "Accumulate"
SPIKING_PRODUCT = "SpikingProduct"
