"""Planted leaks in structure: patterns, swings and zones that count before the bar that makes them known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.bars.asof import asof_join
from quant_pipeline.bars.moments import microseconds
from quant_pipeline.features.patterns.chart import FAMILY
from quant_pipeline.features.patterns.events import event_table
from quant_pipeline.features.patterns.zigzag import HIGH, Pivots, atr_threshold, zigzag
from quant_pipeline.features.smart_money_kernels import Zones, gaps, open_zones, order_blocks, swing_levels
from quant_pipeline.validation.leaks.bench import HOUR, Planted, Values, of_candles

BLOCK = 32 * HOUR
"""Length of an anchor block here: a quarter of the features' own, so that the few bars of a leak are enough."""
SIDE = 5
"""Bars on each side of a swing."""
AGE = 50
"""Bars after which a zone is forgotten."""


def pattern_entered(at: Literal["pivot_at", "known_at"]) -> Callable[[pl.DataFrame], Values]:
    """Signed confidence of the newest chart pattern, which counts from `at` on."""

    def make(known: pl.DataFrame) -> Values:
        anchor = (microseconds(known["timestamp"]) // (BLOCK // timedelta(microseconds=1))).astype(np.float64)
        events = event_table(known, anchor, FAMILY).select("direction", "confidence", known_at=at)
        newest = asof_join(known, events.sort("known_at", maintain_order=True))
        return (newest["direction"] * newest["confidence"]).to_numpy()

    return make


def swing_price(rows: Callable[[Pivots], npt.NDArray[np.int64]]) -> Callable[[pl.DataFrame], Values]:
    """Price of the last swing of the zigzag, each written down in one of `rows`."""

    def make(known: pl.DataFrame) -> Values:
        pivots = _zigzag(known)
        return _filled(known.height, rows(pivots), pivots.price)

    return make


def open_leg(known: pl.DataFrame) -> Values:
    """The same with the extreme of the leg that is still open, as a chart draws it."""
    (_, high, low, _), pivots = _prices(known), _zigzag(known)
    if not pivots.bar.size:
        return np.full(known.height, np.nan)
    first, falling = pivots.bar[-1] + 1, pivots.kind[-1] == HIGH
    extreme = first + (low[first:].argmin() if falling else high[first:].argmax())
    price = low[extreme] if falling else high[extreme]
    return _filled(known.height, np.append(pivots.known, extreme), np.append(pivots.price, price))


def swing_high(*, confirmed: bool) -> Callable[[pl.DataFrame], Values]:
    """The last swing high of `SIDE` bars on each side, from its confirmation on, or from the centre of its window on."""

    def make(known: pl.DataFrame) -> Values:
        prices = swing_levels(known["high"].to_numpy(writable=True), SIDE, SIDE)
        rows = np.flatnonzero(~np.isnan(prices))
        return _filled(known.height, rows if confirmed else rows - SIDE, prices[rows])

    return make


def marked(zones: Callable[[pl.DataFrame], Zones]) -> Planted:
    """The side of a zone on the bar that makes it known, or on the bar before, where smartmoneyconcepts and others mark it."""
    return of_candles(lambda known: np.append(zones(known).side[1:], 0.0), lambda known: zones(known).side.astype(np.float64))


def fair_value_gaps(known: pl.DataFrame) -> Zones:
    """Gaps between the first and third of three bars."""
    _, high, low, _ = _prices(known)
    return gaps(high, low)


def blocks(known: pl.DataFrame) -> Zones:
    """Order blocks of any close beyond the candle before."""
    opened, high, low, close = _prices(known)
    return order_blocks(opened, high, low, close, np.zeros(known.height))


def open_gaps(known: pl.DataFrame) -> Values:
    """Bullish gaps of the last `AGE` bars that no bar has touched so far."""
    _, high, low, close = _prices(known)
    return np.asarray(open_zones(gaps(high, low), high, low, close, np.ones(known.height), AGE)[0])


def lasting_gaps(known: pl.DataFrame) -> Values:
    """The same count of those that none of the next `AGE` bars touches either: zones cleared of what is mitigated later."""
    side, _, top = fair_value_gaps(known)
    later = known["low"].reverse().rolling_min(AGE, min_samples=1).reverse().shift(-1, fill_value=np.inf).to_numpy()
    there = ((side > 0) & (later > top)).astype(np.float64)
    return np.convolve(there, np.ones(AGE))[: known.height]


def _prices(known: pl.DataFrame) -> tuple[Values, Values, Values, Values]:
    opened, high, low, close = (known[name].to_numpy(writable=True) for name in ("open", "high", "low", "close"))
    return opened, high, low, close


def _zigzag(known: pl.DataFrame) -> Pivots:
    _, high, low, close = _prices(known)
    return zigzag(high, low, close, atr_threshold(high, low, close))


def _filled(count: int, rows: npt.NDArray[np.int64], prices: Values) -> Values:
    """(count,) the price of the last of `rows`, NaN before the first."""
    out = np.full(count, np.nan)
    out[rows] = prices
    return pl.Series(out, nan_to_null=True).forward_fill().to_numpy()
