from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.sessions import locate, session_table
from quant_pipeline.config.universe import Instrument, load_universe
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.sources.base import BARS_SCHEMA, MacroSource, MarketSource, NewsSource
from quant_pipeline.sources.simulated import headlines, minutes, noise, path, releases
from quant_pipeline.sources.simulated.source import SimulatedSource

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UNIVERSE = load_universe()


def forget() -> None:
    caches = (
        path._block, path._handed_over, minutes.month_grid, noise.factor_shocks, headlines.month_news, releases.vintages,
    )  # fmt: skip
    for cached in caches:
        cached.cache_clear()


def bars(source: SimulatedSource, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    return source.fetch(symbol, "1m", start, end).frame


def test_it_is_a_source_of_all_three_kinds(source):
    for protocol in (MarketSource, NewsSource, MacroSource):
        assert isinstance(source, protocol)
    assert (source.name, source.intervals("GC=F"), source.simulated) == ("simulated", ("1m",), True)
    assert source.horizon("GC=F", EPOCH) == EPOCH


@pytest.mark.parametrize("symbol", ["GC=F", "SPY"])
def test_equal_seeds_give_equal_bars_in_fresh_memory(symbol):
    first = bars(SimulatedSource(UNIVERSE, seed=3), symbol, EPOCH, datetime(2024, 3, 10, tzinfo=UTC))
    forget()
    assert bars(SimulatedSource(UNIVERSE, seed=3), symbol, EPOCH, datetime(2024, 3, 10, tzinfo=UTC)).equals(first)


def test_another_seed_gives_another_market(universe):
    start, end = datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC)
    one, other = (bars(SimulatedSource(universe, seed=seed), "BTC-USD", start, end) for seed in (1, 2))
    assert one["close"].to_list()[:50] != other["close"].to_list()[:50]


@settings(max_examples=40, deadline=None)
@given(
    symbol=st.sampled_from(["GC=F", "SPY", "BTC-USD"]),
    start=st.integers(-2_000, 120_000),
    length=st.integers(0, 60_000),
    forgetful=st.booleans(),
)
def test_every_window_tells_the_same_story(symbol, start, length, forgetful):
    source = SimulatedSource(UNIVERSE, seed=7)
    whole = bars(source, symbol, EPOCH, datetime(2024, 5, 20, tzinfo=UTC))
    begin, end = EPOCH + start * MINUTE, EPOCH + (start + length) * MINUTE
    if forgetful:
        forget()
    inside = whole.filter(pl.col("timestamp") >= begin, pl.col("timestamp") + MINUTE <= end)
    assert bars(source, symbol, begin, min(end, datetime(2024, 5, 20, tzinfo=UTC))).equals(inside)


def test_a_month_made_again_from_what_was_handed_over_is_the_same(source):
    start, end = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
    first = bars(source, "GC=F", start, end)
    path._block.cache_clear()
    assert bars(source, "GC=F", start, end).equals(first)


def test_a_window_inside_a_minute_holds_only_whole_bars(source):
    start, end = datetime(2024, 1, 3, 12, 0, 30, tzinfo=UTC), datetime(2024, 1, 3, 12, 4, 30, tzinfo=UTC)
    assert [at.minute for at in bars(source, "BTC-USD", start, end)["timestamp"]] == [1, 2, 3]


@pytest.mark.parametrize("symbol", UNIVERSE.names)
def test_bars_keep_to_the_sessions_and_to_the_form_of_bars(source, symbol):
    start, end = datetime(2024, 6, 25, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC)
    frame = bars(source, symbol, start, end)
    sessions = session_table(UNIVERSE.instrument(symbol).calendar, start, end)
    assert (locate(sessions, frame["timestamp"]) >= 0).all()
    assert frame.schema == BARS_SCHEMA
    assert frame.select(low=pl.col("low") <= pl.min_horizontal("open", "close")).to_series().all()
    assert frame.select(high=pl.col("high") >= pl.max_horizontal("open", "close")).to_series().all()
    assert frame["low"].min() > 0
    whole = sessions.filter(pl.col("session_open") >= start, pl.col("session_close") <= end)
    rows = np.bincount(locate(whole, frame["timestamp"].unique()) + 1, minlength=len(whole) + 1)[1:]
    usual = (whole["session_close"] - whole["session_open"]).dt.total_minutes().to_numpy()
    assert (rows > 0.9 * usual).all()
    assert (rows <= usual).all()


