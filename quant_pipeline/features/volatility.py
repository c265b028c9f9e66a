"""Volatility: average true range, the range estimators of Parkinson and of Garman & Klass, Bollinger width.

All are shares of the price per bar of their rung, and 0 where the price stood still.
"""

from __future__ import annotations

import math

import numpy as np

from quant_pipeline.features.kernels import FloatArray, blank, decayed_mean, rolling_mean, rolling_spread, true_range
from quant_pipeline.features.momentum import WILDER_DECAY, WILDER_MEMORY, WILDER_PERIOD
from quant_pipeline.features.registry import Columns, feature

RANGE_WINDOW = 20
BOLLINGER_WINDOW = 20
BOLLINGER_WIDTH = 2.0
"""Standard deviations between the middle band and each outer one."""


@feature("atr", "volatility", ("high", "low", "close"), WILDER_MEMORY + 1)
def atr(columns: Columns) -> FloatArray:
    """Wilder's average true range over 14 bars, divided by the close. Valid from bar 15."""
    ranges = true_range(columns["high"], columns["low"], columns["close"])
    ranges[1:] = decayed_mean(ranges[1:], WILDER_MEMORY, WILDER_DECAY)
    return blank(ranges / columns["close"], WILDER_PERIOD)


@feature("parkinson", "volatility", ("high", "low"), RANGE_WINDOW)
def parkinson(columns: Columns) -> FloatArray:
    """Parkinson's (1980) standard deviation of log returns from the high-low ranges of 20 bars."""
    square = np.log(columns["high"] / columns["low"]) ** 2
    return blank(np.sqrt(rolling_mean(square, RANGE_WINDOW) / (4 * math.log(2))), RANGE_WINDOW - 1)


@feature("garman_klass", "volatility", ("open", "high", "low", "close"), RANGE_WINDOW)
def garman_klass(columns: Columns) -> FloatArray:
    """Garman & Klass's (1980) standard deviation of log returns from open, high, low and close of 20 bars."""
    spans = np.log(columns["high"] / columns["low"]) ** 2
    bodies = np.log(columns["close"] / columns["open"]) ** 2
    variance = rolling_mean(0.5 * spans - (2 * math.log(2) - 1) * bodies, RANGE_WINDOW)
    return blank(np.sqrt(np.maximum(variance, 0.0)), RANGE_WINDOW - 1)  # rounding may dip below zero


@feature("bb_width", "volatility", ("close",), BOLLINGER_WINDOW)
def bb_width(columns: Columns) -> FloatArray:
    """Distance between the Bollinger bands (20 bars, 2 population standard deviations), as a share of the middle one."""
    mean, square = rolling_spread(columns["close"], BOLLINGER_WINDOW)
    return blank(2 * BOLLINGER_WIDTH * np.sqrt(square / BOLLINGER_WINDOW) / mean, BOLLINGER_WINDOW - 1)
