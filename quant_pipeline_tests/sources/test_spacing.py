"""How far bars are apart: what passes for the declared interval, and what is refused with the setting that fits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.bars.sessions import session_table
from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import DataError
from quant_pipeline.sources.spacing import check_spacing

START = datetime(2025, 7, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def every(step: timedelta, count: int, start: datetime = START) -> pl.Series:
    return pl.Series([start + step * row for row in range(count)], dtype=pl.Datetime("us", "UTC"))


def check(opened: pl.Series, interval: str = "1m") -> None:
    check_spacing(opened, interval, FileFormat(interval=interval).length, "f.csv")


def sessions(calendar: str, step: str) -> pl.Series:
    spans = session_table(calendar, START, START + timedelta(days=60)).rows()
    return pl.concat(pl.datetime_range(*span, step, closed="left", eager=True, time_unit="us") for span in spans)


@pytest.mark.parametrize(
    ("seconds", "found"),
    [(1, "1s"), (5, "5s"), (30, "30s"), (120, "2m"), (300, "5m"), (420, "7m"), (900, "15m"), (3_600, "1h"), (14_400, "4h"),
     (86_400, "1d")],
)  # fmt: skip
@pytest.mark.parametrize("count", [3, 4, 20, 200])
def test_another_length_is_found_and_the_setting_named(seconds, found, count):
    bars = every(timedelta(seconds=seconds), count)
    with pytest.raises(DataError, match=rf"bars {found} apart.*wanted bars 1m apart.*files\.interval: {found}`"):
        check(bars)
    check(bars, found)


@pytest.mark.parametrize("declared", ["5m", "1h", "1d", "1s"])
def test_what_is_declared_and_is_not_so_is_refused(declared):
    with pytest.raises(DataError, match=rf"bars 15m apart.*wanted bars {declared} apart"):
        check(every(15 * MINUTE, 100), declared)


@pytest.mark.parametrize("calendar", ["NYSE", "CMEGlobex_GC", "24/7", "XTKS"])
@pytest.mark.parametrize("interval", ["1m", "30m", "1h", "2h"])
def test_sessions_with_nights_and_weekends_are_what_they_are(calendar, interval):
    opened = sessions(calendar, interval)
    check(opened, interval)
    with pytest.raises(DataError, match="apart"):
        check(opened, "5m")


def test_days_of_a_local_clock_are_days():
    local = pl.datetime_range(START.replace(tzinfo=None), datetime.fromisoformat("2026-07-01"), "1d", eager=True, time_unit="us")
    check(local.dt.replace_time_zone("Europe/Berlin").dt.convert_time_zone("UTC"), "1d")


@given(st.floats(0.02, 1), st.integers(0, 2**32))
def test_thin_trading_is_no_longer_interval(share, seed):
    """Minutes in which somebody trades, one in fifty or all of them."""
    traded = np.random.default_rng(seed).random(20_000) < share
    check(every(MINUTE, 20_000).filter(pl.Series(traded)))


@given(st.integers(0, 2**32))
def test_outages_duplicates_and_disorder_change_nothing(seed):
    random = np.random.default_rng(seed)
    rows = np.r_[0:2_000, 9_000:9_100, 30_000:32_000]
    check(every(MINUTE, 32_000).gather(random.permutation(np.r_[rows, rows[:300]])))


@pytest.mark.parametrize("older", [timedelta(hours=1), timedelta(days=1)])
def test_a_file_that_begins_with_longer_bars_is_refused_with_the_place(older):
    mixed = pl.concat([every(older, 120, START - 120 * older), every(MINUTE, 50_000)])
    with pytest.raises(DataError, match=r"bars 1[hd] apart \(50 of 50 distances"):
        check(mixed)


@pytest.mark.parametrize("count", [25, 40])
@pytest.mark.parametrize("minutes", [203, 230])
@pytest.mark.parametrize("length", [timedelta(minutes=5), timedelta(hours=1)])
def test_a_file_that_ends_in_longer_bars_is_refused_however_few(count, minutes, length):
    first = every(MINUTE, minutes)
    found = rf"bars (5m|1h) apart \({count} of {count} distances, from {first[-1]:%Y-%m-%d %H:%M} UTC"
    with pytest.raises(DataError, match=found):
        check(pl.concat([first, every(length, count, first[-1] + length)]))


def test_seconds_in_the_middle_of_minutes_are_refused():
    inside = every(timedelta(seconds=1), 600, START + timedelta(days=3))
    with pytest.raises(DataError, match=r"bars 1s apart .*from 2025-07-0[34]"):
        check(pl.concat([every(MINUTE, 4_320), inside, every(MINUTE, 4_000, START + timedelta(days=4))]))


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_to_tell(rows):
    check(every(MINUTE, rows))


def test_weeks_and_months_are_no_intervals_of_files():
    with pytest.raises(DataError, match=r"bars 7d apart.*may name \(up to 1d\)"):
        check(every(timedelta(days=7), 30))
