"""Timestamps of any kind to UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quant_pipeline.bars.moments import UTC_MICROSECONDS
from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import ConfigError, DataError, QuantError
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


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    "value",
    ["1979-12-31 23:59:00Z", "0001-01-01 00:00:00Z", "25-07-01 13:30:00", (NOW + timedelta(days=9)).isoformat()],
    ids=["before 1980", "year 1", "two digits", "next week"],
)
def test_text_of_no_plausible_moment_is_refused(value):
    with pytest.raises(DataError, match=r"data row 2 \(line 3 of a CSV\).*a moment from 1980-01-01 to.*files\.time_format"):
        to_utc(pl.Series([value[:0] + "2025-07-01 13:30:00" + ("Z" if "Z" in value or "+" in value else ""), value]), "UTC", "f")


def test_datetimes_of_a_wrong_unit_are_refused():
    """What pandas makes of whole numbers without a unit: all of a file in January 1970."""
    with pytest.raises(DataError, match="read as 1970-01-21"):
        to_utc(pl.Series([1_751_376_600_000_000]).cast(pl.Datetime("ns", "UTC")), None, "f")


@pytest.mark.parametrize(
    ("text", "form", "wanted"),
    [
        ("01.07.2025 13:30:00.000", "%d.%m.%Y %H:%M:%S.%f", AT + timedelta(hours=4)),
        ("01.07.2025 13:30:00.250", "%d.%m.%Y %H:%M:%S.%f", AT + timedelta(hours=4, milliseconds=250)),
        ("07/01/2025 01:30 PM", "%m/%d/%Y %I:%M %p", AT + timedelta(hours=4)),
        ("202507011330", "%Y%m%d%H%M", AT + timedelta(hours=4)),
        ("20250701133005", "%Y%m%d%H%M%S", AT + timedelta(hours=4, seconds=5)),
        ("20250701", "%Y%m%d", datetime(2025, 7, 1, tzinfo=UTC)),
        ("25-07-01 13:30", "%y-%m-%d %H:%M", AT + timedelta(hours=4)),
        ("1 Jul 2025 13:30:00", "%d %b %Y %H:%M:%S", AT + timedelta(hours=4)),
        ("2025-07-01 15:30:00 +0200", "%Y-%m-%d %H:%M:%S %z", AT + timedelta(hours=4)),
    ],
)
def test_a_format_that_is_said(text, form, wanted):
    assert to_utc(pl.Series([text, None]), "UTC", "f", time_format=form).to_list() == [wanted, None]
    if text.isdigit():
        assert to_utc(pl.Series([int(text)]), "UTC", "f", time_format=form).to_list() == [wanted]


@pytest.mark.parametrize("mark", ["Z", " UTC", " GMT"])
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_a_zone_that_the_times_carry_is_never_another(mark, zone):
    read = to_utc(pl.Series([f"01/07/2025 13:30{mark}"]), zone, "x.csv", time_format=f"%d/%m/%Y %H:%M{mark}")
    assert read.to_list() == [datetime(2025, 7, 1, 13, 30, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["01.07.25 13:30", "25-07-01 13:30"])
def test_the_setting_for_years_of_two_digits_is_named_and_reads_them(text):
    with pytest.raises(DataError) as told:
        to_utc(pl.Series([text]), "UTC", "x.csv")
    forms = re.findall(r'"(%[^"]+)"', str(told.value))
    read = [to_utc(pl.Series([text]), "UTC", "x.csv", time_format=form)[0] for form in forms]
    assert datetime(2025, 7, 1, 13, 30, tzinfo=UTC) in read


def test_a_format_reads_nothing_else():
    with pytest.raises(DataError, match=r"line 3.*'2025-07-01 13:31'.*a time written %d\.%m\.%Y %H:%M"):
        to_utc(pl.Series(["01.07.2025 13:30", "2025-07-01 13:31"]), "UTC", "f", time_format="%d.%m.%Y %H:%M")


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("01.07.2025 13:30:00.000", ("%d.%m.%Y %H:%M:%S.%f", "%m.%d.%Y %H:%M:%S.%f")),
        ("01.07.2025", ('"%d.%m.%Y"', '"%m.%d.%Y"')),
        ("13/07/25 09:30:00", ("%d/%m/%y %H:%M", "%y/%m/%d %H:%M")),
    ],
)
def test_the_setting_for_days_first_is_named(text, formats):
    with pytest.raises(DataError, match=r"files\.time_format") as error:
        to_utc(pl.Series([text]), "UTC", "f")
    for form in formats:
        assert form in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "09/13/2025 12:00:00 AM", "09/13/2025 00:00", "13.09.2025 00:00:00.000 GMT+0000", "9/13/2025 9:30PM",
        "13-Sep-2025 09:30", "2025-09-13 12:00:00 AM", "2025/9/13, 12:00 PM", "13/09/2025T00:00:00+02:00",
    ],
)  # fmt: skip
def test_a_format_that_is_told_reads_the_time(text):
    with pytest.raises(DataError, match=r"files\.time_format") as error:
        to_utc(pl.Series([text] * 2), "UTC", "f")
    (form,) = re.findall(r'"(.+?)"', str(error.value))
    settings = FileFormat.parse({"time_format": form}, "files")
    assert to_utc(pl.Series([text]), "UTC", "f", time_format=settings.time_format)[0].date().isoformat()[:8] == "2025-09-"
    with pytest.raises(DataError, match=re.escape(f'"{form}"')):
        to_utc(pl.Series([text]), "UTC", "f", time_format="%d|%m|%Y %H:%M")


@given(
    st.lists(st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2026-01-01")), min_size=1, max_size=5),
    st.integers(-12, 12),
)
def test_a_broker_clock_beside_new_york(moments, hours):
    zone = ZoneInfo("America/New_York")
    local = [moment.replace(microsecond=0, tzinfo=zone) for moment in moments]
    sure = [at for at in local if at.replace(fold=1).utcoffset() == at.utcoffset()]
    written = [at.replace(tzinfo=None) + timedelta(hours=hours) for at in sure]
    read = to_utc(pl.Series(written, dtype=pl.Datetime("us")), f"America/New_York{hours:+d}h", "f")
    assert read.to_list() == [at.astimezone(UTC) for at in sure]


def test_midnight_of_the_broker_is_five_in_the_afternoon_of_new_york():
    text = pl.Series(["2025-07-01 00:00", "2025-12-02 00:00", "2025-03-17 00:00"])  # between the two changes of clocks, too
    assert [at.hour for at in to_utc(text, "America/New_York+7h", "f")] == [21, 22, 21]
    assert [at.hour for at in to_utc(text, "Europe/Athens", "f")] == [21, 22, 22]


@pytest.mark.parametrize("zone", ["New York+7h", "America/New_York+7", "+7h", "UTC+x", "UTC+99h", "America/New_York-15h", ""])
def test_a_broker_clock_that_is_none(zone):
    with pytest.raises(ConfigError, match=r"files\.timezone.*America/New_York\+7h"):
        to_utc(pl.Series(["2025-07-01 09:30"]), zone, "f")


@pytest.mark.parametrize(
    ("form", "text"), [("%Y%m%d%H", "2025070113"), ("%Y-%m-%d %I %p", "2025-07-01 01 PM"), ("%d.%m.%Y %H", "01.07.2025 13")]
)
def test_a_format_may_leave_out_the_minutes(form, text):
    read = to_utc(pl.Series([text, None]), "UTC", "SPY.csv", time_format=form)
    assert read.to_list() == [datetime(2025, 7, 1, 13, tzinfo=UTC), None]


@pytest.mark.parametrize("form", ["%Y-%m-%d %I:%M", "%j %Y-%m-%d %q", "%Y-%m-%d %c %!"])
def test_a_format_that_tells_no_time_is_refused_by_name(form):
    with pytest.raises(QuantError, match=r"files\.time_format") as told:
        to_utc(pl.Series(["2025-07-01 01:30"]), "UTC", "SPY.csv", time_format=form)
    assert "\n" not in str(told.value)
