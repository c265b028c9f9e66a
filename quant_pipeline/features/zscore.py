"""The causal rolling z-score: how unusual a value is among the last `window` values of its own rung."""

from __future__ import annotations

import math

import numpy as np

from quant_pipeline.features.kernels import FloatArray, rolling_spread
from quant_pipeline.jit import compiled

ROUNDING = 1e-9
"""A spread below this share of the level is rounding, not information."""


def rolling_zscore(values: FloatArray, window: int, min_periods: int) -> FloatArray:
    """Score each value against the mean and population standard deviation of the last `window`, itself included.

    Args:
        values: (n,) one value per bar; a leading run of NaN is the warm-up and does not count as history.
        window: bars looked back on, 500 by default in the experiment.
        min_periods: values needed for a score; before them NaN.

    Returns:
        (n,) scores, at most `sqrt(window - 1)` in size; 0 where the window is flat.
    """
    known = ~np.isnan(values)
    first = int(known.argmax()) if known.any() else values.size
    out = np.full(values.size, np.nan)
    _score(values[first:], rolling_spread(values[first:], window), window, min_periods, out[first:])
    return out


@compiled
def _score(values: FloatArray, spread: FloatArray, window: int, min_periods: int, out: FloatArray) -> None:
    for i in range(min_periods - 1, values.size):
        mean, deviation = spread[0, i], math.sqrt(spread[1, i] / min(i + 1, window))
        out[i] = 0.0 if deviation <= ROUNDING * abs(mean) else (values[i] - mean) / deviation
