"""The span of moments that a told time may mean: it always holds the true one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.sources.news.times import told_time
from quant_pipeline.sources.news.zones import ABBREVIATIONS, EAST, WEST

FORMS = (
    "%a, %d %b %Y %H:%M:%S", "%d %b %y %H:%M:%S", "%A, %d %B %Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S", "%B %d, %Y %I:%M:%S %p", "%d-%b-%Y %H:%M:%S",
)  # fmt: skip
locals_ = st.integers(0, 69 * 365 * 86_400).map(lambda seconds: datetime(1980, 1, 1) + timedelta(seconds=seconds))  # noqa: DTZ001
moments = st.integers(1_000_000_000, 2_500_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
words = st.from_regex(r"[A-Z]{3,5}", fullmatch=True).filter(lambda word: word not in ABBREVIATIONS and word not in {"AM", "PM"})


def utc(local, hours):
    return (local - timedelta(hours=hours)).replace(tzinfo=UTC)


@given(local=locals_, form=st.sampled_from(FORMS), word=st.sampled_from(sorted(ABBREVIATIONS)))
def test_every_meaning_of_an_abbreviation_is_inside(local, form, word):
    told = told_time(f"{local.strftime(form)} {word}")
    for hours in ABBREVIATIONS[word]:
        assert told.earliest <= utc(local, hours) <= told.latest


@given(local=locals_, form=st.sampled_from(FORMS), word=words | st.just(""), hours=st.floats(WEST, EAST))
def test_an_unknown_zone_may_be_any(local, form, word, hours):
    told = told_time(f"{local.strftime(form)} {word}")
    assert told.earliest <= utc(local, hours) <= told.latest
    assert told.vague
    assert told.zoned == bool(word)


@given(local=locals_, form=st.sampled_from(FORMS), minutes=st.integers(-12 * 60, 14 * 60), zoned=st.booleans())
def test_an_offset_is_one_moment_unless_it_is_midnight(local, form, minutes, zoned):
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    told = told_time(f"{local.strftime(form)} {sign}{hours:02}:{rest:02}", "Asia/Tokyo" if zoned else None)
    moment = utc(local, minutes / 60)
    assert told.earliest == moment
    assert told.latest == moment or (told.whole_day and moment < told.latest <= moment + timedelta(days=1))


@given(
    at=moments | st.integers(0, 4 * 3_600).map(lambda second: datetime(2026, 11, 1, 4, tzinfo=UTC) + timedelta(seconds=second))
)
def test_a_named_zone_holds_both_hours_of_a_clock_change(at):
    at = at.astimezone(ZoneInfo("America/New_York"))
    told = told_time(at.strftime("%Y-%m-%d %H:%M:%S.%f"), "America/New_York")
    assert told.earliest <= at.astimezone(UTC) <= told.latest
    assert told.zoned


@given(
    local=locals_, hours=st.floats(WEST, EAST), form=st.sampled_from(["%Y-%m-%d", "%a, %d %b %Y", "%Y%m%d", "%Y-%m-%dT00:00:00"])
)
def test_a_date_holds_its_whole_day(local, hours, form):
    told = told_time(local.strftime(form))
    assert told.earliest <= utc(local, hours) < told.latest
    assert told.whole_day


@given(at=moments, unit=st.sampled_from([1, 10**3, 10**6]))
def test_epochs_of_any_unit(at, unit):
    for text in (str(int(at.timestamp()) * unit), format_datetime(at)):
        assert told_time(text).earliest == at


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "45000.5", "638000000000000000", "0", "2027-13-45", "2025-02-30", "2026-11-20 25:00", "2026-11-20T12",
        "2026-11", "20/11/2026 12:00", "11/20/2026", "2026-11-20 12:00 +2500", "2026-11-20 12:00 Mars/Base",
        "2026-11-20 13:00 PM", "1026-11-20", "2199-11-20", "99999999999999999999", "2026-11-20 12:61", "20 Foo 2026",
        "١٢٣٤٥٦٧٨٩٠",
    ],
)  # fmt: skip
def test_what_fits_no_form_is_no_time(text):
    assert told_time(text) is None


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text):
    told = told_time(text)
    assert told is None or told.earliest <= told.latest


def test_twelve_hours_and_halves():
    found = [told_time(f"July 1st, 2025 at {clock} EDT").latest for clock in ("12:30 a.m.", "1:30 PM", "12:30 pm", "1:30AM")]
    assert [at.strftime("%H:%M") for at in found] == ["04:30", "17:30", "16:30", "05:30"]
