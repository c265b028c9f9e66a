"""Oscillators: Williams %R, CCI, money flow, rate of change, Keltner position, supertrend, historical volatility, ATR ratio.

The definitions are their authors' with the usual periods, as TA-Lib computes those that it has. Exponential averages
forget what is older than `memory` bars, and the supertrend is followed afresh over a fixed number of bars, so that a
value never depends on where the history starts.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import (
    LANES,
    FloatArray,
    blank,
    change,
    decayed_mean,
    decayed_sum,
    memory,
    ratio,
    rolling_max,
    rolling_spread,
    true_range,
)
from quant_pipeline.features.momentum import NEUTRAL
from quant_pipeline.features.registry import Columns, feature, features
from quant_pipeline.jit import compiled

PERIOD = 14
"""Bars of Williams %R and of the money flow index, as their authors use."""
CCI_PERIOD, CCI_SCALE = 20, 0.015
"""Lambert's constant: with it, most values of most markets lie between -100 and 100."""
ROC_BARS = 10
KELTNER_DECAY, KELTNER_VALID, KELTNER_ATR, KELTNER_WIDTH = 1 - 2 / 21, 20, 10, 2.0
"""The channel as Raschke draws it: an EMA over 20 bars, and on either side 2 average true ranges over 10 bars."""
SUPERTREND_PERIOD, SUPERTREND_WIDTH = 10, 3.0
SUPERTREND_BARS = 100
"""Bars over which the supertrend is followed. On real 1m and 1h bars that gives the endless one at every bar; 60 does not."""
SUPERTREND_LOOKBACK = SUPERTREND_BARS + memory(1 - 1 / SUPERTREND_PERIOD)
HVOL_WINDOW = 60
"""Three times the window of `std`, so that the two differ on the rungs that have both."""
FAST_ATR, SLOW_ATR = 7, 28


def _atr_memory(period: int) -> int:
    return memory(1 - 1 / period)


def _atr(columns: Columns, period: int) -> FloatArray:
    """Wilder's average true range in price units; the first bar, which has no previous close, counts for itself alone."""
    ranges = true_range(columns["high"], columns["low"], columns["close"])
    ranges[1:] = decayed_mean(ranges[1:], _atr_memory(period), 1 - 1 / period)
    return ranges


def _typical(columns: Columns) -> FloatArray:
    return (columns["high"] + columns["low"] + columns["close"]) / 3


@feature("williams", "oscillators", ("high", "low", "close"), PERIOD)
def williams(columns: Columns) -> FloatArray:
    """Williams %R: -100 (highest - close) / (highest - lowest) of 14 bars; -100 to 0, -50 where the range is zero.

    Source: Williams (1979), "How I made one million dollars".
    """
    highest = rolling_max(columns["high"], PERIOD)
    span = highest + rolling_max(-columns["low"], PERIOD)
    return blank(-100.0 * ratio(highest - columns["close"], span, NEUTRAL / 100.0), PERIOD - 1)


