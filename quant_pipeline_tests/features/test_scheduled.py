"""Nothing that nobody foresaw is in a feature that looks ahead on the calendar."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from unittest import mock
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from quant_pipeline.bars import sessions
from quant_pipeline.bars.moments import microseconds
from quant_pipeline.features import calendar as calendar_module
from quant_pipeline.features import scheduled
from quant_pipeline.features.calendar import MINUTE, decision_columns
from quant_pipeline.features.registry import specs

AHEAD = ("session_holiday_tomorrow", "session_is_half_day", "minutes_to_close")


def encoded(calendar, moments):
    at = pl.Series("timestamp", moments, dtype=pl.Datetime("us", "UTC"))
    inside = sessions.with_sessions(pl.DataFrame({"timestamp": at - timedelta(minutes=1)}), calendar).with_columns(decision_at=at)
    columns = decision_columns(inside.filter(pl.col("session_open").is_not_null()), calendar)
    return {spec.name: spec.function(columns) for spec in specs(("calendar",))}


def at_noon(calendar, *days: str):
    """What looks ahead, at 12:00 in New York of each day."""
    noon = [datetime.combine(date.fromisoformat(day), time(12), ZoneInfo("America/New_York")).astimezone(UTC) for day in days]
    found = [encoded(calendar, [moment]) for moment in noon]
    return [tuple(features[name][0] for name in AHEAD) for features in found]


@pytest.mark.parametrize(
    ("eve", "ordinary"),
    [
        ("2001-09-10", "2001-08-27"), ("2012-10-26", "2012-10-19"), ("2018-12-04", "2018-11-27"), ("2025-01-08", "2025-01-15"),
        ("2004-06-10", "2004-06-17"), ("1994-04-26", "1994-04-19"), ("1985-09-26", "1985-09-19"), ("2001-09-17", "2001-08-27"),
    ],
)  # fmt: skip
def test_the_eve_of_an_unforeseen_closure_is_an_ordinary_day(eve, ordinary):
    assert at_noon("NYSE", eve) == at_noon("NYSE", ordinary)


@pytest.mark.parametrize("day", ["1997-10-27", "2005-06-01", "1996-01-08", "1994-02-11", "1987-10-23", "2020-03-09"])
def test_an_unforeseen_early_close_is_not_known_before(day):
    week_after = str(date.fromisoformat(day) + timedelta(days=7))
    if day == "1994-02-11":  # a Friday before a holiday a week later
        week_after = "1994-02-25"
    if day == "1996-01-08":
        week_after = "1996-01-22"
    if day == "1987-10-23":  # closed early for three weeks
        week_after = "1987-10-16"
    assert at_noon("NYSE", day) == at_noon("NYSE", week_after)


def test_what_recurs_is_known():
    found = at_noon("NYSE", "2024-11-27", "2024-11-29", "2024-12-24", "2007-07-03", "2025-04-17")
    assert [row[:2] for row in found] == [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
    assert [row[2] * 1_440 for row in found] == pytest.approx([240, 60, 60, 60, 240])
    globex = at_noon("CMEGlobex_GC", "2025-11-28", "2025-07-04", "2025-04-17", "2010-12-31")
    assert [row[:2] for row in globex] == [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]


CALENDARS = ("NYSE", "CMEGlobex_GC", "CME_Equity", "ICEUS", "LSE", "XHKG", "XTKS")


@contextmanager
def doctored(calendar, holiday, early, hour):
    """The calendar with one more day without trading and one more early close, while it is open."""
    exchanges = (sessions._calendar(calendar), scheduled.exchange_of(calendar))
    for exchange in exchanges:
        known, ordinary = exchange.get_special_times_adhoc, exchange.holidays()
        holidays = [*pd.DatetimeIndex(np.array(ordinary.holidays, "datetime64[ns]")), pd.Timestamp(holiday)]

        def adhoc(market_time, known=known, exchange=exchange):
            close = (time(hour, tzinfo=exchange.tz), pd.DatetimeIndex([early]))
            return [*known(market_time), *([close] if market_time == "market_close" else [])]

        exchange._special_dates_cache = {}
        exchange._holidays = pd.offsets.CustomBusinessDay(weekmask=exchange.weekmask, holidays=holidays)
        exchange.get_special_times_adhoc = adhoc

    def uncached(function):
        return lambda name, year: (function.__wrapped__ if name == calendar else function)(name, year)

    with (
        mock.patch.object(sessions, "_year", uncached(sessions._year)),
        mock.patch.object(calendar_module, "days_of", uncached(scheduled.days_of)),
    ):
        yield
    for exchange in exchanges:
        del exchange.get_special_times_adhoc, exchange._holidays
        exchange._special_dates_cache = {}


weekdays = st.integers(0, 280).map(lambda day: date(2024, 1, 8) + timedelta(days=7 * (day // 5) % 350 + day % 5))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calendar=st.sampled_from(CALENDARS), holiday=weekdays, early=weekdays, hour=st.integers(11, 14))
@example(calendar="XHKG", holiday=date(2024, 1, 9), early=date(2024, 1, 8), hour=13)  # as the lunch break ends
@example(calendar="XTKS", holiday=date(2024, 1, 10), early=date(2024, 1, 9), hour=12)  # within it
@example(calendar="CMEGlobex_GC", holiday=date(2024, 1, 16), early=date(2024, 1, 15), hour=11)  # earlier than by rule
def test_an_event_changes_nothing_that_was_encoded_before_it(calendar, holiday, early, hour):
    """Every calendar feature of every hour before a closure or an early close that is planted anywhere has the same bits."""
    zone = sessions._calendar(calendar).tz
    ends = sessions._calendar(calendar).schedule(str(early), str(early))["market_close"]
    assume(ends.empty or datetime.combine(early, time(hour), zone) < ends.iloc[0])  # a rule may close the day before that
    first = min(holiday, early)
    hours = pl.datetime_range(
        datetime.combine(first - timedelta(days=9), time(), UTC), datetime.combine(first + timedelta(days=1), time(), UTC), "1h",
        time_unit="us", eager=True,
    )  # fmt: skip
    # a futures day opens on the evening before; an early close is seen when it has come
    eve = datetime.combine(first, time(), zone) - timedelta(hours=8)
    last = datetime.combine(first, time(hour), zone) if early < holiday else eve
    moments = hours.filter(hours < last.astimezone(UTC)).to_list()
    before = encoded(calendar, moments)
    with doctored(calendar, holiday, early, hour):
        after = encoded(calendar, moments)
    for name, values in before.items():
        assert values.tobytes() == after[name].tobytes(), name


@pytest.mark.parametrize("calendar", [*CALENDARS, "24/7", "24/5", "SIFMA_US", "CME_Bond", "CMEGlobex_Grains", "TASE", "JPX"])
def test_rules_are_days_on_which_the_exchange_was_closed(calendar):
    """On every kind of calendar; what is called closed ahead was closed, and most closures of recent years are known."""
    days = np.concatenate([scheduled.days_of(calendar, year).label for year in (2022, 2023, 2024)])
    assert not np.isin(days, scheduled.holidays_of(calendar)).any()
    for year in (2022, 2024):
        made = scheduled.days_of(calendar, year)
        assert (made.told >= made.close).all()
        closed = sessions.session_table(calendar, datetime(year, 2, 1, tzinfo=UTC), datetime(year, 3, 1, tzinfo=UTC))
        assert set(microseconds(closed["session_close"]) // MINUTE) >= set(
            made.close[(made.label >= np.datetime64(f"{year}-02-02")) & (made.label < np.datetime64(f"{year}-02-28"))] // MINUTE
        )
