"""Timestamps of any kind to UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quant_pipeline.bars.moments import UTC_MICROSECONDS
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.sources.clock import to_utc

AT = datetime(2025, 7, 1, 9, 30, tzinfo=UTC)
NAIVE = st.lists(st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2026-01-01")), min_size=1, max_size=5)


@pytest.mark.parametrize(
    "text",
    [
        "2025-07-01 09:30:00Z", "2025-07-01T09:30:00+00:00", "2025-07-01T09:30:00.000000Z", "2025-07-01 05:30:00-04:00",
        "2025-07-01 05:30:00-0400", "2025-07-01 09:30:00+00", "2025-07-01 09:30:00 UTC", "2025/07/01 09:30Z", "20250701T093000Z",
        "1751362200", "1751362200.0", "1751362200000", "1751362200000000", "1751362200000000000", " 1751362200 ",
    ],
)  # fmt: skip
def test_text_that_says_its_zone(text):
    assert to_utc(pl.Series([text, None]), None, "f").to_list() == [AT, None]


@pytest.mark.parametrize(
    "text", ["2025-07-01 05:30", "2025.07.01 05:30:00", "2025/07/01 05:30:00.0", "20250701 053000", "20250701 05:30:00"]
)
def test_text_in_the_zone_of_the_settings(text):
    assert to_utc(pl.Series([text]), "America/New_York", "f").to_list() == [AT]


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_epochs_of_any_unit(unit):
    values = [(int(AT.timestamp()) + 60 * minute) * unit for minute in range(3)]
    wanted = [AT + timedelta(minutes=minute) for minute in range(3)]
    assert to_utc(pl.Series(values), None, "f").to_list() == wanted
    assert to_utc(pl.Series(list(map(str, values))), "Asia/Tokyo", "f").to_list() == wanted, "an epoch is UTC whatever the zone"


def test_offsets_of_summer_and_winter_are_one_zone():
    assert to_utc(pl.Series(["2025-07-01T05:30:00-04:00", "2025-12-01T04:30:00-05:00"]), None, "f")[1] == datetime(
        2025, 12, 1, 9, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("local", ["2025-11-02 01:30", "2025-03-09 02:30"])
def test_local_times_of_the_clock_change_are_refused(local):
    with pytest.raises(DataError, match=rf"{local}:00, which America/New_York has twice or not at all \(1 such rows\)"):
        to_utc(pl.Series([local, "2025-07-01 09:30"]), "America/New_York", "f")


def test_an_unknown_zone():
    with pytest.raises(ConfigError, match=r"files\.timezone.*'Mars/Phobos'"):
        to_utc(pl.Series(["2025-07-01 09:30"]), "Mars/Phobos", "f")


@given(
    NAIVE,
    st.sampled_from(["America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
)
def test_naive_times_against_zoneinfo(moments, zone):
    seconds = [moment.replace(microsecond=0) for moment in moments]
    wanted = [moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for moment in seconds]
    sure = all(
        moment.replace(tzinfo=ZoneInfo(zone), fold=1).astimezone(UTC) == known
        and known.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == moment
        for moment, known in zip(seconds, wanted, strict=True)
    )
    assume(sure)
    for values in (pl.Series(seconds), pl.Series([f"{moment:%Y-%m-%d %H:%M:%S}" for moment in seconds])):
        result = to_utc(values, zone, "f")
        assert result.dtype == UTC_MICROSECONDS
        assert result.to_list() == wanted


@given(
    NAIVE,
    st.integers(-12 * 4, 14 * 4), st.booleans(),
)  # fmt: skip
def test_offset_text_against_datetime(moments, quarters, summer):
    zones = [timezone(timedelta(minutes=15 * quarters + 60 * (summer and number % 2))) for number in range(len(moments))]
    aware = [moment.replace(tzinfo=zone) for moment, zone in zip(moments, zones, strict=True)]
    assert to_utc(pl.Series([moment.isoformat() for moment in aware]), None, "f").to_list() == [
        moment.astimezone(UTC) for moment in aware
    ]
