from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from quant_pipeline.bars.sessions import _split, _year, is_open, locate, open_time_between, session_table, with_sessions
from quant_pipeline.errors import DataError

CALENDARS = st.sampled_from(["24/7", "NYSE", "CMEGlobex_GC", "HKEX"])
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2025, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 hypothesis adds the zone


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def series(*stamps: datetime | None) -> pl.Series:
    return pl.Series("timestamp", stamps, dtype=pl.Datetime("us", "UTC"))


def test_always_open_means_utc_days():
    table = session_table("24/7", utc(2025, 3, 29, 12), utc(2025, 3, 31))
    assert table.rows() == [(utc(2025, 3, 29), utc(2025, 3, 30)), (utc(2025, 3, 30), utc(2025, 3, 31))]


def test_new_york_follows_daylight_saving_holidays_and_early_closes():
    march = session_table("NYSE", utc(2025, 3, 7), utc(2025, 3, 11))
    assert march.rows() == [(utc(2025, 3, 7, 14, 30), utc(2025, 3, 7, 21)), (utc(2025, 3, 10, 13, 30), utc(2025, 3, 10, 20))]
    thanksgiving = session_table("NYSE", utc(2025, 11, 27), utc(2025, 11, 29))
    assert thanksgiving.rows() == [(utc(2025, 11, 28, 14, 30), utc(2025, 11, 28, 18))]


def test_gold_closes_for_an_hour_every_day_and_opens_on_sunday_evening():
    table = session_table("CMEGlobex_GC", utc(2025, 6, 6), utc(2025, 6, 10))
    assert table.rows() == [
        (utc(2025, 6, 5, 22), utc(2025, 6, 6, 21)),
        (utc(2025, 6, 8, 22), utc(2025, 6, 9, 21)),
        (utc(2025, 6, 9, 22), utc(2025, 6, 10, 21)),
    ]


def test_a_lunch_break_makes_two_sessions_and_an_abolished_break_none():
    hong_kong = session_table("HKEX", utc(2025, 1, 2), utc(2025, 1, 3))
    assert hong_kong.rows() == [(utc(2025, 1, 2, 1, 30), utc(2025, 1, 2, 4)), (utc(2025, 1, 2, 5), utc(2025, 1, 2, 8))]
    assert len(session_table("CME_Equity", utc(2024, 12, 23, 12), utc(2024, 12, 23, 23))) == 1


@pytest.mark.parametrize(
    ("closes", "sessions"),
    [(16, [(9, 12), (13, 16)]), (13, [(9, 12)]), (12.5, [(9, 12)]), (12, [(9, 12)]), (11, [(9, 11)])],
)
def test_a_day_that_closes_early_during_its_lunch_break_has_a_morning_alone(closes, sessions):
    day = [np.array([hour * 60]) for hour in (9, 12, 13, closes)]
    opens, ends = _split(*day)
    assert list(zip(opens / 60, ends / 60, strict=True)) == sessions


def test_a_session_that_opens_in_the_old_year_belongs_to_both_years():
    table = session_table("CMEGlobex_CL", utc(2024, 12, 31, 12), utc(2025, 1, 2, 1))
    assert table["session_open"].to_list() == [utc(2024, 12, 30, 23), utc(2025, 1, 1, 23)]


def test_overlap_is_half_open():
    day = utc(2025, 6, 2, 13, 30), utc(2025, 6, 2, 20)
    assert session_table("NYSE", day[1], utc(2025, 6, 3, 13, 30)).is_empty()
    assert is_open("NYSE", day[0])
    assert not is_open("NYSE", day[1])
    assert not is_open("NYSE", utc(2025, 6, 1, 15))


@pytest.mark.parametrize("start", [utc(1969, 1, 1), utc(2099, 12, 1)])
def test_a_span_that_the_calendar_does_not_know_is_refused(start):
    with pytest.raises(DataError, match=r"calendar 'NYSE'.*1970-01-01 to 2100-01-01"):
        session_table("NYSE", start, start + timedelta(days=90))


