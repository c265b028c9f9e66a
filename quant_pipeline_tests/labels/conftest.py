from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def path_bars(minutes, opens, highs, lows, closes):
    """1m RUNG bars opening `minutes` after the start, with the given prices."""
    frame = pl.DataFrame(
        {
            "timestamp": [START + int(minute) * MINUTE for minute in minutes],
            **{
                name: np.asarray(values, dtype=float)
                for name, values in zip(("open", "high", "low", "close"), (opens, highs, lows, closes), strict=True)
            },
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    return frame.with_columns(known_at=pl.col("timestamp") + MINUTE)


def wider(path, minutes):
    """Bars of `minutes` from 1m bars, known at their close."""
    every = f"{minutes}m"
    bars = path.group_by_dynamic("timestamp", every=every, start_by="window").agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    )
    return bars.with_columns(known_at=pl.col("timestamp") + minutes * MINUTE)


def random_path(seed, count, *, tick=0.5, missing=0.1):
    """A random walk on a coarse tick, so that ties and gaps through barriers are common; some minutes are missing."""
    random = np.random.default_rng(seed)
    close = 100 + tick * random.integers(-2, 3, count).cumsum()
    opens = np.r_[100, close[:-1]] + tick * random.integers(-1, 2, count)
    high = np.maximum(opens, close) + tick * random.integers(0, 3, count)
    low = np.minimum(opens, close) - tick * random.integers(0, 3, count)
    kept = random.random(count) >= missing
    kept[0] = True
    return path_bars(np.arange(count)[kept], opens[kept], high[kept], low[kept], close[kept])


@pytest.fixture
def market():
    """The makers of bars: `market.path`, `market.wider`, `market.random`."""

    class Market:
        path = staticmethod(path_bars)
        wider = staticmethod(wider)
        random = staticmethod(random_path)
        start = START

    return Market
