"""Longer bars of one's own: where they open, when they are known, and what the source tells at each moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars
from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.config.universe import Universe
from quant_pipeline.errors import DataError
from quant_pipeline.sources.files import FilesSource

EVER = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2025-{text}").replace(tzinfo=UTC)


def bars(stamps: list[datetime]) -> pl.DataFrame:
    price = [100.0 + row for row in range(len(stamps))]
    return pl.DataFrame([stamps, price, price, price, price, price], schema=BARS_SCHEMA)


@pytest.fixture
def source(tmp_path):
    def make(stamps: list[datetime] | pl.DataFrame, calendar: str = "NYSE", name: str = "SPY.parquet", **files: object):
        (stamps if isinstance(stamps, pl.DataFrame) else bars(stamps)).write_parquet(tmp_path / name)
        risk = {"max_leverage": 1, "max_drawdown_pct": 1, "max_position_pct": 1}
        symbol = {"calendar": calendar, "costs": {"fee_bps": 1}, "risk": risk, "files": files}
        return FilesSource(tmp_path, Universe.parse({"symbols": {"SPY": symbol}}, "test"))

    return make


def read(source: FilesSource) -> list[datetime]:
    return source.fetch("SPY", source.intervals("SPY")[0], *EVER).frame["timestamp"].to_list()


HOURS = [at(f"07-0{day} {hour}:30") for day in (1, 2) for hour in range(13, 20)]


def test_hours_declared_are_hours(source):
    assert read(source(HOURS, interval="1h", name="SPY_1h.parquet")) == HOURS
    assert read(source(HOURS, interval="1h", name="SPY_1m.parquet")) == HOURS, "whatever its name says"


def test_hours_undeclared_are_refused_and_minutes_declared_as_hours_too(source):
    with pytest.raises(DataError, match=r"bars 1h apart.*files\.interval: 1h`"):
        read(source(HOURS))
    with pytest.raises(DataError, match="bars 1m apart"):
        read(source([at("07-01 13:30") + timedelta(minutes=row) for row in range(90)], interval="1h"))


def test_the_last_hour_is_told_when_its_session_closes(source):
    told = source(HOURS[:7], interval="1h")
    early, closed = at("07-01 19:59"), at("07-01 20:00")
    assert told.fetch("SPY", "1h", EVER[0], early).frame.height == 6
    assert told.fetch("SPY", "1h", EVER[0], closed).frame.height == 7
    assert told.horizon("SPY", EVER[1]) == closed


def test_closes_of_hours_whose_session_ends_early(source):
    closing = [*(hour + timedelta(hours=1) for hour in HOURS[:6]), at("07-01 20:00")]
    half_day = [at("07-03 14:30"), at("07-03 15:30"), at("07-03 16:30"), at("07-03 17:00")]
    wanted = [*HOURS[:7], at("07-03 13:30"), at("07-03 14:30"), at("07-03 15:30"), at("07-03 16:30")]
    assert read(source([*closing, *half_day], interval="1h", stamp="close")) == wanted


@pytest.mark.parametrize(
    ("calendar", "stamp", "stamps", "opens"),
    [
        ("NYSE", "open", ["07-02 00:00", "07-03 00:00", "07-07 00:00"], ["07-02 13:30", "07-03 13:30", "07-07 13:30"]),
        ("NYSE", "open", ["07-01 04:00", "07-02 04:00", "07-03 04:00"], ["07-01 13:30", "07-02 13:30", "07-03 13:30"]),
        ("NYSE", "close", ["07-01 20:00", "07-02 20:00", "07-03 17:00"], ["07-01 13:30", "07-02 13:30", "07-03 13:30"]),
        ("CMEGlobex_GC", "open", ["07-01 00:00", "07-02 00:00", "07-03 00:00"], ["06-30 22:00", "07-01 22:00", "07-02 22:00"]),
        ("CMEGlobex_GC", "open", ["06-30 22:00", "07-01 22:00", "07-02 22:00"], ["06-30 22:00", "07-01 22:00", "07-02 22:00"]),
        ("24/7", "open", ["07-01 00:00", "07-02 00:00", "07-03 00:00"], ["07-01 00:00", "07-02 00:00", "07-03 00:00"]),
        ("24/7", "close", ["07-02 00:00", "07-03 00:00", "07-04 00:00"], ["07-01 00:00", "07-02 00:00", "07-03 00:00"]),
    ],
)  # fmt: skip
def test_a_day_is_that_of_its_session(source, calendar, stamp, stamps, opens):
    told = source([at(text) for text in stamps], calendar, interval="1d", stamp=stamp)
    assert read(told) == [at(text) for text in opens]
    raw = told.fetch("SPY", "1d", *EVER).frame
    daily = build_bars({"1d": raw}, calendar, ("1d",), as_of=EVER[1])[0]["1d"]
    assert daily.height == len(opens)
    assert daily["known_at"].equals(daily["session_close"].rename("known_at"))


def test_dates_without_a_time_are_days(source):
    dates = bars([at("07-01"), at("07-02"), at("07-03")]).with_columns(pl.col("timestamp").dt.date())
    assert read(source(dates, interval="1d")) == [at("07-01 13:30"), at("07-02 13:30"), at("07-03 13:30")]
    with pytest.raises(DataError, match=r"dtype Date.*files\.interval: 1d"):
        read(source(dates))


def test_days_that_the_market_cuts_elsewhere_are_refused(source):
    with pytest.raises(DataError, match=r"a day that opens at 2025-07-01 04:00 UTC.*days of 24/7"):
        read(source([at("07-01 04:00") + DAY * row for row in range(9)], "24/7", interval="1d"))


def test_two_days_of_one_session_are_refused(source):
    week = [at("07-04"), at("07-06"), at("07-07"), at("07-08"), at("07-09")]  # 07-06 is a Sunday: its evening is Monday's
    with pytest.raises(DataError, match=r"2025-07-06.*one bar a session.*Sundays"):
        read(source(week, "CMEGlobex_GC", interval="1d"))


def test_seconds_become_minutes(source):
    stamps = [at("07-01 13:30") + timedelta(seconds=second) for second in range(150)]
    told = source(bars(stamps).sample(fraction=1, shuffle=True, seed=1), interval="1s")
    assert told.intervals("SPY") == ("1m",)
    minutes = told.fetch("SPY", "1m", *EVER).frame
    assert minutes.rows() == [
        (at(f"07-01 13:3{minute}"), first, last, first, last, sum(100.0 + row for row in rows))
        for minute, rows in enumerate([range(60), range(60, 120), range(120, 150)])
        for first, last in [(100.0 + rows[0], 100.0 + rows[-1])]
    ]
    assert told.fetch("SPY", "1m", EVER[0], told.horizon("SPY", EVER[1])).frame.height == 2, "the third is not over"


def test_a_second_that_cannot_be_spoils_its_minute_only(source):
    stamps = [at("07-01 13:30") + timedelta(seconds=second) for second in range(120)]
    spoiled = bars(stamps).with_columns(
        high=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("high"),
        low=pl.when(pl.int_range(pl.len()) == 70).then(float("nan")).otherwise("low"),
    )
    minutes = source(spoiled, interval="1s").fetch("SPY", "1m", *EVER).frame
    assert minutes["close"].is_null().to_list() == [True, False]
    assert minutes["low"].is_nan().to_list() == [False, True]
