"""The user's own macro files: what they may look like, and what is refused because it would be look-ahead."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time

import pytest

from quant_pipeline.config.macro_series import PUBLICATIONS
from quant_pipeline.errors import ConfigError, DataError, SourceError
from quant_pipeline.sources.base import RELEASES_SCHEMA, MacroSource
from quant_pipeline.sources.macro.files import MacroFiles

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
CPI = "period,value,released_at\n2024-01,308.417,2024-02-13\n2024-01,308.5,2024-03-12\n2024-02,310.326,2024-03-12\n"


def read(folder, text, name="CPIAUCSL", **settings: object):
    (folder / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return MacroFiles(folder, **settings).releases(*ALWAYS)


def told(frame):
    return [(f"{at:%Y-%m-%d %H:%M}", value, number) for at, value, number in frame.select("known_at", "value", "revision").rows()]


def test_a_date_counts_from_its_end_in_new_york(tmp_path):
    found = read(tmp_path, CPI)
    assert isinstance(MacroFiles(tmp_path), MacroSource)
    assert found.schema == RELEASES_SCHEMA
    assert told(found) == [("2024-02-14 05:00", 308.417, 0), ("2024-03-13 04:00", 308.5, 1), ("2024-03-13 04:00", 310.326, 0)]
    assert [str(day) for day in found["period"]] == ["2024-01-01", "2024-01-01", "2024-02-01"]


def test_a_clock_time_counts_as_it_is_written(tmp_path):
    assert told(read(tmp_path, CPI, hours={"CPIAUCSL": time(8, 30)}))[1][0] == "2024-03-12 12:30"
    moment = "period,value,released_at\n2024-01-01,308.417,2024-02-13T08:30:00-05:00\n"
    assert told(read(tmp_path, moment, hours={"CPIAUCSL": time(10)})) == [("2024-02-13 13:30", 308.417, 0)]


def test_a_file_without_release_dates_needs_a_lag(tmp_path):
    text = "date,value\n2024-01-01,308.417\n"
    with pytest.raises(ConfigError, match=r"no release dates.*macro\.lag_days\.CPIAUCSL: used on the date.*look-ahead"):
        read(tmp_path, text)
    assert told(read(tmp_path, text, lag_days={"CPIAUCSL": 75})) == [("2024-03-17 04:00", 308.417, 0)]
    (tmp_path / "others").mkdir()
    assert told(read(tmp_path / "others", text, "OTHER", lag_days={"OTHER": 45})) == [("2024-02-16 05:00", 308.417, 0)]
    with pytest.raises(ConfigError, match="found -1"):
        read(tmp_path / "others", text, "OTHER", lag_days={"OTHER": -1})


@pytest.mark.parametrize(
    ("series", "period", "released"),
    [
        ("CPIAUCSL", "2025-09-01", "2025-10-24"), ("CPIAUCSL", "2013-09-01", "2013-10-30"),
        ("CPIAUCSL", "1995-12-01", "1996-02-01"), ("PAYEMS", "2025-09-01", "2025-11-20"),
        ("UNRATE", "2025-09-01", "2025-11-20"), ("PAYEMS", "2025-10-01", "2025-12-16"),
        ("CPIAUCSL", "2025-11-01", "2025-12-18"), ("ICSA", "2025-09-27", "2025-11-20"), ("DGS10", "2012-10-26", "2012-10-31"),
        ("DGS2", "2024-03-28", "2024-04-01"), ("DGS30", "2001-09-10", "2001-09-13"), ("FEDFUNDS", "2023-12-01", "2024-01-02"),
    ],
)  # fmt: skip
def test_no_lag_that_is_accepted_is_shorter_than_a_delay_that_occurred(tmp_path, series, period, released):
    """The CPI of September 2025 came out on 2025-10-24: with 45 days it was known a week before it existed."""
    safe, text = PUBLICATIONS[series].lag_days, f"observation_date,{series}\n{period},4.36\n"
    (known,) = read(tmp_path, text, series, lag_days={series: safe})["known_at"]
    assert known > datetime.fromisoformat(f"{released}T16:15-05:00")
    for days in range(safe):
        with pytest.raises(
            ConfigError, match=rf"macro\.lag_days\.{series}: found {days} days, wanted {safe} days or more"
        ) as error:
            read(tmp_path, text, series, lag_days={series: days})
        assert PUBLICATIONS[series].because in str(error.value)
        assert f"set {safe}, or add vintages with released_at" in str(error.value)


@pytest.mark.parametrize(
    ("series", "row", "wrong"),
    [
        ("CPIAUCSL", "2024-01,1,2024-01-30", True), ("CPIAUCSL", "2024-01-01,1,2024-01-31", False),
        ("CPIAUCSL", "2024-01-01,1,2024-01-31T23:59:00-05:00", True),
        ("CPIAUCSL", "2024-01-01,1,2024-02-01T00:00:00-05:00", False),
        ("CPIAUCSL", "2024-01-01,1,2024-02-01T03:00:00+00:00", True), ("ICSA", "2025-06-07,1,2025-06-06", True),
        ("ICSA", "2025-06-07,1,2025-06-07", False), ("ICSA", "2025-06-01,1,2025-06-05", True),
        ("DGS10", "2025-06-05,1,2025-06-04", True), ("DGS10", "2025-06-05,1,2025-06-05", False),
        ("DGS10", "2025-06-05,1,2025-06-05T09:30:00-04:00", True),
        ("OTHER", "2025-06,1,2025-06-29", True), ("OTHER", "2025-06-01,1,2025-06-29", False),
    ],
)  # fmt: skip
def test_a_release_before_the_end_of_its_period_is_refused(tmp_path, series, row, wrong):
    text = f"period,value,released_at\n{row}\n"
    if not wrong:
        assert read(tmp_path, text, series).height == 1
        return
    period, _, released = row.split(",")
    with pytest.raises(
        DataError, match=rf"line 2: found {series} of {period} released on {re.escape(released)}.*which ends on 20"
    ):
        read(tmp_path, text, series)


def test_release_dates_win_over_a_lag(tmp_path):
    assert read(tmp_path, CPI, lag_days={"CPIAUCSL": 1}).equals(read(tmp_path, CPI))


def test_freds_own_download_is_understood(tmp_path):
    found = read(tmp_path, "observation_date,DGS10\n2024-07-03,4.36\n2024-07-04,\n", "DGS10", lag_days={"DGS10": 10})
    assert told(found) == [("2024-07-14 04:00", 4.36, 0), ("2024-07-15 04:00", None, 0)]


@pytest.mark.parametrize("missing", ["", ".", "NaN", " . "])
def test_a_missing_value_is_a_row_without_value(tmp_path, missing):
    text = f"period,value,released_at\n2024-01,{missing},2024-02-13\n2024-01,308.4,2024-02-14\n"
    assert told(read(tmp_path, text)) == [("2024-02-14 05:00", None, 0), ("2024-02-15 05:00", 308.4, 0)]


def test_the_span_is_that_of_the_release(tmp_path):
    read(tmp_path, CPI)
    start, end = datetime(2024, 2, 13, 5, tzinfo=UTC), datetime(2024, 3, 12, 4, tzinfo=UTC)
    assert MacroFiles(tmp_path).releases(start, end)["value"].to_list() == [308.417]


def test_every_file_of_the_folder_is_a_series_unless_some_are_named(tmp_path):
    read(tmp_path, CPI, "UNRATE")
    assert read(tmp_path, CPI)["series"].unique().sort().to_list() == ["CPIAUCSL", "UNRATE"]
    assert read(tmp_path, CPI, series=("UNRATE",))["series"].unique().to_list() == ["UNRATE"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "period,value,released_at\n2024-01,308.4,2024-02-13\n2024-02,about 310,2024-03-12\n",
            r"csv, line 3: value.*'about 310'",
        ),
        ("period,value,released_at\n2024-01,inf,2024-02-13\n", "line 2: value"),
        ("period,value,released_at\n13/01/2024,1,2024-02-13\n", "line 2: period.*'13/01/2024'"),
        ("period,value,released_at\n,1,2024-02-13\n", "line 2: period"),
        ("period,value,released_at\n2024-01,1,\n", "line 2: released_at.*found ''"),
        ("period,value,released_at\n2024-01,1,2024-02-13T08:30\n", "line 2: released_at.*offset"),
        (
            "period,value,released_at\n2024-01,1,2023-12-31\n",
            "released on 2023-12-31.*which ends on 2024-01-31",
        ),
        ("period,value,released_at\n2024-01,1,2024-02-13\n2024-01,2,2024-02-13\n", "1.0 and 2.0 for 2024-01-01"),
        ("month,value,released_at\n2024-01,1,2024-02-13\n", "a column period or date"),
        ("period,index,released_at\n2024-01,1,2024-02-13\n", "a column value or CPIAUCSL"),
        ("", "NoDataError"),
        ("period,value,released_at\n2024-01,1,2024-02-13\xe9\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "CPIAUCSL.csv" in str(caught.value)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="found no CSV file"):
        MacroFiles(tmp_path / "nowhere").releases(*ALWAYS)
    with pytest.raises(SourceError, match=r"DGS10\.csv: found no such file"):
        MacroFiles(tmp_path, ("DGS10",)).releases(*ALWAYS)


def test_equal_lines_count_once(tmp_path):
    assert read(tmp_path, CPI + CPI.partition("\n")[2]).equals(read(tmp_path, CPI))
