"""Per-bar channels of document 000 for models that read windows of bars: 47 of price and indicators, 3 of volume.

Its table (section 1.2) calls the total "~47" and its network takes 47, but the rows add up to 45. We fill the two places
with the levels that its row "Pivot Points" stops short of, the second support and the second resistance: 47 exactly.
The volume branch (section 1.3) has 3 more. Six of the 47 need volume; a symbol without it keeps 41.

Every channel is made on the 1h and the 15m rung and given the rolling z-score. A price is told relative to the close of
its own bar (`price / close - 1`), so that no channel carries the price level; the close itself is scored against the
closes of the z-score's window. Where the table names one thing twice (SMA(20) and the middle band), both stay, for the
network counts on them. What repaints, or grows without end, is told as it was known: chikou is a close of the past,
the cloud is the part plotted over today, SAR starts afresh some bars ago, OBV and A/D are sums over a window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from quant_pipeline.features import momentum, oscillators, returns, statistics, volatility, volume
from quant_pipeline.features.channels_kernels import previous_session, trailing_sar
from quant_pipeline.features.kernels import (
    FloatArray,
    blank,
    change,
    decayed_sum,
    memory,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_spread,
    session_average,
)
from quant_pipeline.features.registry import Columns, Function, feature, features

RUNGS = ("1h", "15m")
MACD_SIGNAL = 9
MACD_BARS = memory(1 - 2 / (momentum.MACD_SLOW + 1)) + 1
SIGNAL_BARS = MACD_BARS + memory(1 - 2 / (MACD_SIGNAL + 1))
STOCH_BARS = momentum.STOCH_PERIOD + momentum.STOCH_SMOOTHING - 1
SAR_WINDOW = 256
"""Bars that parabolic SAR runs over: on hourly bars of 4 markets all its values are then those of the run from the first bar."""
TENKAN, KIJUN, SENKOU_B = 9, 26, 52
DISPLACEMENT = 26
"""Bars that Ichimoku's cloud is plotted ahead and its chikou line behind."""
FIBONACCI_WINDOW = 100
FIBONACCI = {"0": 0.0, "236": 0.236, "382": 0.382, "500": 0.5, "618": 0.618}
RANGE_WINDOW = 20
FLOW_WINDOW = 20
DISTRIBUTION_WINDOW = 100
"""Bars of the A/D line: the sum that CMF(20) takes too, over a longer window, else both would be one channel."""
OHLC = ("open", "high", "low", "close")

Register = Callable[[Function], Function]


def _channel(name: str, inputs: tuple[str, ...], bars: int | Callable[[str], int], *, needs_volume: bool = False) -> Register:
    return feature(name, "channels", inputs, bars, rungs=RUNGS, zscore=True, needs_volume=needs_volume)


def _channels(meanings: Mapping[str, str], inputs: tuple[str, ...], bars: int | Callable[[str], int]) -> Register:
    return features(meanings, "channels", inputs, bars, rungs=RUNGS, zscore=True)


def _from_close(price: FloatArray, columns: Columns) -> FloatArray:
    """How far `price` is above the close of its bar, as a share of that close."""
    return price / columns["close"] - 1.0


def _lagged(values: FloatArray, bars: int) -> FloatArray:
    """`values` as they were `bars` bars ago; NaN before."""
    out = np.full(values.size, np.nan)
    out[bars:] = values[:-bars]
    return out


@_channels(
    {
        "ch_open": "Open over the close, less one.",
        "ch_high": "High over the close, less one.",
        "ch_low": "Low over the close, less one.",
        "ch_close": "The close itself, scored against the closes of the z-score's window.",
    },
    OHLC,
    1,
)
def prices(columns: Columns) -> FloatArray:
    """Open, high and low over the close, less one, and the close, which only the z-score frees of the price level."""
    return np.stack([*(_from_close(columns[name], columns) for name in OHLC[:3]), columns["close"]])


_channel("ch_volume", ("volume",), volume.VOLUME_WINDOW, needs_volume=True)(volume.volume_ratio)
_channel("ch_return", ("close",), 2)(returns.last_return)


@_channel("ch_acceleration", ("close",), 3)
def acceleration(columns: Columns) -> FloatArray:
    """Change of the simple return: the second derivative of the price."""
    return blank(change(returns.last_return(columns)), 2)


