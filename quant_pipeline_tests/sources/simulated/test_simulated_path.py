"""Stylised facts: the simulated market looks like a market, not like noise with a date."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from quant_pipeline.sources.simulated import path

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)


def minute_returns(source, symbol):
    frame = source.fetch(symbol, "1m", START, END).frame.unique("timestamp", keep="first").sort("timestamp")
    adjacent = pl.col("timestamp").diff().dt.total_minutes() == 1
    return frame.select("timestamp", "volume", ret=pl.when(adjacent).then(pl.col("close").log().diff())).drop_nulls("ret")


def correlation(source, leader, follower, lag=0):
    left, right = minute_returns(source, leader), minute_returns(source, follower)
    shifted = left.with_columns(timestamp=pl.col("timestamp") + pl.duration(minutes=lag))
    both = shifted.join(right, on="timestamp", suffix="_other")
    return float(np.corrcoef(both["ret"], both["ret_other"])[0, 1]), len(both)


def test_volatility_clusters_and_tails_are_fat(source):
    returns = minute_returns(source, "BTC-USD")
    hourly = returns.group_by_dynamic("timestamp", every="1h").agg(pl.col("ret").std())["ret"].to_numpy()
    assert np.corrcoef(hourly[1:], hourly[:-1])[0, 1] > 0.6
    assert np.corrcoef(hourly[24:], hourly[:-24])[0, 1] > 0.2
    value = returns["ret"].to_numpy()
    assert np.mean((value - value.mean()) ** 4) / value.var() ** 2 > 6
    assert np.abs(value).max() > 12 * value.std()


def test_volume_and_volatility_are_high_at_both_ends_of_a_session(source):
    returns = minute_returns(source, "SPY").filter(pl.col("timestamp").dt.month().is_between(4, 6))
    minute = pl.col("timestamp").dt.hour().cast(pl.Int32) * 60 + pl.col("timestamp").dt.minute() - 13 * 60 - 30
    part = (
        returns.with_columns(part=(minute // 65))
        .group_by("part")
        .agg(pl.col("ret").abs().median(), pl.col("volume").median())
        .sort("part")
    )
    for column, least in (("ret", 1.3), ("volume", 1.5)):
        first, *_, last = part[column].to_list()
        middle = part[column].to_list()[2:4]
        assert min(first, last) / max(middle) > least


def test_closures_make_gaps_and_sessions_do_not(source):
    frame = source.fetch("GC=F", "1m", START, END).frame.unique("timestamp", keep="first").sort("timestamp")
    jump = (frame["open"].log() - frame["close"].shift(1).log()).abs()
    wait = frame["timestamp"].diff().dt.total_minutes()
    assert jump.filter(wait == 1).max() == 0
    overnight, weekend = jump.filter((wait >= 60) & (wait < 200)), jump.filter(wait > 2_000)
    assert overnight.median() > 0
    assert weekend.mean() > overnight.mean()


def test_every_regime_is_visited_and_matters(source):
    blocks = [path.block(source.market("BTC-USD"), month) for month in range(2024 * 12, 2024 * 12 + 6)]
    regime = np.concatenate([block.regime for block in blocks])
    size = np.concatenate([np.abs(np.log(block.prices[3] / block.prices[0])) for block in blocks])
    calm, usual, stressed = (size[regime == which].mean() for which in range(3))
    assert calm < usual < stressed


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [("SPY", "QQQ", 0.55, 0.95), ("SPY", "AAPL", 0.3, 0.8), ("GC=F", "DX-Y.NYB", -0.6, -0.2), ("SPY", "BTC-USD", 0.1, 0.5)],
)
def test_symbols_move_together(source, one, other, low, high):
    assert low < correlation(source, one, other)[0] < high


def test_leaders_lead_and_in_the_null_market_nobody_does(source, null):
    ahead, rows = correlation(source, "SPY", "AAPL", lag=1)
    behind, _ = correlation(source, "AAPL", "SPY", lag=1)
    chance = 4 / np.sqrt(rows)
    assert ahead > 0.03 + chance
    assert abs(behind) < chance
    assert abs(correlation(null, "SPY", "AAPL", lag=1)[0]) < chance
    assert correlation(null, "SPY", "AAPL")[0] > 0.4  # together they still move


def test_a_year_has_about_the_volatility_that_was_asked_for(source):
    daily = []
    for symbol in ("GC=F", "BTC-USD", "CL=F", "SPY"):
        frame = source.fetch(symbol, "1m", START, datetime(2025, 7, 1, tzinfo=UTC)).frame
        close = frame.group_by_dynamic("timestamp", every="1w").agg(pl.col("close").last())["close"]
        daily.append(close.log().diff().std() * np.sqrt(52) / source.market(symbol).asset.volatility)
    assert 0.6 < np.mean(daily) < 1.3
