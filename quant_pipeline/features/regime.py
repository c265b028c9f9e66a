"""Regimes: what kind of market the last bars are, against the last 250 bars of the same rung.

Three measures of the closes are ranked among their own last 250 values, and the outer thirds of each rank are
regimes, so that all are usual on every market and rung: volatility (mean squared log return), trend (efficiency
ratio: Kaufman, Smarter Trading, 1995) and structure (variance ratio: Lo & MacKinlay, 1988). Nothing is fitted, and
nothing older than 354 bars is remembered. A still market ranks in the middle of everything.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray, blank, change, decayed_sum, ratio
from quant_pipeline.features.registry import Columns, features
from quant_pipeline.jit import compiled

RUNGS = ("1m", "15m", "1h")
"""The three key rungs of document 002: microstructure, session and context."""
MEASURE_WINDOW = 20
"""Bars of the volatility and of the efficiency ratio, as of the other 20-bar features."""
STRUCTURE_WINDOW, STRUCTURE_HORIZON = 100, 5
"""Bars whose 5-bar and 1-bar returns the variance ratio compares: 20 horizons that do not overlap."""
RANK_WINDOW = 250
LOW, HIGH = 1 / 3, 2 / 3
"""Ranks that bound the regimes: below, between and above are equally common."""
WARM_UP = STRUCTURE_WINDOW + STRUCTURE_HORIZON - 1
"""Bars before the first variance ratio, the slowest measure."""
LOOKBACK = WARM_UP + RANK_WINDOW
LANES = 256
"""Bars ranked side by side: their counts stay in the first-level cache."""

MEANINGS = {
    "volatility_regime": "Third of the rank of the mean squared log return of 20 bars in 250: -1 quiet, 0 usual, 1 volatile",
    "trend_regime": "Direction of 20 bars, -1 or 1, while their efficiency ratio ranks in the upper third of 250; else 0",
    "structure_regime": "Third of the rank of the variance ratio VR(5) of 100 bars in 250: -1 reverting, 0 usual, 1 persistent",
    "composite_regime": "Direction of 20 bars times the mean rank of trend, structure and calm: -1 a calm, steady fall, 1 a rise",
    "regime_score": "Confidence: how far the three ranks are from the middle, mean of |2 rank - 1|: 0 usual, 1 extreme",
}


@compiled
def rolling_rank(x: FloatArray, window: int) -> FloatArray:
    """Rank of each value among the last `window`, itself included: share of smaller ones plus half that of equal ones.

    Args:
        x: (n,) values without NaN.
        window: values that are compared.

    Returns:
        (n,) from 0.5 / window to 1 - 0.5 / window, 0.5 where all are equal; NaN until the window is full.
    """
    out = np.full(x.size, np.nan)
    for first in range(window - 1, x.size, LANES):
        now = x[first : first + LANES]
        lead = np.zeros(now.size)
        for k in range(1, window):
            past = x[first - k : first - k + LANES]
            for i in range(now.size):
                lead[i] += (1.0 if past[i] < now[i] else 0.0) - (1.0 if past[i] > now[i] else 0.0)
        for i in range(now.size):
            out[first + i] = 0.5 + 0.5 * lead[i] / window
    return out


def mean_square(close: FloatArray) -> FloatArray:
    """Mean squared log return of 20 bars: the variance per bar about zero."""
    moves = _log_return(close, 1)
    return decayed_sum(moves * moves, MEASURE_WINDOW, 1.0) / MEASURE_WINDOW


def efficiency(close: FloatArray) -> FloatArray:
    """Kaufman's efficiency ratio of 20 bars: net move over the sum of all moves, 0 to 1; 0 where nothing moved."""
    path = decayed_sum(np.abs(change(close)), MEASURE_WINDOW, 1.0)
    return ratio(np.abs(_move(close, MEASURE_WINDOW)), path, 0.0)


def variance_ratio(close: FloatArray) -> FloatArray:
    """Lo & MacKinlay's VR(5) of overlapping returns in 100 bars, about a mean of zero: 1 for a random walk.

    The mean is not taken off, so that a steady drift counts as persistence; 1 where nothing moved.
    """
    short, long = _log_return(close, 1), _log_return(close, STRUCTURE_HORIZON)
    over, under = (decayed_sum(moves * moves, STRUCTURE_WINDOW, 1.0) for moves in (long, short))
    return ratio(over, STRUCTURE_HORIZON * under, 1.0)


@features(MEANINGS, "regime", ("close",), LOOKBACK, rungs=RUNGS)
def regimes(columns: Columns) -> FloatArray:
    """(5, n) the outputs of `MEANINGS`; NaN before bar 354."""
    close = columns["close"]
    volatility, trend, structure = (_rank(measure(close)) for measure in (mean_square, efficiency, variance_ratio))
    direction = np.sign(_move(close, MEASURE_WINDOW))
    ranks = np.stack([trend, structure, 1.0 - volatility])
    outputs = (
        _third(volatility),
        np.where(trend > HIGH, direction, 0.0),
        _third(structure),
        direction * _mean_of_three(ranks),
        _mean_of_three(np.abs(2.0 * ranks - 1.0)),
    )
    return np.stack([blank(values, LOOKBACK - 1) for values in outputs])


def _rank(measure: FloatArray) -> FloatArray:
    """`rolling_rank` of a measure from the bar on at which the slowest one is defined."""
    return np.concatenate((np.full(min(WARM_UP, measure.size), np.nan), rolling_rank(measure[WARM_UP:], RANK_WINDOW)))


def _third(rank: FloatArray) -> FloatArray:
    return np.where(rank > HIGH, 1.0, np.where(rank < LOW, -1.0, 0.0))


def _mean_of_three(rows: FloatArray) -> FloatArray:
    mean: FloatArray = (rows[0] + rows[1] + rows[2]) / 3
    return mean


def _move(close: FloatArray, bars: int) -> FloatArray:
    """Change of the close over `bars`; zero before."""
    out = np.zeros(close.size)
    out[bars:] = close[bars:] - close[:-bars]
    return out


def _log_return(close: FloatArray, bars: int) -> FloatArray:
    """Log return over `bars`; zero before."""
    out = np.zeros(close.size)
    out[bars:] = np.log(close[bars:] / close[:-bars])
    return out
