from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.errors import DataError
from quant_pipeline.sources.base import HEADLINES_SCHEMA
from quant_pipeline.sources.simulated import oracle
from quant_pipeline.sources.simulated.source import SimulatedSource
from quant_pipeline.sources.simulated.wording import SHARES, TEMPLATES, TONES

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)


def test_headlines_are_known_when_they_are_published_and_in_order(source):
    table = source.headlines("GC=F", START, END)
    assert table.select(HEADLINES_SCHEMA.names()).schema == HEADLINES_SCHEMA
    assert (table["known_at"] >= table["published_at"]).all()
    assert table["known_at"].is_sorted()
    assert table["title"].str.contains("GC=F", literal=True).all()
    assert 4 * 182 < len(table) < 8 * 182


def test_a_window_of_headlines_is_part_of_the_whole(source):
    whole = source.headlines("SPY", START, END)
    low, high = datetime(2024, 2, 10, 7, tzinfo=UTC), datetime(2024, 4, 2, 3, tzinfo=UTC)
    inside = whole.filter(pl.col("published_at") >= low, pl.col("published_at") < high)
    assert SimulatedSource(source._universe, seed=7).headlines("SPY", low, high).equals(inside)
    assert source.headlines("SPY", datetime(2023, 1, 1, tzinfo=UTC), START).is_empty()


def test_the_wording_tells_the_tone(source):
    table = source.headlines("BTC-USD", START, END)
    opening = table.with_columns(
        words=pl.col("title").str.replace_all(
            "demand|order flow|investor appetite|institutional buying|liquidity|physical activity", "_"
        )
    )
    assert opening.group_by("words").agg(pl.col("tone").n_unique())["tone"].max() == 1
    assert opening["words"].n_unique() == sum(len(bucket) for bucket in TEMPLATES)
    assert set(table["tone"].unique()) == set(TONES)


def test_tones_are_balanced():
    assert np.dot(TONES, SHARES) == 0
    assert sum(SHARES) == pytest.approx(1)


def test_tone_leads_drift_and_not_in_the_null_market(universe):
    loud = {"signal": 0.0, "news_effect": 0.4, "macro_effect": 0.0}
    slopes = []
    for source in (SimulatedSource(universe, **loud), SimulatedSource(universe, null=True)):
        news = source.headlines("BTC-USD", START, END)
        after = (news["published_at"].dt.truncate("1m") + timedelta(minutes=1)).alias("decision_at")
        forward = oracle.forward_return(source.market("BTC-USD"), after, timedelta(hours=3)).to_numpy()
        earlier = (news["published_at"].dt.truncate("1m") - timedelta(hours=3)).alias("decision_at")
        before = oracle.forward_return(source.market("BTC-USD"), earlier, timedelta(hours=3)).fill_null(0).to_numpy()
        slopes.append([np.corrcoef(news["tone"], moved)[0, 1] for moved in (forward, before)])
    chance = 4 / np.sqrt(len(news))
    assert slopes[0][0] > chance
    assert abs(slopes[0][1]) < chance  # tone does not follow the price
    assert abs(slopes[1][0]) < chance


def test_naive_windows_are_refused(source):
    with pytest.raises(DataError, match="time zone"):
        source.headlines("SPY", START.replace(tzinfo=None), END)
