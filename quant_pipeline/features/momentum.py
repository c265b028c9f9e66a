"""Momentum: RSI, MACD, stochastic oscillator and ADX with their authors' usual periods.

The definitions are Wilder's (1978), Appel's and Lane's as TA-Lib computes them, with one change: exponential
averages forget what is older than `memory` bars, so that a value never depends on where the history starts.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import (
    FloatArray,
    blank,
    change,
    decayed_mean,
    decayed_sum,
    directional_movement,
    memory,
    ratio,
    rolling_max,
    rolling_mean,
)
from quant_pipeline.features.registry import Columns, feature

WILDER_PERIOD = 14
WILDER_DECAY = 1 - 1 / WILDER_PERIOD
WILDER_MEMORY = memory(WILDER_DECAY)
MACD_FAST, MACD_SLOW = 12, 26
STOCH_PERIOD, STOCH_SMOOTHING = 14, 3
NEUTRAL = 50.0
"""Middle of the oscillators that run from 0 to 100: what they say when nothing moved."""


@feature("rsi", "momentum", ("close",), WILDER_MEMORY + 1)
def rsi(columns: Columns) -> FloatArray:
    """Relative strength index, 14 bars: 0 to 100, 50 when no close changed. Valid from bar 15."""
    moves = change(columns["close"])
    gains = decayed_sum(np.maximum(moves, 0.0), WILDER_MEMORY, WILDER_DECAY)
    losses = decayed_sum(np.maximum(-moves, 0.0), WILDER_MEMORY, WILDER_DECAY)
    return blank(100.0 * ratio(gains, gains + losses, NEUTRAL / 100.0), WILDER_PERIOD)


def ema_lag(moves: FloatArray, span: int) -> FloatArray:
    """How far the close is above its EMA over `span` bars, from the changes of the close alone.

    EMA(t) = close(t) - sum over j of decay**(j + 1) * change(t - j): exactly zero lag when nothing moved.
    """
    decay = 1.0 - 2.0 / (span + 1)
    return decay * decayed_sum(moves, memory(decay), decay)


@feature("macd", "momentum", ("close",), memory(1 - 2 / (MACD_SLOW + 1)) + 1, zscore=True)
def macd(columns: Columns) -> FloatArray:
    """EMA(12) less EMA(26) of the close, as a share of the close; 0 when no close changed. Valid from bar 26."""
    moves = change(columns["close"])
    return blank((ema_lag(moves, MACD_SLOW) - ema_lag(moves, MACD_FAST)) / columns["close"], MACD_SLOW - 1)


@feature("stoch", "momentum", ("high", "low", "close"), STOCH_PERIOD + STOCH_SMOOTHING - 1)
def stoch(columns: Columns) -> FloatArray:
    """Slow %K: place of the close in the range of 14 bars, mean of 3; 0 to 100, 50 where the range is zero."""
    lowest = -rolling_max(-columns["low"], STOCH_PERIOD)
    span = rolling_max(columns["high"], STOCH_PERIOD) - lowest
    place = 100.0 * ratio(columns["close"] - lowest, span, NEUTRAL / 100.0)
    return blank(rolling_mean(place, STOCH_SMOOTHING), STOCH_PERIOD + STOCH_SMOOTHING - 2)


@feature("adx", "momentum", ("high", "low", "close"), 2 * WILDER_MEMORY)
def adx(columns: Columns) -> FloatArray:
    """Average directional index, 14 bars: 0 (no direction, or no movement) to 100. Valid from bar 28.

    Smoothing is done twice, hence twice the memory. The true range, the divisor of both directional indicators,
    cancels out of their ratio.
    """
    high, low = columns["high"], columns["low"]
    up, down = (decayed_sum(side, WILDER_MEMORY, WILDER_DECAY) for side in directional_movement(high, low))
    directed = 100.0 * ratio(np.abs(up - down), up + down, 0.0)
    mean = decayed_mean(directed[WILDER_PERIOD:], WILDER_MEMORY, WILDER_DECAY)
    return blank(np.concatenate((directed[:WILDER_PERIOD], mean)), 2 * WILDER_PERIOD - 1)
