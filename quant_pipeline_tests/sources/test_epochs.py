"""Numbers as moments: the unit of each value, and what is refused instead of becoming 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.errors import DataError
from quant_pipeline.sources.clock import to_utc

AT = datetime(2025, 7, 1, 13, 30, tzinfo=UTC)
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MOMENTS = st.datetimes(datetime(1981, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


def count(moment: datetime, unit: str) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * UNITS[unit] // 10**6


@given(st.lists(st.tuples(MOMENTS, st.sampled_from(list(UNITS))), min_size=1, max_size=8))
def test_the_unit_of_each_value_is_its_own(given_rows):
    rows = [(moment.replace(microsecond=0), unit) for moment, unit in given_rows if moment.year not in (1989, 1990)]
    values = [count(moment, unit) for moment, unit in rows]
    wanted = [moment for moment, _ in rows]
    for kind in (pl.Series(values, dtype=pl.Int64), pl.Series(list(map(str, values)), dtype=pl.String)):
        assert to_utc(kind, None, "f").to_list() == wanted


@given(MOMENTS)
def test_microseconds_are_kept_to_the_last_digit(moment):
    assert to_utc(pl.Series([count(moment, "us")]), None, "f").to_list() == [moment]
    assert to_utc(pl.Series([str(count(moment, "us"))]), None, "f").to_list() == [moment]


def test_fractions_of_seconds_and_milliseconds():
    values = [AT.timestamp() + 0.5, (AT.timestamp() + 0.5) * 1_000]
    assert to_utc(pl.Series(values), None, "f").to_list() == [AT + timedelta(milliseconds=500)] * 2
    assert to_utc(pl.Series(["1751376600.25", "1.7513766e9"]), None, "f").to_list() == [AT + timedelta(milliseconds=250), AT]


def test_milliseconds_that_go_on_in_microseconds():
    values = [count(AT, "ms"), count(AT + timedelta(minutes=1), "us"), None]
    assert to_utc(pl.Series(values), None, "f").to_list() == [AT, AT + timedelta(minutes=1), None]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("45839.5625", "an Excel serial date (2025-07-01 13:30)"),
        ("45839", "an Excel serial date (2025-07-01 00:00)"),
        ("638869734000000000", "a count of .NET ticks (2025-07-01 13:30)"),
        ("20250701", 'files.time_format: "%Y%m%d"'),
        ("2025070113", 'files.time_format: "%Y%m%d%H"'),
        ("202507011330", 'files.time_format: "%Y%m%d%H%M"'),
        ("20250701133000", 'files.time_format: "%Y%m%d%H%M%S"'),
        ("133958826000000000", "no such moment in any unit"),  # Windows: 100 ns since 1601
        ("739799.5625", "no such moment in any unit"),  # MATLAB
        ("2460858.0625", "no such moment in any unit"),  # Julian day
        ("250701133000", "no such moment in any unit"),
        ("0", "no such moment in any unit"),
        ("-1", "no such moment in any unit"),
        ("nan", "no such moment in any unit"),
        ("inf", "no such moment in any unit"),
        ("99999999999999999999999", "no such moment in any unit"),
        pytest.param(
            str(int((datetime.now(UTC) + timedelta(days=40)).timestamp())), "no such moment in any unit", id="next month"
        ),
    ],
)
def test_what_counts_nothing_that_can_be_is_refused_with_line_and_forms(value, words):
    with pytest.raises(DataError) as error:
        to_utc(pl.Series(["1751376600", "1751376660", value]), None, "f.csv")
    for word in (words, value, "data row 3 (line 4 of a CSV)", "a moment from 1980-01-01 to", "seconds, milliseconds", "To mend"):
        assert word in str(error.value)
    if value.isdigit() and len(value) < 19:
        with pytest.raises(DataError, match="data row 1"):
            to_utc(pl.Series([int(value)]), None, "f.parquet")
