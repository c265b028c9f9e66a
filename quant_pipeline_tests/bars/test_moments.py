from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.moments import NEVER, microseconds, moments, require_columns, to_microseconds
from quant_pipeline.errors import DataError


def test_a_series_survives_the_round_trip_with_its_nulls():
    series = pl.Series("at", [datetime(2025, 1, 1, tzinfo=UTC), None], dtype=pl.Datetime("us", "UTC"))
    assert microseconds(series).tolist() == [1_735_689_600_000_000, NEVER]
    assert moments(microseconds(series), "at").equals(series)


@pytest.mark.parametrize("dtype", [pl.Datetime("us"), pl.Datetime("ms", "UTC"), pl.Datetime("us", "Europe/Athens"), pl.Int64])
def test_another_dtype_is_refused_by_name(dtype):
    with pytest.raises(DataError, match=r"'at'.*dtype"):
        microseconds(pl.Series("at", [], dtype=dtype))


def test_an_aware_moment_of_any_zone_counts_from_the_utc_epoch():
    two_hours_east = timezone(timedelta(hours=2))
    assert to_microseconds(datetime(1970, 1, 1, 2, 0, 1, 5, tzinfo=two_hours_east), "now") == 1_000_005


def test_a_naive_moment_is_refused_by_name():
    with pytest.raises(DataError, match=r"as_of.*without a time zone"):
        to_microseconds(datetime(2025, 1, 1), "as_of")  # noqa: DTZ001 the error under test


def test_empty_values_stay_empty():
    assert moments(np.empty(0, np.int64), "x").dtype == pl.Datetime("us", "UTC")


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match=r"bars.*also low"):
        require_columns(pl.DataFrame({"high": [1.0]}), ("high", "low"), "bars")
