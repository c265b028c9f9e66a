"""Decision moments against bars made of every minute of the calendar, and their stability between closes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.resample import resample
from quant_pipeline.bars.schema import RUNG_SCHEMA
from quant_pipeline.bars.sessions import is_open, session_table
from quant_pipeline.inference import schedule
from quant_pipeline.inference.schedule import decision_moments, decision_time, next_open

CALENDARS = ["24/7", "NYSE", "CMEGlobex_GC", "CME_Equity"]
START = datetime(2024, 11, 20, tzinfo=UTC)  # Thanksgiving, an early close and Christmas follow


def every_minute(calendar, start, end):
    rows = []
    for opened, closed in session_table(calendar, start, end).iter_rows():
        at = opened
        while at < closed:
            rows.append((at, 1.0, 1.0, 1.0, 1.0, None, opened, closed, min(at + timedelta(minutes=1), closed), 1, True))
            at += timedelta(minutes=1)
    return pl.DataFrame(rows, schema=RUNG_SCHEMA, orient="row")


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("primary", ["15m", "45m", "1h", "4h", "1d", "1w"])
def test_moments_are_the_closes_of_bars_made_of_every_minute(calendar, primary):
    start, end = datetime(2024, 11, 25, tzinfo=UTC), datetime(2024, 12, 10, tzinfo=UTC)
    bars = resample(every_minute(calendar, START - timedelta(days=12), end), primary)
    wanted = bars["known_at"].filter((bars["known_at"] >= start) & (bars["known_at"] <= end))
    assert decision_moments(calendar, primary, start, end) == wanted.to_list()


@settings(max_examples=60, deadline=None)
@given(calendar=st.sampled_from(CALENDARS), minutes=st.integers(0, 60 * 24 * 60), primary=st.sampled_from(["15m", "1h", "1d"]))
def test_a_decision_lasts_until_the_next_one(calendar, minutes, primary):
    as_of = START + timedelta(minutes=minutes)
    decided = decision_time(calendar, primary, as_of)
    assert decided <= as_of
    assert decision_time(calendar, primary, decided) == decided
    later = decision_moments(calendar, primary, decided, as_of + timedelta(days=8))
    assert later[0] == decided
    assert later[1] > as_of
    opened = next_open(calendar, primary, decided)
    assert is_open(calendar, opened)
    assert opened >= decided
    assert opened < later[1]


def test_friday_evening_is_decided_on_saturday_and_filled_on_sunday():
    saturday = datetime(2026, 11, 21, 12, 5, tzinfo=UTC)
    decided = decision_time("CMEGlobex_GC", "1h", saturday)
    assert decided == datetime(2026, 11, 20, 22, tzinfo=UTC)
    assert next_open("CMEGlobex_GC", "1h", decided) == datetime(2026, 11, 22, 23, tzinfo=UTC)


def test_new_york_is_decided_on_the_half_hour_and_at_the_close():
    moments = decision_moments("NYSE", "1h", datetime(2024, 11, 29, tzinfo=UTC), datetime(2024, 11, 30, tzinfo=UTC))
    assert [f"{at:%H:%M}" for at in moments] == ["15:30", "16:30", "17:30", "18:00"]


def test_what_is_asked_within_a_day_is_made_once(monkeypatch):
    """The schedule asks for every symbol at every tick of five minutes."""
    made = []
    monkeypatch.setattr(schedule, "resample", lambda bars, primary: made.append(primary) or resample(bars, primary))
    schedule._whole_days.cache_clear()
    for step in range(12):
        decision_moments("CMEGlobex_GC", "1h", START, START + timedelta(days=7, minutes=5 * step))
    assert made == ["1h"]


def test_the_end_of_a_calendar_has_no_next_open():
    assert next_open("24/7", "1h", datetime(2099, 12, 31, 23, tzinfo=UTC)) is None
