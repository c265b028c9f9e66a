"""What the shell says of the rows: short, with shares, and only notes worth reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from quant_pipeline.bars.clean import clean_bars
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.errors import DataError
from quant_pipeline.orchestration import doctor
from quant_pipeline.orchestration.row_ledger import keep_ledger, ledger_lines

SYMBOL = "BTC-USD"
START = datetime(2025, 6, 2, tzinfo=UTC)
DAY = timedelta(days=1)
ROW = pl.int_range(pl.len())


def feed(days=4):
    stamps = pl.datetime_range(START, START + days * DAY, "1m", closed="left", time_unit="us", eager=True)
    wave = 100 + (pl.int_range(pl.len()) * 0.01).sin()
    return pl.DataFrame({"timestamp": stamps}).with_columns(open=wave, high=wave + 1, low=wave - 1, close=wave, volume=1.0)


def lines(home, raw, adjustments=()):
    house = home.house()
    keep_ledger(house, SYMBOL, clean_bars(raw, "24/7", rules=CleaningRules(symbol=SYMBOL, adjustments=adjustments))[1])
    return ledger_lines(house, SYMBOL)


def test_a_plain_feed_is_one_line(bare_home):
    assert lines(bare_home, feed()) == ["rows: 5,760 in, 5,760 bars; dropped: none"]


def test_what_was_dropped_and_what_is_odd_is_told(bare_home):
    hole = pl.col("timestamp").is_between(START + DAY, START + DAY + timedelta(minutes=119))
    second = pl.col("timestamp") >= START + 2 * DAY
    prices = [pl.when(second).then(pl.col(name) / 4).otherwise(name).alias(name) for name in ("open", "high", "low", "close")]
    raw = feed().with_columns(prices).remove(hole)
    raw = raw.with_columns(low=pl.when(ROW < 2).then(-1.0).otherwise("low"), volume=pl.lit(-1.0))
    told = lines(bare_home, raw, adjustments=({"date": START.date() + 2 * DAY, "ratio": 4},))
    assert told == [
        "rows: 5,640 in, 5,638 bars; dropped: price_not_positive 2 (0.04%)",
        "volume absent: negative in 5638 rows, never above",
        "gaps: 1, 2.08% of open minutes, longest 120 min from 2025-06-03T00:00",
        "negative prices: 2 rows left out, 2025-06-02T00:00 to 2025-06-02T00:01",
        "adjusted from 2025-06-04 on: prices times 4",
    ]


def test_nothing_is_told_before_the_first_bars(home_of_nothing):
    assert ledger_lines(home_of_nothing.house(), SYMBOL) == []


def test_the_bars_asset_keeps_its_ledger_and_the_doctor_shows_it(trained_home, monkeypatch):
    house = trained_home.house()
    (rows, *_) = ledger_lines(house, SYMBOL)
    height = pl.read_parquet(trained_home.lake / "bars" / "1m" / f"{SYMBOL}.parquet").height
    assert rows == f"rows: {height:,} in, {height:,} bars; dropped: none"
    monkeypatch.setattr(doctor, "make_house", lambda: house)
    monkeypatch.setattr(doctor, "_leaks", lambda: "")
    found = {name: text for name, _, text in doctor.examine()}
    assert found[f"bars of {SYMBOL}"].startswith(rows)
    assert not any(name == "bars of GC=F" for name in found)


def test_bars_that_lose_too_many_rows_are_not_trained_on(bare_home):
    """Every second row is between minutes: the store keeps them as they came, the asset refuses."""
    house = bare_home.house()
    begin = house.cutoff(SYMBOL) - 10 * DAY
    between = pl.when(ROW % 2 == 0).then(timedelta(0)).otherwise(timedelta(seconds=7))
    house.store.append(SYMBOL, "1m", feed().with_columns(pl.col("timestamp") + (begin - START) + between), begin + 5 * DAY)
    told = r"2,880 of 5,760 rows.*`limits\.off_the_minute` of BTC-USD"
    with bare_home.runner(house) as runner, pytest.raises(DataError, match=told):
        runner.materialize([dg.AssetKey(["bars", "1m"])], SYMBOL)
    assert ledger_lines(house, SYMBOL) == []
