"""The twelve technical indicators of document 001's context vector, by its own formulas, on the primary rung.

They differ from the families with the same names: RSI, ATR and ADX are simple averages, not Wilder's, +DM and -DM may
count at the same bar, and none is a z-score. What the document leaves in units of price or volume is divided by the
close, or by the volume of the same bars; its VWAP starts anew with each session; its EMAs forget what is older than
`memory`, as all of ours.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import (
    FloatArray,
    blank,
    change,
    decayed_mean,
    decayed_sum,
    memory,
    ratio,
    rolling_mean,
    true_range,
)
from quant_pipeline.features.momentum import MACD_FAST, MACD_SLOW, NEUTRAL, ema_lag
from quant_pipeline.features.registry import PRIMARY, Columns, feature
from quant_pipeline.features.returns import bb_position
from quant_pipeline.features.volatility import BOLLINGER_WINDOW
from quant_pipeline.features.volume import VOLUME_WINDOW, session_bars, volume_ratio, vwap_distance

PERIOD = 14
"""Bars of RSI, ATR and ADX."""
SIGNAL = 9
SIGNAL_DECAY = 1 - 2 / (SIGNAL + 1)
OBV_WINDOW = 10
EMA_FAST, EMA_SLOW = 9, 21


def _memory(span: int) -> int:
    """Bars that decide an EMA over `span` bars, or its distance from the close."""
    return memory(1 - 2 / (span + 1)) + 1


MACD_MEMORY = _memory(MACD_SLOW)
SIGNAL_MEMORY = MACD_MEMORY + memory(SIGNAL_DECAY) - 1


@feature("ta_rsi", "ta_vector", ("close",), PERIOD + 1, rungs=(PRIMARY,))
def ta_rsi(columns: Columns) -> FloatArray:
    """RSI of simple averages: 100 - 100 / (1 + gains / losses) over 14 bars; 50 when no close changed. Valid from bar 15."""
    moves = change(columns["close"])
    gains, losses = (decayed_sum(np.maximum(side, 0.0), PERIOD, 1.0) for side in (moves, -moves))
    return blank(100.0 * ratio(gains, gains + losses, NEUTRAL / 100.0), PERIOD)


def _macd(close: FloatArray) -> FloatArray:
    """EMA(12) less EMA(26) of the close, in price; exactly zero when no close changed."""
    moves = change(close)
    return ema_lag(moves, MACD_SLOW) - ema_lag(moves, MACD_FAST)


def _signal(line: FloatArray) -> FloatArray:
    """EMA(9) of the MACD line from bar 26 on; NaN before."""
    first = min(MACD_SLOW - 1, line.size)
    return np.concatenate((np.full(first, np.nan), decayed_mean(line[first:], memory(SIGNAL_DECAY), SIGNAL_DECAY)))


@feature("ta_macd", "ta_vector", ("close",), MACD_MEMORY, rungs=(PRIMARY,))
def ta_macd(columns: Columns) -> FloatArray:
    """MACD line: EMA(12) less EMA(26) of the close, as a share of the close. Valid from bar 26."""
    return blank(_macd(columns["close"]) / columns["close"], MACD_SLOW - 1)


@feature("ta_macd_signal", "ta_vector", ("close",), SIGNAL_MEMORY, rungs=(PRIMARY,))
def ta_macd_signal(columns: Columns) -> FloatArray:
    """MACD signal line: EMA(9) of the MACD line, as a share of the newest close. Valid from bar 34."""
    return blank(_signal(_macd(columns["close"])) / columns["close"], MACD_SLOW + SIGNAL - 2)


@feature("ta_macd_hist", "ta_vector", ("close",), SIGNAL_MEMORY, rungs=(PRIMARY,))
def ta_macd_hist(columns: Columns) -> FloatArray:
    """MACD histogram: MACD line less its signal line, as a share of the newest close. Valid from bar 34."""
    line = _macd(columns["close"])
    return blank((line - _signal(line)) / columns["close"], MACD_SLOW + SIGNAL - 2)


@feature("ta_bb_position", "ta_vector", ("close",), BOLLINGER_WINDOW, rungs=(PRIMARY,))
def ta_bb_position(columns: Columns) -> FloatArray:
    """(close - lower) / (upper - lower) of the Bollinger bands, 20 bars, 2 deviations; 0.5 where they meet. Not clipped."""
    return bb_position(columns)


@feature("ta_atr_normalized", "ta_vector", ("high", "low", "close"), PERIOD + 1, rungs=(PRIMARY,))
def ta_atr_normalized(columns: Columns) -> FloatArray:
    """Simple mean of the true range over 14 bars, divided by the close. Valid from bar 15."""
    ranges = true_range(columns["high"], columns["low"], columns["close"])
    return blank(rolling_mean(ranges, PERIOD) / columns["close"], PERIOD)


@feature("ta_adx", "ta_vector", ("high", "low"), 2 * PERIOD, rungs=(PRIMARY,))
def ta_adx(columns: Columns) -> FloatArray:
    """ADX of simple averages: mean of |+DI - -DI| / (+DI + -DI) over 14 bars, 0 to 100; 0 when nothing moved.

    The true range, the divisor of both directional indicators, cancels out of their ratio. Valid from bar 28.
    """
    moves = change(columns["high"]), -change(columns["low"])
    up, down = (decayed_sum(np.maximum(side, 0.0), PERIOD, 1.0) for side in moves)
    directed = 100.0 * ratio(np.abs(up - down), up + down, 0.0)
    return blank(rolling_mean(directed, PERIOD), 2 * PERIOD - 1)


@feature("ta_obv_trend", "ta_vector", ("close", "volume"), OBV_WINDOW + 1, rungs=(PRIMARY,), needs_volume=True)
def ta_obv_trend(columns: Columns) -> FloatArray:
    """OBV less that of 10 bars ago, as a share of the volume of those bars: -1 to 1, 0 without volume."""
    signed = np.sign(change(columns["close"])) * columns["volume"]
    total = decayed_sum(columns["volume"], OBV_WINDOW, 1.0)
    return blank(ratio(decayed_sum(signed, OBV_WINDOW, 1.0), total, 0.0), OBV_WINDOW)


@feature(
    "ta_vwap_distance",
    "ta_vector",
    ("high", "low", "close", "volume", "session_open"),
    session_bars,
    rungs=(PRIMARY,),
    needs_volume=True,
)
def ta_vwap_distance(columns: Columns) -> FloatArray:
    """(close - VWAP) / VWAP, the VWAP of typical prices since the session opened."""
    return vwap_distance(columns)


@feature("ta_ema_fast", "ta_vector", ("close",), _memory(EMA_FAST), rungs=(PRIMARY,))
def ta_ema_fast(columns: Columns) -> FloatArray:
    """EMA(9) of the close over the close, less one. Valid from bar 9."""
    return _ema_distance(columns["close"], EMA_FAST)


@feature("ta_ema_slow", "ta_vector", ("close",), _memory(EMA_SLOW), rungs=(PRIMARY,))
def ta_ema_slow(columns: Columns) -> FloatArray:
    """EMA(21) of the close over the close, less one. Valid from bar 21."""
    return _ema_distance(columns["close"], EMA_SLOW)


def _ema_distance(close: FloatArray, span: int) -> FloatArray:
    return blank(-ema_lag(change(close), span) / close, span - 1)


@feature("ta_volume_ratio", "ta_vector", ("volume",), VOLUME_WINDOW, rungs=(PRIMARY,), needs_volume=True)
def ta_volume_ratio(columns: Columns) -> FloatArray:
    """Volume over its mean of 20 bars; 1 where nothing was traded in any of them."""
    return volume_ratio(columns)
