"""Native bars before the minutes: the seam, the overlap, and what is reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.clean import clean_bars
from quant_pipeline.bars.native import splice_native
from quant_pipeline.bars.resample import resample
from quant_pipeline.bars.schema import BARS_SCHEMA, RUNG_SCHEMA
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.errors import DataError

START, END = datetime(2025, 7, 1, tzinfo=UTC), datetime(2025, 7, 4, tzinfo=UTC)


def market(calendar="NYSE"):
    """Minutes of three days, as RUNG bars."""
    random = np.random.default_rng(3)
    spans = session_table(calendar, START, END).rows()
    times = pl.concat(
        pl.datetime_range(opened, closed, "1m", closed="left", eager=True, time_unit="us").alias("timestamp")
        for opened, closed in spans
    )
    close = 100 + np.cumsum(random.normal(0, 0.1, len(times)))
    opened = np.concatenate([[100.0], close[:-1]])
    columns = [
        times,
        opened,
        np.maximum(opened, close) + 0.1,
        np.minimum(opened, close) - 0.1,
        close,
        random.integers(1, 9, len(times)),
    ]
    return clean_bars(pl.DataFrame(dict(zip(BARS_SCHEMA, columns, strict=True))), calendar)[0]


MINUTES = market()
WHOLE = resample(MINUTES, "1h")


def native(bars=WHOLE):
    """The provider's own hours: the same prices, nobody says how many minutes."""
    return clean_bars(bars.select(BARS_SCHEMA.names()), "NYSE", timeframe="1h")[0]


def after(moment):
    return resample(MINUTES.filter(pl.col("timestamp") >= moment), "1h")


def test_native_bars_only_before_the_minutes():
    seam = WHOLE["timestamp"][9]
    bars, ledger = splice_native(after(seam), native())
    assert bars.schema == RUNG_SCHEMA
    assert bars.drop("n_source").equals(WHOLE.drop("n_source"))
    assert bars["n_source"].to_list() == [0] * 9 + WHOLE["n_source"].to_list()[9:]
    assert ledger.dropped == {"after_seam": WHOLE.height - 9}
    assert (ledger.rows_in, ledger.rows_out) == (WHOLE.height, 9)
    assert ledger.notes | {"differences": []} == {
        "seam": seam.isoformat(), "compared": WHOLE.height - 9, "different": 0, "largest_difference": 0.0, "volume_ratio": 1.0,
        "differences": [],
    }  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.integers(1, MINUTES.height - 1))
def test_wherever_the_minutes_begin_the_whole_is_the_same(first):
    """Also inside a bar: that one is taken from the provider, who saw all of its minutes."""
    bars, ledger = splice_native(resample(MINUTES[first:], "1h"), native())
    assert bars.drop("n_source").equals(WHOLE.drop("n_source"))
    json.dumps(ledger.as_dict(), allow_nan=False)


def test_differences_are_reported_not_mended():
    changed = native().with_columns(close=pl.when(pl.int_range(pl.len()) == 12).then(pl.col("close") * 1.001).otherwise("close"))
    changed = changed.with_columns(high=pl.max_horizontal("high", "close"), volume=pl.col("volume") * 30)
    minutes = after(WHOLE["timestamp"][9])
    bars, ledger = splice_native(minutes, changed)
    assert bars[9:].equals(minutes)
    assert (ledger.notes["different"], ledger.notes["volume_ratio"]) == (1, 30.0)
    assert abs(ledger.notes["largest_difference"] - 0.001) < 1e-9
    (case,) = ledger.notes["differences"]
    assert case["timestamp"] == WHOLE["timestamp"][12].isoformat()
    assert case["close"] == [WHOLE["close"][12], changed["close"][12]]


def test_bars_on_another_grid_are_dropped():
    full_hours = WHOLE.with_columns(pl.col("timestamp") + timedelta(minutes=30)).filter(
        pl.col("timestamp") < pl.col("session_close")
    )
    shifted = native(full_hours)
    bars, ledger = splice_native(after(WHOLE["timestamp"][9]), shifted)
    assert ledger.dropped == {"off_grid": shifted.height}
    assert bars.equals(after(WHOLE["timestamp"][9]))


def test_one_side_empty():
    nothing = WHOLE.clear()
    bars, ledger = splice_native(WHOLE, nothing)
    assert bars.equals(WHOLE)
    assert (ledger.rows_in, ledger.notes["compared"], ledger.notes["volume_ratio"]) == (0, 0, None)
    assert splice_native(nothing, native())[0].equals(native())
    assert splice_native(nothing, nothing)[0].is_empty()


def test_not_rung_bars():
    with pytest.raises(DataError, match=r"native bars.*RUNG BARS"):
        splice_native(WHOLE, WHOLE.drop("known_at"))
