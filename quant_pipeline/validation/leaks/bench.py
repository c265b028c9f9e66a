"""What the planted leaks are tried on: made-up bars, candles and labels, and the audit that every feature goes through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.config.experiment import SplitSettings
from quant_pipeline.validation.audit import prefix_audit, random_cuts

Values = npt.NDArray[np.float64]
ROWS, HALF, HOLES = 400, 200, 7
CUTS = 12
START, HOUR = datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1)
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC)
SETTINGS = SplitSettings(folds=3, embargo=6 * HOUR)
DECIMALS = 9
"""Kept of a feature of candles: a whole-series transform changes the last bits everywhere, which is not the leak."""


class Planted(Protocol):
    """Makes the mistake, or does it rightly, and returns the faults that its audit finds."""

    def __call__(self, *, leak: bool) -> pl.DataFrame: ...


def hours(count: int, first: datetime) -> pl.Series:
    """`count` hourly UTC moments."""
    return pl.datetime_range(first, first + (count - 1) * HOUR, HOUR, time_unit="us", eager=True)


def walk(seed: int) -> Values:
    """A random walk of prices, (ROWS,)."""
    return np.asarray(100.0 + np.random.default_rng(seed).normal(size=ROWS).cumsum())


@cache
def bars() -> pl.DataFrame:
    """Hourly bars: timestamp, decision_at (their close), close; every seventh close is missing."""
    close = pl.Series("close", walk(0)).set(pl.Series(np.arange(ROWS) % HOLES == 1), None)
    return pl.DataFrame({"timestamp": hours(ROWS, START), "decision_at": hours(ROWS, START + HOUR), "close": close})


@cache
def candles(seed: int) -> pl.DataFrame:
    """Hourly bars without holes: timestamp, known_at and decision_at (both their close), open, high, low, close, volume."""
    random = np.random.default_rng((seed, 1))
    close = walk(seed)
    opened = np.append(close[:1], close[:-1])
    high = np.maximum(opened, close) + random.exponential(0.3, ROWS)
    low = np.minimum(opened, close) - random.exponential(0.3, ROWS)
    prices = pl.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": random.exponential(9.0, ROWS)})
    closed = hours(ROWS, START + HOUR)
    return prices.with_columns(timestamp=hours(ROWS, START), known_at=closed, decision_at=closed)


@cache
def labels() -> pl.DataFrame:
    """One label an hour, each known five hours after its decision."""
    return pl.DataFrame({"decision_at": hours(ROWS, START), "label_end": hours(ROWS, START + 5 * HOUR)})


def decisions(cut: datetime) -> pl.DataFrame:
    """Times (timestamp, decision_at) of the bars that have closed by `cut`."""
    return bars().select("timestamp", "decision_at").filter(pl.col("decision_at") <= cut)


def under_prefix_audit(compute: Callable[[datetime], pl.DataFrame]) -> pl.DataFrame:
    """Faults of `compute` at twelve cuts, drawn from the moments at which it says something new: too early shows there."""
    full = compute(END_OF_TIME)
    values = pl.exclude("timestamp", "decision_at")
    new = full.filter(pl.any_horizontal(values.ne_missing(values.shift(1))))
    return prefix_audit(compute, full, random_cuts(new["decision_at"], CUTS, seed=1))


def of_candles(wrong: Callable[[pl.DataFrame], Values], right: Callable[[pl.DataFrame], Values]) -> Planted:
    """A feature of candles, (n,) of n of them, made the wrong or the right way, under the prefix audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        every, make = candles(0), wrong if leak else right

        def compute(cut: datetime) -> pl.DataFrame:
            known = every.filter(pl.col("known_at") <= cut)
            return known.select("timestamp", "decision_at", feature=pl.Series(np.round(make(known), DECIMALS)))

        return under_prefix_audit(compute)

    return find