def _average(columns: Columns, bars: int) -> FloatArray:
    mean, _ = rolling_spread(columns["close"], bars)  # its mean of equal closes is that close, exactly
    return blank(_from_close(mean, columns), bars - 1)


@_channel("ch_sma_20", ("close",), 20)
def sma_20(columns: Columns) -> FloatArray:
    """Mean of 20 closes over the close, less one."""
    return _average(columns, 20)


@_channel("ch_sma_50", ("close",), 50)
def sma_50(columns: Columns) -> FloatArray:
    """Mean of 50 closes over the close, less one."""
    return _average(columns, 50)


def _exponential(columns: Columns, span: int) -> FloatArray:
    return blank(-momentum.ema_lag(change(columns["close"]), span) / columns["close"], span - 1)


@_channel("ch_ema_12", ("close",), memory(1 - 2 / (momentum.MACD_FAST + 1)) + 1)
def ema_12(columns: Columns) -> FloatArray:
    """EMA(12) of the close over the close, less one."""
    return _exponential(columns, momentum.MACD_FAST)


@_channel("ch_ema_26", ("close",), MACD_BARS)
def ema_26(columns: Columns) -> FloatArray:
    """EMA(26) of the close over the close, less one."""
    return _exponential(columns, momentum.MACD_SLOW)


_channel("ch_rsi_14", ("close",), momentum.WILDER_MEMORY + 1)(momentum.rsi)
_channel("ch_macd", ("close",), MACD_BARS)(momentum.macd)


@_channels(
    {
        "ch_macd_signal": "Signal line, EMA(9) of MACD(12, 26), as a share of the close.",
        "ch_macd_hist": "MACD(12, 26) less its signal line EMA(9), as a share of the close.",
    },
    ("close",),
    SIGNAL_BARS,
)
def macd_signal(columns: Columns) -> FloatArray:
    """Signal line and histogram of MACD(12, 26, 9) (Appel), as shares of the close. Valid from bar 34, as TA-Lib's."""
    close, start = columns["close"], momentum.MACD_SLOW - 1
    out = np.full((2, close.size), np.nan)
    line = momentum.macd(columns)[start:] * close[start:]
    out[1, start:] = momentum.ema_lag(change(line), MACD_SIGNAL)
    out[0, start:] = line - out[1, start:]
    out[:, : start + MACD_SIGNAL - 1] = np.nan
    return out / close


@_channels(
    {
        "ch_bb_upper": "Upper Bollinger band (20 closes, 2 deviations) over the close, less one.",
        "ch_bb_middle": "Middle Bollinger band over the close, less one: the SMA(20) again.",
        "ch_bb_lower": "Lower Bollinger band (20 closes, 2 deviations) over the close, less one.",
    },
    ("close",),
    volatility.BOLLINGER_WINDOW,
)
def bollinger(columns: Columns) -> FloatArray:
    """Bollinger bands of 20 closes and 2 population standard deviations, over the close, less one."""
    mean, square = rolling_spread(columns["close"], volatility.BOLLINGER_WINDOW)
    half = volatility.BOLLINGER_WIDTH * np.sqrt(square / volatility.BOLLINGER_WINDOW)
    bands = np.stack([_from_close(mean + side * half, columns) for side in (1, 0, -1)])
    bands[:, : volatility.BOLLINGER_WINDOW - 1] = np.nan
    return bands


_channel("ch_atr_14", ("high", "low", "close"), momentum.WILDER_MEMORY + 1)(volatility.atr)
_channel("ch_stoch_k", ("high", "low", "close"), STOCH_BARS)(momentum.stoch)


@_channel("ch_stoch_d", ("high", "low", "close"), STOCH_BARS + momentum.STOCH_SMOOTHING - 1)
def stoch_d(columns: Columns) -> FloatArray:
    """Slow %D: mean of 3 values of slow %K, 0 to 100, 50 where the range is zero."""
    out = momentum.stoch(columns)
    out[STOCH_BARS - 1 :] = rolling_mean(out[STOCH_BARS - 1 :], momentum.STOCH_SMOOTHING)
    return blank(out, STOCH_BARS + momentum.STOCH_SMOOTHING - 2)


@_channel("ch_psar", ("high", "low", "close"), SAR_WINDOW)
def psar(columns: Columns) -> FloatArray:
    """Wilder's (1978) parabolic SAR (0.02, 0.2), run over the last 256 bars, over the close, less one."""
    return _from_close(trailing_sar(columns["high"], columns["low"], SAR_WINDOW), columns)


