"""The one causal zigzag: swing highs and lows, each emitted at the bar that confirms it and never changed afterwards.

A swing is confirmed by a close that is `threshold` away from the extreme, so it is known some bars after the extreme
itself; whoever reads `Pivots` at bar t may use only those with `known <= t`.

State machines have no finite memory. `BLOCK_BARS`, `REACH` and `LOOKBACK` say how it is made finite: the bars are cut
into blocks of wall time (column `anchor`), and what a pattern says in block b is computed afresh from the first bar of
block b - REACH (`events.run_blocks`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.features.kernels import FloatArray, rolling_mean, true_range
from quant_pipeline.jit import compiled

Ints = npt.NDArray[np.int64]

BLOCK_BARS = 128
"""Bars of a block where none is missing."""
REACH = 5
"""Whole blocks before its own that decide what a pattern says: 640 bars or more hold all but the longest shapes."""
LOOKBACK = (REACH + 2) * BLOCK_BARS
"""Bars that decide a value: at most (REACH + 1) blocks, and one more for the averages that start before them."""
ATR_BARS = 64
"""Bars of the average true range: more than two days of hours, so that the time of day does not move the threshold."""
HIGH, LOW = 1, -1


class Pivots(NamedTuple):
    """Confirmed swings, oldest first; highs and lows alternate, `bar` and `known` both increase strictly.

    Attributes:
        bar: (m,) row of the extreme.
        known: (m,) row of the bar whose close confirmed it, `known >= bar`.
        price: (m,) the extreme: the bar's high or low.
        kind: (m,) +1 for a high, -1 for a low.
    """

    bar: Ints
    known: Ints
    price: FloatArray
    kind: Ints


@compiled
def zigzag(high: FloatArray, low: FloatArray, close: FloatArray, threshold: FloatArray) -> Pivots:
    """Swings of a series, each emitted at the first bar whose close is `threshold` away from the running extreme.

    The leg that follows a swing starts on the bar after its extreme. Until the first swing both a high and a low are
    awaited; the one left further behind comes first. Of equal extremes the earliest counts. A close at the extreme
    itself confirms nothing, so a flat series has no swings even where the threshold is zero.

    Args:
        high: (n,) prices; so are `low` and `close`.
        low: see `high`.
        close: see `high`.
        threshold: (n,) distance in price units, read at the confirming bar (`atr_threshold`, `percent_threshold`).

    Returns:
        Those known by the last bar. The swings known by any bar t are the same from the bars up to t alone.

    Example:
        >>> zigzag(x, x, x, np.full(6, 2.0)) for x = 5 7 9 8 6 7 gives two swings: the low 5.0 of bar 0,
        known at 1, and the high 9.0 of bar 2, known at 4
    """
    n = close.size
    bar, known, price, kind = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64)
    count, leg = 0, 0  # leg: +1 while a high is awaited, -1 while a low is, 0 before the first swing
    top, bottom = -1, -1  # rows of the running extremes
    for i in range(n):
        if top < 0 or high[i] > high[top]:
            top = i
        if bottom < 0 or low[i] < low[bottom]:
            bottom = i
        fall, rise = high[top] - close[i], close[i] - low[bottom]
        down = leg >= 0 and fall >= threshold[i] and fall > 0.0
        up = leg <= 0 and rise >= threshold[i] and rise > 0.0
        if not (down or up):
            continue
        leg = LOW if down and (not up or fall >= rise) else HIGH
        at = top if leg == LOW else bottom
        bar[count], known[count], price[count], kind[count] = at, i, high[at] if leg == LOW else low[at], -leg
        count += 1
        top, bottom = _extremes(high, low, at + 1, i + 1)
    return Pivots(bar[:count], known[:count], price[:count], kind[:count])


@compiled
def _extremes(high: FloatArray, low: FloatArray, first: int, end: int) -> tuple[int, int]:
    """Rows of the earliest highest high and lowest low of rows `first` to `end - 1`; -1 for no rows."""
    top, bottom = -1, -1
    for i in range(first, end):
        if top < 0 or high[i] > high[top]:
            top = i
        if bottom < 0 or low[i] < low[bottom]:
            bottom = i
    return top, bottom


@compiled
def average_range(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Mean true range of the last `ATR_BARS` bars, in price units: the ruler of every pattern."""
    return rolling_mean(true_range(high, low, close), ATR_BARS)


def atr_threshold(high: FloatArray, low: FloatArray, close: FloatArray, multiple: float = 2.0) -> FloatArray:
    """(n,) threshold for `zigzag`: `multiple` of the mean true range, so that it follows the market's volatility."""
    return multiple * average_range(high, low, close)


def percent_threshold(close: FloatArray, percent: float) -> FloatArray:
    """(n,) threshold for `zigzag`: `percent` of the close, the same for calm and wild markets."""
    return percent / 100.0 * close
