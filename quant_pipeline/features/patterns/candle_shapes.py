"""Shapes of candles: what the 22 candlestick patterns of `candlestick` ask of one to three bars, bullish side only.

A shape is a function from the measures of the bars to a confidence at each: 0 where it is not found. Confidence is the mean
of marks, each 0 at the edge of what is allowed and 1 at the ideal: the proportions of the shape, the size of the bars against
those around them, the steepness of the trend where one is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.features.kernels import FloatArray, ratio, rolling_max, rolling_mean

Flags = npt.NDArray[np.bool_]

TREND_BARS = 20
BODY_BARS = 10
"""Bars before a bar that say which body is large: TA-Lib's default."""
SHAPE_BARS = TREND_BARS + 3
"""Bars that decide a detection: two of the pattern, and the 21 closes of the slope before them."""
STEEP = 5.0
"""Mean ranges by which the close moves over 20 bars in an ideal trend; a random walk moves about three."""
DOJI_BODY = 0.1
"""A body smaller than this share of the range is that of a doji; a smaller shadow is negligible."""
SMALL_SHADOW = 0.25
"""Share of the range up to which a soldier's shadow is small: a quarter."""
THIRD = 1.0 / 3.0
MARUBOZU_BODY = 0.95
REGAINED = 0.5
"""Share of the first body that the third bar of a star must take back, at least."""
MATCHING = 0.05
"""Share of the mean range by which matching highs may differ: TA-Lib's `Equal`."""
TWEEZER_BARS = 5
"""Bars before a tweezer that it must overtop, else its highs are no top."""


class Candles(NamedTuple):
    """Measures of (n,) bars; upside down (`turned`), every bullish shape becomes its bearish twin.

    Attributes:
        open: price; so are `high`, `low` and `close`.
        high: see `open`.
        low: see `open`.
        close: see `open`.
        span: high less low; `size` its ratio to the mean of the 20 bars before.
        body: share of the span, 0 to 1; so are the shadows `upper` and `lower`. NaN without span.
        upper: see `body`.
        lower: see `body`.
        colour: +1 bullish, -1 bearish, 0 where the close is the open.
        length: the body in price units; `large` its ratio to the mean of the 10 bars before.
        tolerance: price units within which two prices match.
        trend: slope of the 20-bar SMA, 1 for `STEEP` upwards; `size`, `large` and `tolerance` compare with earlier bars only.
    """

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    span: FloatArray
    size: FloatArray
    body: FloatArray
    upper: FloatArray
    lower: FloatArray
    colour: FloatArray
    length: FloatArray
    large: FloatArray
    tolerance: FloatArray
    trend: FloatArray


def _past(values: FloatArray, bars: int) -> FloatArray:
    """Each bar's value of `bars` bars before; NaN where there is none."""
    out = np.full(values.size, np.nan)
    out[bars:] = values[: max(0, values.size - bars)]
    return out


def measured(o: FloatArray, h: FloatArray, l: FloatArray, c: FloatArray) -> Candles:
    """The measures of (n,) opens, highs, lows and closes; NaN where earlier bars are wanted and there are none."""
    span, length = h - l, np.abs(c - o)
    usual = _past(rolling_mean(span, TREND_BARS), 1)
    body, upper, lower = (ratio(part, span, np.nan) for part in (length, h - np.maximum(o, c), np.minimum(o, c) - l))
    size = ratio(span, usual, np.nan)
    large = ratio(length, _past(rolling_mean(length, BODY_BARS), 1), np.nan)
    trend = ratio(c - _past(c, TREND_BARS), STEEP * rolling_mean(span, TREND_BARS), 0.0)
    return Candles(o, h, l, c, span, size, body, upper, lower, np.sign(c - o), length, large, MATCHING * usual, trend)


def turned(k: Candles) -> Candles:
    """The candles upside down."""
    return k._replace(
        open=-k.open, high=-k.low, low=-k.high, close=-k.close, upper=k.lower, lower=k.upper, colour=-k.colour, trend=-k.trend
    )


def _mark(value: FloatArray, edge: float, ideal: float) -> FloatArray:
    """0 at the edge of what is allowed, 1 at the ideal and beyond it."""
    return np.clip((value - edge) / (ideal - edge), 0.0, 1.0)


def _confidence(found: Flags, *marks: FloatArray) -> FloatArray:
    """Mean of the marks where the shape is found, never quite zero there; 0 elsewhere."""
    mean = sum(marks[1:], start=marks[0]) / len(marks)
    return np.where(found, np.maximum(np.nan_to_num(mean), 0.01), 0.0)


def doji(k: Candles) -> FloatArray:
    """Open and close a tenth of the range apart, or less."""
    return _confidence(k.body < DOJI_BODY, _mark(k.body, DOJI_BODY, 0.0), _mark(k.size, 0.0, 1.0))


def long_legged_doji(k: Candles) -> FloatArray:
    """A doji with both shadows longer than twice its body."""
    shorter = np.minimum(k.upper, k.lower)
    found = (k.body < DOJI_BODY) & (shorter > 2 * k.body)
    return _confidence(found, _mark(shorter, 0.0, 0.45), _mark(k.body, DOJI_BODY, 0.0), _mark(k.size, 0.0, 1.5))


def dragonfly_doji(k: Candles) -> FloatArray:
    """A doji with all of its range below the body."""
    found = (k.body < DOJI_BODY) & (k.lower > 3 * k.body) & (k.upper < DOJI_BODY)
    return _confidence(found, _mark(k.upper, DOJI_BODY, 0.0), _mark(k.body, DOJI_BODY, 0.0), _mark(k.size, 0.0, 1.0))