def _lowest(columns: Columns, bars: int) -> FloatArray:
    return -rolling_max(-columns["low"], bars)


def _middle(columns: Columns, bars: int) -> FloatArray:
    """Middle between the highest high and the lowest low of `bars` bars, NaN until there are as many."""
    return blank((rolling_max(columns["high"], bars) + _lowest(columns, bars)) / 2, bars - 1)


@_channel("ch_tenkan", ("high", "low", "close"), TENKAN)
def tenkan(columns: Columns) -> FloatArray:
    """Ichimoku's conversion line, middle of the range of 9 bars, over the close, less one."""
    return _from_close(_middle(columns, TENKAN), columns)


@_channel("ch_kijun", ("high", "low", "close"), KIJUN)
def kijun(columns: Columns) -> FloatArray:
    """Ichimoku's base line, middle of the range of 26 bars, over the close, less one."""
    return _from_close(_middle(columns, KIJUN), columns)


@_channel("ch_senkou_a", ("high", "low", "close"), KIJUN + DISPLACEMENT)
def senkou_a(columns: Columns) -> FloatArray:
    """Ichimoku's leading span A as plotted over this bar, (tenkan + kijun) / 2 of 26 bars ago, over the close, less one."""
    return _from_close(_lagged((_middle(columns, TENKAN) + _middle(columns, KIJUN)) / 2, DISPLACEMENT), columns)


@_channel("ch_senkou_b", ("high", "low", "close"), SENKOU_B + DISPLACEMENT)
def senkou_b(columns: Columns) -> FloatArray:
    """Ichimoku's leading span B as plotted over this bar, middle of 52 bars as of 26 bars ago, over the close, less one."""
    return _from_close(_lagged(_middle(columns, SENKOU_B), DISPLACEMENT), columns)


@_channel("ch_chikou", ("close",), DISPLACEMENT + 1)
def chikou(columns: Columns) -> FloatArray:
    """Ichimoku's lagging line read causally: the close 26 bars ago over the close, less one.

    The line as it is plotted (the close drawn 26 bars back) would tell a bar what came 26 bars later.
    """
    return _from_close(_lagged(columns["close"], DISPLACEMENT), columns)


_channel("ch_obv", ("close", "volume"), volume.VOLUME_WINDOW + 1, needs_volume=True)(volume.obv)


@_channel("ch_vwap", ("high", "low", "close", "volume", "session_open"), volume.session_bars, needs_volume=True)
def vwap(columns: Columns) -> FloatArray:
    """Volume-weighted average of the typical price of the session so far, over the close, less one."""
    return _from_close(session_average(_typical(columns), columns["volume"], columns["session_open"]), columns)


def _typical(columns: Columns) -> FloatArray:
    return (columns["high"] + columns["low"] + columns["close"]) / 3


def _flow(columns: Columns, bars: int) -> FloatArray:
    """Sum of volume times the place of the close in its bar's range (-1 low, 1 high), as a share of the volume."""
    high, low, close = (columns[name] for name in OHLC[1:])
    signed = ratio((close - low) - (high - close), high - low, 0.0) * columns["volume"]
    total = decayed_sum(columns["volume"], bars, 1.0)
    return blank(ratio(decayed_sum(signed, bars, 1.0), total, 0.0), bars - 1)


@_channel("ch_ad", ("high", "low", "close", "volume"), DISTRIBUTION_WINDOW, needs_volume=True)
def accumulation(columns: Columns) -> FloatArray:
    """Chaikin's accumulation/distribution of 100 bars as a share of their volume: -1 to 1, 0 without range or volume."""
    return _flow(columns, DISTRIBUTION_WINDOW)


@_channel("ch_cmf_20", ("high", "low", "close", "volume"), FLOW_WINDOW, needs_volume=True)
def cmf_20(columns: Columns) -> FloatArray:
    """Chaikin money flow of 20 bars: -1 (closes at the lows) to 1 (at the highs), 0 without range or volume."""
    return _flow(columns, FLOW_WINDOW)


_channel("ch_mfi_14", ("high", "low", "close", "volume"), oscillators.PERIOD + 1, needs_volume=True)(oscillators.mfi)