def test_holiday_early_close_and_daily_break_are_real(source):
    spy = bars(source, "SPY", datetime(2024, 7, 3, tzinfo=UTC), datetime(2024, 7, 6, tzinfo=UTC))
    by_day = {day: rows for (day,), rows in spy.group_by(pl.col("timestamp").dt.date())}
    assert date(2024, 7, 4) not in by_day
    assert by_day[date(2024, 7, 3)]["timestamp"].max() == datetime(2024, 7, 3, 16, 59, tzinfo=UTC)
    assert by_day[date(2024, 7, 5)]["timestamp"].max() == datetime(2024, 7, 5, 19, 59, tzinfo=UTC)
    gold = bars(source, "GC=F", datetime(2024, 6, 3, tzinfo=UTC), datetime(2024, 6, 7, tzinfo=UTC))
    assert set(range(24)) - set(gold["timestamp"].dt.hour().to_list()) == {21}


def test_the_feed_misses_minutes_repeats_rows_and_has_outages(source):
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
    frame = bars(source, "BTC-USD", start, end)
    unique = frame.unique("timestamp", keep="first", maintain_order=True)
    repeats = len(frame) - len(unique)
    assert 20 < repeats < 200
    assert len(frame.unique()) == len(unique)  # repeated rows are exact copies
    gaps = unique["timestamp"].diff().drop_nulls().dt.total_minutes()
    missing = 182 * 1_440 - len(unique)
    assert 0.0005 < missing / (182 * 1_440) < 0.01
    assert (gaps > 5).sum() >= 2
    assert gaps.max() < 60


def test_volume_is_real_or_absent(source):
    start, end = datetime(2024, 2, 5, tzinfo=UTC), datetime(2024, 2, 10, tzinfo=UTC)
    assert bars(source, "^IRX", start, end)["volume"].null_count() == len(bars(source, "^IRX", start, end)) > 0
    volume = bars(source, "SPY", start, end)["volume"]
    assert volume.min() >= 1
    assert (volume == volume.round()).all()
    assert 60_000 < volume.mean() < 500_000


def test_a_symbol_of_the_users_own_gets_a_plausible_market(universe):
    wider = universe.model_copy(update={"auxiliary": {**universe.auxiliary, "FOO": Instrument(calendar="NYSE")}})
    frame = bars(SimulatedSource(wider), "FOO", EPOCH, datetime(2024, 3, 1, tzinfo=UTC))
    daily = frame.group_by_dynamic("timestamp", every="1d").agg(pl.col("close").last())["close"].log().diff().drop_nulls()
    assert 0.05 < daily.std() * np.sqrt(252) < 1.0
    assert "FOO" in SimulatedSource(wider).headlines("FOO", EPOCH, datetime(2024, 3, 1, tzinfo=UTC))["title"][0]


def test_before_the_epoch_there_is_nothing_and_it_says_so(source):
    fetched = source.fetch("GC=F", "1m", datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 2, 1, tzinfo=UTC))
    assert fetched.frame.is_empty()
    assert fetched.frame.schema == BARS_SCHEMA
    assert "begins on 2024-01-01" in fetched.problems[0]


def test_null_market_has_the_same_rows(source, null):
    start, end = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    one, other = bars(source, "GC=F", start, end), bars(null, "GC=F", start, end)
    assert one["timestamp"].equals(other["timestamp"])
    assert not one["close"].equals(other["close"])


def test_what_cannot_be_is_refused(source, universe):
    day = datetime(2024, 2, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match="15m"):
        source.fetch("GC=F", "15m", EPOCH, day)
    with pytest.raises(ConfigError, match="GC=F"):
        source.fetch("GC=G", "1m", EPOCH, day)
    with pytest.raises(DataError, match="time zone"):
        source.fetch("GC=F", "1m", EPOCH.replace(tzinfo=None), day)
    with pytest.raises(ConfigError, match="signal"):
        SimulatedSource(universe, signal=-0.1)
    with pytest.raises(ConfigError, match="seed"):
        SimulatedSource(universe, seed=-1)
    with pytest.raises(ConfigError, match="epoch"):
        SimulatedSource(universe, epoch=date(2024, 1, 15))
    with pytest.raises(ConfigError, match="signal"):
        SimulatedSource(universe, signal=0.99).fetch("GC=F", "1m", EPOCH, day)
