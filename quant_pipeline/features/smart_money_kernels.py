"""Smart-money structure bar by bar: zones and the bar that touches them, fractal swings, breaks of the last one.

Everything is written down at the bar that makes it known, never at the bar where it lies. Nothing remembers more than
a fixed number of bars: an older zone, swing or break counts as if it had never been.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.features.kernels import FloatArray, rolling_max
from quant_pipeline.jit import compiled

Sides = npt.NDArray[np.int8]

FAR = 10.0
"""ATRs: the distance said where a zone is farther than that, or where there is none."""


class Zones(NamedTuple):
    """At most one zone per bar, each at the bar whose close makes it known; (n,) each.

    Attributes:
        side: 1 bullish (support, below the price), -1 bearish (resistance, above it), 0 no zone.
        bottom: lower edge, a price; NaN where there is no zone, as is `top`.
        top: upper edge.
    """

    side: Sides
    bottom: FloatArray
    top: FloatArray


@compiled
def gaps(high: FloatArray, low: FloatArray) -> Zones:
    """Fair value gaps: the first and third of three bars do not overlap. Known at the third."""
    n = high.size
    side, bottom, top = np.zeros(n, np.int8), np.full(n, np.nan), np.full(n, np.nan)
    for t in range(2, n):
        if low[t] > high[t - 2]:
            side[t], bottom[t], top[t] = 1, high[t - 2], low[t]
        elif high[t] < low[t - 2]:
            side[t], bottom[t], top[t] = -1, high[t], low[t - 2]
    return Zones(side, bottom, top)


@compiled
def order_blocks(o: FloatArray, h: FloatArray, l: FloatArray, c: FloatArray, displacement: FloatArray) -> Zones:
    """The last candle against a displacement, known at the candle that moves away.

    Bullish: a falling candle, then a close more than `displacement` above its high; the zone is its body and lower wick.
    Bearish: the mirror image. `displacement` (n,) is read at the candle that moves away.
    """
    n = c.size
    side, bottom, top = np.zeros(n, np.int8), np.full(n, np.nan), np.full(n, np.nan)
    for t in range(1, n):
        if c[t - 1] < o[t - 1] and c[t] > h[t - 1] + displacement[t]:
            side[t], bottom[t], top[t] = 1, l[t - 1], o[t - 1]
        elif c[t - 1] > o[t - 1] and c[t] < l[t - 1] - displacement[t]:
            side[t], bottom[t], top[t] = -1, o[t - 1], h[t - 1]
    return Zones(side, bottom, top)


@compiled
def swing_levels(price: FloatArray, before: int, after: int) -> FloatArray:
    """Fractal swing highs of `price`, (n,): the swing's price at the bar `after` bars later, where it is known; else NaN.

    A swing is above the `before` bars that come first and not below the `after` bars that follow: of equal ones the
    first counts, and a flat series has none. Swing lows are `-swing_levels(-low, ...)`.
    """
    out = np.full(price.size, np.nan)
    earlier = rolling_max(price, before)
    later = earlier if after == before else rolling_max(price, after)
    for t in range(before + after, price.size):
        swing = price[t - after]
        if swing > earlier[t - after - 1] and swing >= later[t]:
            out[t] = swing
    return out


def levels(prices: FloatArray, side: int) -> Zones:
    """Zones without height at `prices` (NaN: none), all on one side."""
    return Zones(np.where(np.isnan(prices), 0, side).astype(np.int8), prices, prices)


@compiled
def open_zones(zones: Zones, high: FloatArray, low: FloatArray, close: FloatArray, scale: FloatArray, age: int) -> FloatArray:
    """What is left of the zones of the last `age` bars, (3, n): bullish, bearish, distance of the nearest edge.

    A zone is mitigated by the first later bar that touches it: a low at or below the top of a bullish one, a high at or
    above the bottom of a bearish one. The distance runs from the close, in units of `scale` (n,), from 0 to `FAR`.
    """
    side, bottom, top = zones
    out = np.zeros((3, close.size))
    alive, count = np.empty(age, np.int64), 0  # bars of the open zones, oldest first
    for t in range(close.size):
        kept, nearest = 0, np.inf
        for place in range(count):
            zone = alive[place]
            touched = low[t] <= top[zone] if side[zone] > 0 else high[t] >= bottom[zone]
            if not touched and t - zone < age:
                alive[kept] = zone
                kept += 1
        if side[t] != 0:
            alive[kept] = t
            kept += 1
        count = kept
        for place in range(count):
            zone = alive[place]
            bullish = side[zone] > 0
            out[0 if bullish else 1, t] += 1.0
            nearest = min(nearest, max(close[t] - top[zone] if bullish else bottom[zone] - close[t], 0.0))
        out[2, t] = min(nearest / scale[t], FAR) if scale[t] > 0.0 else FAR
    return out


@compiled
def structure_breaks(high: FloatArray, low: FloatArray, close: FloatArray, before: int, after: int, age: int) -> FloatArray:
    """Closes through the last confirmed swing, (4, n) of 0 and 1: BOS up, BOS down, CHoCH up, CHoCH down.

    A swing is broken once, by the first close beyond it, and forgotten `age` bars after it became known. A break against
    the direction of the previous one, if that is at most `age` bars old, is a change of character, any other a break of
    structure. Both sides cannot break at one bar: an unbroken swing high is never below an unbroken swing low.
    """
    tops, bottoms = swing_levels(high, before, after), -swing_levels(-low, before, after)
    out = np.zeros((4, close.size))
    top, top_at, bottom, bottom_at = np.inf, 0, -np.inf, 0  # infinite: none to break
    previous, previous_at = 0, 0
    for t in range(close.size):
        if not np.isnan(tops[t]):
            top, top_at = tops[t], t
        if not np.isnan(bottoms[t]):
            bottom, bottom_at = bottoms[t], t
        side = 0
        if close[t] > top and t - top_at < age:
            side, top = 1, np.inf
        elif close[t] < bottom and t - bottom_at < age:
            side, bottom = -1, -np.inf
        if side != 0:
            turned = previous == -side and t - previous_at < age
            out[(2 if turned else 0) + (0 if side > 0 else 1), t] = 1.0
            previous, previous_at = side, t
    return out