@_channels(
    {
        f"ch_fib_{name}": f"Level {100 * share:g} % down from the high of 100 bars to their low, over the close, less one."
        for name, share in FIBONACCI.items()
    },
    ("high", "low", "close"),
    FIBONACCI_WINDOW,
)
def fibonacci(columns: Columns) -> FloatArray:
    """Fibonacci retracements from the highest high of 100 bars (0 %) towards their lowest low, over the close, less one."""
    highest, lowest = rolling_max(columns["high"], FIBONACCI_WINDOW), _lowest(columns, FIBONACCI_WINDOW)
    levels = np.stack([_from_close(highest - share * (highest - lowest), columns) for share in FIBONACCI.values()])
    levels[:, : FIBONACCI_WINDOW - 1] = np.nan
    return levels


def _two_sessions(rung: str) -> int:
    return 2 * volume.session_bars(rung)


@_channels(
    {
        "ch_pivot": "Classic pivot (high + low + close) / 3 of the session before, over the close, less one.",
        "ch_support_1": "First support 2 pivot - high of the session before, over the close, less one.",
        "ch_resistance_1": "First resistance 2 pivot - low of the session before, over the close, less one.",
        "ch_support_2": "Second support pivot - (high - low) of the session before, over the close, less one.",
        "ch_resistance_2": "Second resistance pivot + (high - low) of the session before, over the close, less one.",
    },
    ("high", "low", "close", "session_open"),
    _two_sessions,
)
def pivots(columns: Columns) -> FloatArray:
    """Floor traders' pivot points of the session before, over the close, less one. NaN in the first session."""
    high, low, close = previous_session(*(columns[name] for name in ("high", "low", "close", "session_open")))
    pivot = (high + low + close) / 3
    levels = (pivot, 2 * pivot - high, 2 * pivot - low, pivot - (high - low), pivot + (high - low))
    return np.stack([_from_close(level, columns) for level in levels])


_channel("ch_volatility", ("close",), statistics.WINDOW + 1)(statistics.std)


@_channels(
    {
        "ch_rolling_high": "Highest high of 20 bars over the close, less one.",
        "ch_rolling_low": "Lowest low of 20 bars over the close, less one.",
    },
    ("high", "low", "close"),
    RANGE_WINDOW,
)
def rolling_range(columns: Columns) -> FloatArray:
    """Highest high and lowest low of 20 bars, over the close, less one."""
    ends = (rolling_max(columns["high"], RANGE_WINDOW), _lowest(columns, RANGE_WINDOW))
    out = np.stack([_from_close(end, columns) for end in ends])
    out[:, : RANGE_WINDOW - 1] = np.nan
    return out


@_channel("ch_breakout", ("high", "low", "close"), RANGE_WINDOW + 1)
def breakout(columns: Columns) -> FloatArray:
    """1 where the close is above every high of the 20 bars before it, -1 below every low, else 0."""
    highest, lowest = (_lagged(end, 1) for end in (rolling_max(columns["high"], RANGE_WINDOW), _lowest(columns, RANGE_WINDOW)))
    broken = (columns["close"] > highest).astype(float) - (columns["close"] < lowest)
    return blank(broken, RANGE_WINDOW)


@_channel("ch_log_return", ("close",), 2)
def log_return(columns: Columns) -> FloatArray:
    """Log return of the last bar."""
    return blank(change(np.log(columns["close"])), 1)


@_channel("ch_vol_level", ("volume",), 1, needs_volume=True)
def volume_level(columns: Columns) -> FloatArray:
    """Volume branch: the volume itself, scored against the volumes of the z-score's window."""
    return columns["volume"].copy()


def _volume_return(columns: Columns) -> FloatArray:
    now, before = columns["volume"], _lagged(columns["volume"], 1)
    return ratio(2.0 * (now - before), now + before, 0.0)


@_channel("ch_vol_return", ("volume",), 2, needs_volume=True)
def volume_return(columns: Columns) -> FloatArray:
    """Volume branch: change of the volume over the mean of both, -2 to 2 (a plain return has no value after zero)."""
    return _volume_return(columns)


@_channel("ch_vol_acceleration", ("volume",), 3, needs_volume=True)
def volume_acceleration(columns: Columns) -> FloatArray:
    """Volume branch: change of the volume's return, the second derivative of the volume."""
    return change(_volume_return(columns))