@compiled
def mean_deviation(x: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Distance of each value from the mean of the last `window`, and the mean absolute deviation of those from that mean.

    NaN until the window is full. Taken from differences to the newest value: equal values give exactly zero.
    """
    lead, spread = np.full(x.size, np.nan), np.full(x.size, np.nan)
    for first in range(window - 1, x.size, LANES):
        now, mean, total = x[first : first + LANES], lead[first : first + LANES], spread[first : first + LANES]
        mean[:] = 0.0
        total[:] = 0.0
        for k in range(window):
            past = x[first - k : first - k + LANES]
            for i in range(now.size):
                mean[i] += now[i] - past[i]
        for i in range(now.size):
            mean[i] /= window
        for k in range(window):
            past = x[first - k : first - k + LANES]
            for i in range(now.size):
                total[i] += abs(past[i] - now[i] + mean[i])
        for i in range(now.size):
            total[i] /= window
    return lead, spread


@feature("cci", "oscillators", ("high", "low", "close"), CCI_PERIOD)
def cci(columns: Columns) -> FloatArray:
    """Commodity channel index: (typical price - its mean of 20 bars) / (0.015 x mean absolute deviation); 0 when flat.

    The typical price is (high + low + close) / 3. Source: Lambert (1980), Commodities 10.
    """
    lead, spread = mean_deviation(_typical(columns), CCI_PERIOD)
    return ratio(lead, CCI_SCALE * spread, 0.0)


@feature("mfi", "oscillators", ("high", "low", "close", "volume"), PERIOD + 1, needs_volume=True)
def mfi(columns: Columns) -> FloatArray:
    """Money flow index: share of 14 bars' typical price x volume that came with a rise of the typical price, 0 to 100.

    Bars whose typical price did not change do not count; 50 where no other was traded.
    Source: Quong & Soudack (1989), "Volume-weighted RSI: money flow", Stocks & Commodities 7.
    """
    typical = _typical(columns)
    signed = np.sign(change(typical)) * (typical * columns["volume"])
    rising = decayed_sum(np.maximum(signed, 0.0), PERIOD, 1.0)
    falling = decayed_sum(np.maximum(-signed, 0.0), PERIOD, 1.0)
    return blank(100.0 * ratio(rising, rising + falling, NEUTRAL / 100.0), PERIOD)


@feature("roc", "oscillators", ("close",), ROC_BARS + 1)
def roc(columns: Columns) -> FloatArray:
    """Rate of change: 100 (close / close 10 bars ago - 1), in per cent."""
    close = columns["close"]
    out = np.full(close.size, np.nan)
    out[ROC_BARS:] = 100.0 * (close[ROC_BARS:] / close[:-ROC_BARS] - 1.0)
    return out


@feature("kc_position", "oscillators", ("high", "low", "close"), memory(KELTNER_DECAY) + 1)
def kc_position(columns: Columns) -> FloatArray:
    """Place of the close in the Keltner channel, EMA(20) -+ 2 ATR(10): 0 lower band, 1 upper, 0.5 middle and no range.

    Valid from bar 20. Source: Keltner (1960), "How to make money in commodities", with Raschke's true range.
    """
    moves = change(columns["close"])
    above = KELTNER_DECAY * decayed_sum(moves, memory(KELTNER_DECAY), KELTNER_DECAY)  # close less its EMA
    width = 2 * KELTNER_WIDTH * _atr(columns, KELTNER_ATR)
    return blank(0.5 + ratio(above, width, 0.0), KELTNER_VALID - 1)


@compiled
def follow_trend(middle: FloatArray, reach: FloatArray, close: FloatArray, bars: int) -> FloatArray:
    """Supertrend followed afresh over the `bars` newest bars of each: direction (row 0) and line (row 1), (2, n).

    The upper band, `middle + reach`, only falls until a close is above it; the lower band only rises until a close is
    below it. The direction turns where a close crosses the band that it is on the far side of, and starts as up (1)
    where the close is not below the middle. NaN until `bars` bars are there. Windows are worked on side by side: a bar
    has to wait for the one before it, windows do not wait for each other.
    """
    out = np.full((2, middle.size), np.nan)
    for first in range(bars - 1, middle.size, LANES):
        start = first - bars + 1
        lanes = min(LANES, middle.size - first)
        upper, lower = np.empty(lanes), np.empty(lanes)
        up = np.empty(lanes)
        for i in range(lanes):
            upper[i] = middle[start + i] + reach[start + i]
            lower[i] = middle[start + i] - reach[start + i]
            up[i] = 1.0 if close[start + i] >= middle[start + i] else -1.0
        for bar in range(start + 1, first + 1):
            _step(middle[bar:], reach[bar:], close[bar:], close[bar - 1 :], upper, lower, up)
        for i in range(lanes):
            out[0, first + i] = up[i]
            out[1, first + i] = lower[i] if up[i] > 0.0 else upper[i]
    return out


@compiled
def _step(
    middle: FloatArray,
    reach: FloatArray,
    close: FloatArray,
    before: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    up: FloatArray,
) -> None:
    """Move the bands and direction of every window on by one bar, in place; without branches, for vector instructions."""
    for i in range(up.size):
        top, bottom = middle[i] + reach[i], middle[i] - reach[i]
        top = top if before[i] > upper[i] else min(top, upper[i])
        bottom = bottom if before[i] < lower[i] else max(bottom, lower[i])
        risen = 1.0 if close[i] > top else -1.0
        fallen = -1.0 if close[i] < bottom else 1.0
        upper[i], lower[i], up[i] = top, bottom, fallen if up[i] > 0.0 else risen


SUPERTREND = {
    "supertrend": "Supertrend, 10 bars and 3 ATR, followed over 100 bars: 1 above its line, -1 below (Seban 2008).",
    "supertrend_distance": "Close less the supertrend's line, as a share of the close: how far the trend is from turning.",
}


@features(SUPERTREND, "oscillators", ("high", "low", "close"), SUPERTREND_LOOKBACK)
def supertrend(columns: Columns) -> FloatArray:
    """Direction of the supertrend and distance of the close from its line, (2, n); 0 away in a still market.

    The usual recursion remembers for ever; this one starts 100 bars ago. They differ only where the trend neither
    turned nor moved its band for that long. NaN until the whole lookback is there. Source: Seban (2008).
    """
    middle = (columns["high"] + columns["low"]) / 2
    reach = SUPERTREND_WIDTH * _atr(columns, SUPERTREND_PERIOD)
    out = follow_trend(middle, reach, columns["close"], SUPERTREND_BARS)
    out[1] = (columns["close"] - out[1]) / columns["close"]
    out[:, : SUPERTREND_LOOKBACK - 1] = np.nan
    return out


@feature("hvol", "oscillators", ("close",), HVOL_WINDOW + 1)
def hvol(columns: Columns) -> FloatArray:
    """Close-to-close historical volatility: sample standard deviation of 60 log returns, per bar, not annualised."""
    close = columns["close"]
    returns = np.zeros(close.size)
    returns[1:] = np.log(close[1:] / close[:-1])
    _, square = rolling_spread(returns, HVOL_WINDOW)
    return blank(np.sqrt(square / (HVOL_WINDOW - 1)), HVOL_WINDOW)


@feature("atr_ratio", "oscillators", ("high", "low", "close"), _atr_memory(SLOW_ATR) + 1)
def atr_ratio(columns: Columns) -> FloatArray:
    """Wilder's average true range over 7 bars by that over 28: above 1 when ranges widen, 1 when still. Valid from bar 29."""
    return blank(ratio(_atr(columns, FAST_ATR), _atr(columns, SLOW_ATR), 1.0), SLOW_ATR)
