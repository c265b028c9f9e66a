"""The schema of raw bars: what passes, what is converted, and the words of every refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.schema import BARS_SCHEMA, check_bars
from quant_pipeline.errors import DataError

START = datetime(2025, 7, 1, 13, 30, tzinfo=UTC)
GOOD = pl.DataFrame(
    {
        "timestamp": [START + timedelta(minutes=minute) for minute in range(3)],
        "open": [1.0, 2.0, 3.0], "high": [2.0, 3.0, 4.0], "low": [0.5, 1.5, 2.5], "close": [1.5, 2.5, 3.5],
        "volume": [10.0, 0.0, 5.0],
    }
).cast(dict(BARS_SCHEMA))  # fmt: skip


def test_canonical_bars_pass_unchanged():
    assert check_bars(GOOD, "bars").equals(GOOD)


def test_order_of_columns_and_extra_columns():
    odd = GOOD.select(reversed(GOOD.columns)).with_columns(comment=pl.lit("x"))
    assert check_bars(odd, "bars").equals(GOOD)
    assert check_bars(odd, "bars").columns == list(BARS_SCHEMA)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_lossless_conversions(unit):
    other = GOOD.with_columns(
        pl.col("timestamp").dt.cast_time_unit(unit).dt.convert_time_zone("Europe/Athens"),
        pl.col("volume").cast(pl.Int64), pl.col("open").cast(pl.Float32), pl.col("high").cast(pl.Int32).cast(pl.Float64),
    )  # fmt: skip
    assert check_bars(other, "bars").equals(GOOD)


def test_order_repeats_and_bad_values_pass():
    bad = pl.concat([GOOD.reverse(), GOOD]).with_columns(
        open=pl.Series([None, float("nan"), float("inf"), -1.0, 0.0, 1.0]), volume=pl.lit(None)
    )
    assert check_bars(bad, "bars").equals(bad.cast({"volume": pl.Float64}))


def test_no_rows():
    with pytest.raises(DataError, match=r"SPY\.csv: found no rows"):
        check_bars(GOOD.clear(), "SPY.csv")
    assert check_bars(GOOD.clear(), "SPY.csv", allow_empty=True).schema == BARS_SCHEMA


@pytest.mark.parametrize("column", list(BARS_SCHEMA))
def test_a_missing_column_is_named(column):
    with pytest.raises(DataError, match=rf"bars: column '{column}': found only the columns .*files\.columns"):
        check_bars(GOOD.drop(column), "bars")


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_text_where_a_number_should_be(column):
    with pytest.raises(DataError, match=f"bars: column '{column}': found dtype String, such as 'n.a.', wanted a number"):
        check_bars(GOOD.with_columns(pl.Series(column, [None, "n.a.", "1"])), "bars")


@pytest.mark.parametrize(
    ("timestamps", "found"),
    [
        (GOOD["timestamp"].dt.replace_time_zone(None), "2025-07-01 13:30:00 without a time zone"),
        (GOOD["timestamp"].dt.date(), "dtype Date"),
        (GOOD["timestamp"].dt.epoch("s"), "dtype Int64, such as 1751376600"),
        (GOOD["timestamp"].dt.to_string(), "dtype String, such as '2025-07-01 13:30:00"),
        (pl.Series("timestamp", [START, "2025-07-01", START], dtype=pl.Object), "dtype Object"),
    ],
)
def test_timestamps_that_are_none(timestamps, found):
    with pytest.raises(DataError, match=f"bars: column 'timestamp': found {found}"):
        check_bars(GOOD.with_columns(timestamps.alias("timestamp")), "bars")


def test_naive_timestamps_name_the_setting():
    with pytest.raises(DataError, match=r"files\.timezone"):
        check_bars(GOOD.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), "bars")


def test_a_row_without_a_timestamp():
    with pytest.raises(DataError, match="bars: column 'timestamp': found nothing in row 1"):
        check_bars(GOOD.with_columns(timestamp=pl.Series([START, None, START]).cast(BARS_SCHEMA["timestamp"])), "bars")
