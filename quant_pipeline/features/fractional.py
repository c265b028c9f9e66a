"""Fractionally differenced log price: nearly stationary as a return, yet with some memory of the level.

(1 - B)**d = sum over k of w(k) B**k with w(0) = 1 and w(k) = -w(k - 1) (d - k + 1) / k; d = 1 gives the return, d = 0
the price. As in Lopez de Prado's fixed-width window (2018, "Advances in financial machine learning", ch. 5.5), weights
below a tolerance are cut. The cut weights are not dropped but put on the oldest close of the window, as if every
earlier close had been equal to it: with all weights the sum is zero, so that only ratios of prices count, the unit of
the price drops out, and a still market gives exactly zero. By summation by parts the same value is a sum of positive
weights W(j) = w(0) + ... + w(j) on the log returns, which is what is computed. There is no z-score: it would take away the
level that fractional differencing is there to keep.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import LANES, FloatArray, blank
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.jit import compiled

RUNGS = ("1m", "15m", "1h", PRIMARY)
ORDERS = (0.3, 0.4, 0.5)
"""Orders below the 0.6 at which all futures of the book's table 5.1 were stationary; most already were at 0.3."""
TOLERANCE = 1e-4
"""Weights smaller than this are cut: it leaves 388, 282 and 200 closes for the three orders."""


def difference_weights(order: float, tolerance: float) -> FloatArray:
    """Weights w(k) of (1 - B)**order, newest first, up to the last that is at least `tolerance` in size.

    Args:
        order: between 0 and 1, both excluded.
        tolerance: smallest weight kept.

    Example:
        >>> difference_weights(0.5, 0.05)
        array([ 1.    , -0.5   , -0.125 , -0.0625])
    """
    weights = [1.0]
    while abs(weights[-1]) >= tolerance:
        weights.append(-weights[-1] * (order - len(weights) + 1) / len(weights))
    return np.array(weights[:-1])


@compiled
def weighted_sum(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum over k of `weights[k] * x[i - k]`, the oldest first; NaN where a window is not full."""
    out = np.full(x.size, np.nan)
    for first in range(weights.size - 1, x.size, LANES):
        total = out[first : first + LANES]
        total[:] = 0.0
        for k in range(weights.size - 1, -1, -1):
            past, weight = x[first - k : first - k + LANES], weights[k]
            for i in range(total.size):
                total[i] += weight * past[i]
    return out


def _register_order(order: float) -> None:
    weights = difference_weights(order, TOLERANCE)
    name = f"fracdiff_{100 * order:.0f}"
    meaning = f"Log close differenced {order} times, (1 - B)**{order}, over {weights.size} bars (Lopez de Prado 2018, ch. 5.5)."
    on_returns = np.cumsum(weights[:-1])

    @features({name: meaning}, "fractional", ("close",), weights.size, rungs=RUNGS)
    def fractional_difference(columns: Columns) -> FloatArray:
        """Fractional difference of the log close, (1, n); see the module. NaN until the window is full."""
        close = columns["close"]
        returns = np.zeros(close.size)
        returns[1:] = np.log(close[1:] / close[:-1])
        return blank(weighted_sum(returns, on_returns), weights.size - 1)[np.newaxis]


for _order in ORDERS:
    _register_order(_order)
