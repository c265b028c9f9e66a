"""Statistics of the log returns of the last 20 bars, on the five key rungs of document 002."""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray, blank, change, rolling_mean, rolling_shape, rolling_spread
from quant_pipeline.features.registry import Columns, feature

RUNGS = ("1m", "5m", "15m", "30m", "1h")
WINDOW = 20
NO_SHAPE = 1e-28
"""Sum of squared log returns below which they are rounding of the prices: skewness and kurtosis are then 0."""


def _returns(columns: Columns) -> FloatArray:
    return change(np.log(columns["close"]))


@feature("mean", "statistics", ("close",), WINDOW + 1, rungs=RUNGS, zscore=True)
def mean(columns: Columns) -> FloatArray:
    """Mean log return per bar."""
    return blank(rolling_mean(_returns(columns), WINDOW), WINDOW)


@feature("std", "statistics", ("close",), WINDOW + 1, rungs=RUNGS)
def std(columns: Columns) -> FloatArray:
    """Population standard deviation of the log returns, per bar."""
    _, square = rolling_spread(_returns(columns), WINDOW)
    return blank(np.sqrt(square / WINDOW), WINDOW)


@feature("skew", "statistics", ("close",), WINDOW + 1, rungs=RUNGS)
def skew(columns: Columns) -> FloatArray:
    """Skewness g1 of the log returns: third standardised moment, biased as in `scipy.stats.skew`; 0 when flat."""
    third, _ = rolling_shape(_returns(columns), WINDOW, NO_SHAPE)
    return blank(np.nan_to_num(third, nan=0.0), WINDOW)


@feature("kurt", "statistics", ("close",), WINDOW + 1, rungs=RUNGS)
def kurt(columns: Columns) -> FloatArray:
    """Excess kurtosis g2 of the log returns, biased as in `scipy.stats.kurtosis`: 0 is normal, and what flat windows get."""
    _, fourth = rolling_shape(_returns(columns), WINDOW, NO_SHAPE)
    return blank(np.nan_to_num(fourth, nan=3.0), WINDOW) - 3.0