def test_an_exchange_that_announces_its_holidays_so_far_only_says_so():
    with pytest.raises(DataError, match=r"'XHKG'.*to 2050-01-01"):
        session_table("XHKG", utc(2049, 12, 1), utc(2050, 2, 1))


def test_wrong_arguments_are_refused():
    with pytest.raises(DataError, match="without a time zone"):
        session_table("NYSE", datetime(2025, 1, 1), utc(2025, 1, 2))  # noqa: DTZ001 the error under test
    with pytest.raises(DataError, match="before start"):
        open_time_between("NYSE", utc(2025, 1, 2), utc(2025, 1, 1))
    with pytest.raises(DataError, match=r"'NYSEE'.*such as NYSE"):
        is_open("NYSEE", utc(2025, 1, 2))


def test_a_caller_cannot_spoil_the_cache():
    with pytest.raises(ValueError, match="read-only"):
        _year("NYSE", 2025)[0][0] = 0
    first = session_table("NYSE", utc(2025, 6, 2), utc(2025, 6, 3))
    first[0, "session_open"] = utc(1999, 1, 1)
    assert session_table("NYSE", utc(2025, 6, 2), utc(2025, 6, 3))[0, "session_open"] == utc(2025, 6, 2, 13, 30)


def test_the_closing_moment_lies_outside():
    table = session_table("NYSE", utc(2025, 6, 2), utc(2025, 6, 3))
    assert locate(table, series(utc(2025, 6, 2, 13, 30), utc(2025, 6, 2, 19, 59), utc(2025, 6, 2, 20))).tolist() == [0, 0, -1]


@settings(max_examples=60, deadline=None)
@given(calendar=CALENDARS, one=MOMENTS, length=st.integers(0, 40 * 24 * 60))
def test_a_span_holds_the_sessions_of_a_longer_one_that_overlap_it(calendar, one, length):
    start, end = one, min(one + timedelta(minutes=length), utc(2026, 1, 1))
    every = session_table(calendar, utc(2023, 12, 1), utc(2026, 2, 1))
    wanted = [(a, b) for a, b in every.iter_rows() if a < end and b > start]
    assert session_table(calendar, start, end).rows() == wanted
    opens, closes = every["session_open"], every["session_close"]
    assert (closes > opens).all()
    assert (opens[1:] >= closes[:-1]).all()


@settings(max_examples=60, deadline=None)
@given(calendar=CALENDARS, stamps=st.lists(MOMENTS | st.none(), max_size=20))
def test_rows_are_located_as_by_hand(calendar, stamps):
    table = session_table(calendar, utc(2024, 1, 1), utc(2026, 1, 1))
    spans = table.rows()

    def row_of(stamp):
        return next((i for i, (a, b) in enumerate(spans) if stamp is not None and a <= stamp < b), -1)

    wanted = [row_of(stamp) for stamp in stamps]
    found = locate(table, series(*stamps))
    assert found.dtype == np.int64
    assert found.tolist() == wanted
    bars = with_sessions(pl.DataFrame([series(*stamps)]), calendar)
    assert bars.select("session_open", "session_close").rows() == [spans[i] if i >= 0 else (None, None) for i in wanted]


@settings(max_examples=60, deadline=None)
@given(calendar=CALENDARS, one=MOMENTS, other=MOMENTS)
def test_open_time_is_the_sum_of_the_open_pieces(calendar, one, other):
    start, end = sorted((one, other))
    pieces = [min(b, end) - max(a, start) for a, b in session_table(calendar, start, end).iter_rows()]
    assert open_time_between(calendar, start, end) == sum(pieces, timedelta())


def test_open_time_skips_a_weekend():
    assert open_time_between("CMEGlobex_GC", utc(2025, 6, 6, 20, 30), utc(2025, 6, 8, 22, 15)) == timedelta(minutes=45)


def test_no_rows_have_no_sessions():
    empty = with_sessions(pl.DataFrame([series()]), "NYSE")
    assert empty.schema == dict.fromkeys(("timestamp", "session_open", "session_close"), pl.Datetime("us", "UTC"))
    assert locate(session_table("NYSE", utc(2025, 6, 1), utc(2025, 6, 1)), series(utc(2025, 6, 2, 15))).tolist() == [-1]