def hammer(k: Candles) -> FloatArray:
    """A body in the top third, in a downtrend: it leaves a lower shadow of two thirds of the range: twice any such body."""
    before = _past(k.trend, 1)
    found = (k.lower >= 2 * THIRD) & (before < 0.0)
    return _confidence(found, _mark(k.upper, THIRD, 0.0), _mark(before, 0.0, -1.0), _mark(k.size, 0.0, 1.5))


def inverted_hammer(k: Candles) -> FloatArray:
    """The hammer's shape with its shadow above, still in a downtrend."""
    before = _past(k.trend, 1)
    found = (k.upper >= 2 * THIRD) & (before < 0.0)
    return _confidence(found, _mark(k.lower, THIRD, 0.0), _mark(before, 0.0, -1.0), _mark(k.size, 0.0, 1.5))


def engulfing(k: Candles) -> FloatArray:
    """As `CDLENGULFING`: one end of the two bodies may be equal, as it is where each bar opens at the last close."""
    opened, closed, length = _past(k.open, 1), _past(k.close, 1), _past(k.length, 1)
    around = (k.open <= closed) & (k.close >= opened) & (k.length > length)
    found = around & (k.colour > 0) & (_past(k.colour, 1) < 0)
    return _confidence(found, _mark(ratio(k.length, length, np.nan), 1.0, 2.0), _mark(_past(k.large, 1), 0.0, 1.0))


def harami(k: Candles) -> FloatArray:
    """As `CDLHARAMI`, where the second body has the other colour."""
    opened, closed, large = _past(k.open, 1), _past(k.close, 1), _past(k.large, 1)
    inside = (k.close <= opened) & (k.open >= closed) & (large > 1.0) & (k.large <= 1.0)
    found = inside & (k.colour > 0) & (_past(k.colour, 1) < 0)
    return _confidence(found, _mark(ratio(k.length, _past(k.length, 1), 1.0), 1.0, 0.25), _mark(large, 1.0, 2.0))


def star(k: Candles) -> FloatArray:
    """As `CDLMORNINGSTAR` without its gaps: the third bar closes above the middle of the first body."""
    first, second = _past(k.large, 2), _past(k.large, 1)
    regained = ratio(k.close - _past(k.close, 2), _past(k.length, 2), 0.0)
    sizes = (first > 1.0) & (second <= 1.0) & (k.large > 1.0)
    found = sizes & (_past(k.colour, 2) < 0) & (k.colour > 0) & (regained > REGAINED)
    return _confidence(found, _mark(regained, REGAINED, 1.0), _mark(second, 1.0, 0.0), _mark(first, 1.0, 2.0))


def soldiers(k: Candles) -> FloatArray:
    """Three bullish bars, each closing higher and near its high; ideally all three large."""
    rising = (k.close > _past(k.close, 1)) & (_past(k.close, 1) > _past(k.close, 2))
    bullish = (k.colour > 0) & (_past(k.colour, 1) > 0) & (_past(k.colour, 2) > 0)
    shadow = np.maximum(k.upper, np.maximum(_past(k.upper, 1), _past(k.upper, 2)))
    smallest = np.minimum(k.large, np.minimum(_past(k.large, 1), _past(k.large, 2)))
    return _confidence(rising & bullish & (shadow < SMALL_SHADOW), _mark(shadow, SMALL_SHADOW, 0.0), _mark(smallest, 0.0, 1.5))


def marubozu(k: Candles) -> FloatArray:
    """Nearly all of the range is body."""
    found = (k.body > MARUBOZU_BODY) & (k.colour > 0)
    return _confidence(found, _mark(k.body, MARUBOZU_BODY, 1.0), _mark(k.size, 0.0, 1.5))


def pin_bar(k: Candles) -> FloatArray:
    """One shadow of two thirds of the range, which leaves the body in the third at the other end."""
    longer = np.maximum(k.upper, k.lower)
    return _confidence(longer >= 2 * THIRD, _mark(longer, 2 * THIRD, 0.85), _mark(k.size, 0.0, 2.0))


def spinning_top(k: Candles) -> FloatArray:
    """As `CDLSPINNINGTOP`, on the bar's own range: a shadow is one when it is longer than the body; ideal is a fifth of body."""
    shorter, longer = np.minimum(k.upper, k.lower), np.maximum(k.upper, k.lower)
    found = (k.body < THIRD) & (shorter > k.body)
    return _confidence(found, 1.0 - _mark(np.abs(k.body - 0.2), 0.0, 0.2), ratio(shorter, longer, 0.0), _mark(k.size, 0.0, 1.0))


def tweezer_bottom(k: Candles) -> FloatArray:
    """The second of two matching lows that undercut the bars before; ideally a bearish bar, then a bullish one."""
    gap, before = np.abs(k.low - _past(k.low, 1)), _past(k.trend, 2)
    lowest = _past(rolling_max(-k.low, TWEEZER_BARS), 2)
    found = (gap <= k.tolerance) & (before < 0.0) & (np.minimum(k.low, _past(k.low, 1)) < -lowest) & (k.span > 0)
    turn = 0.5 * (k.colour > 0) + 0.5 * (_past(k.colour, 1) < 0)
    return _confidence(found, 1.0 - ratio(gap, k.tolerance, 0.0), _mark(before, 0.0, -1.0), turn)
