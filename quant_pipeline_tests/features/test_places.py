"""Places: which bars are read, what each decision finds among them, and another market's bars beside our own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.config.timeframes import minutes
from quant_pipeline.errors import DataError
from quant_pipeline.features.places import ANCHOR_BARS, pair_place, rung_place

START = datetime(2025, 3, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _bars(known_at, close=None):
    """Bars of an hour that close at `known_at` (minutes after START)."""
    known = pl.Series([START + timedelta(minutes=int(minute)) for minute in known_at], dtype=pl.Datetime("us", "UTC"))
    price = pl.Series(close if close is not None else 100.0 + np.arange(len(known_at)), dtype=pl.Float64)
    volume = pl.Series(np.arange(len(known_at)), dtype=pl.Float64)
    opened = known.dt.truncate("1d")
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    return pl.DataFrame({"timestamp": known - HOUR, "known_at": known, "session_open": opened, **prices, "volume": volume})


def _at(*after: int) -> np.ndarray:
    return np.array([int((START + timedelta(minutes=minute)).timestamp()) * 1_000_000 for minute in after], dtype=np.int64)


def test_only_the_bars_that_decide_are_kept():
    place = rung_place("1h", _bars(range(60, 6_060, 60)), _at(1_200, 1_260), need=5)
    assert place.columns["close"].tolist() == [115.0, 116.0, 117.0, 118.0, 119.0, 120.0]
    assert place.row.tolist() == [4, 5]


def test_a_decision_before_the_first_bar_finds_none():
    place = rung_place("1h", _bars([60, 120]), _at(59, 60, 119, 500), need=10)
    assert place.row.tolist() == [-1, 0, 0, 1]
    assert rung_place("1h", _bars([60]), _at(), need=3).columns["close"].size == 0


def test_moments_are_microseconds_and_blocks_are_of_wall_time(minute_bars):
    for rung, bars in build_ladder(minute_bars("NYSE", 12), ("1m", "15m", "1h")).items():
        for start in (0, 7):  # blocks do not depend on where the window starts
            part = bars.slice(start)
            columns = rung_place(rung, part, microseconds(part["known_at"]), need=1).columns
            opened = [moment.timestamp() for moment in part["timestamp"]]
            assert columns["timestamp"].tolist() == [second * 1e6 for second in opened]
            assert columns["anchor"].tolist() == [second // (ANCHOR_BARS * minutes(rung) * 60) for second in opened]
            assert columns["session_open"].tolist() == [moment.timestamp() * 1e6 for moment in part["session_open"]]


def test_volume_may_be_absent_or_have_holes():
    bars = _bars([60, 120, 180])
    places = {
        name: rung_place("1h", bars.with_columns(volume=pl.Series(volume, dtype=pl.Float64)), _at(180), need=3)
        for name, volume in {"there": [1, 2, 3], "holed": [1, None, 3], "absent": [None] * 3}.items()
    }
    assert {name: (place.has_volume, place.may_have_holes) for name, place in places.items()} == {
        "there": (True, False), "holed": (True, True), "absent": (False, True),
    }  # fmt: skip


@pytest.mark.parametrize(("column", "value"), [("close", 0.0), ("high", np.inf), ("open", np.nan), ("volume", -1.0)])
def test_bars_that_no_cleaning_leaves_are_refused(column, value):
    bars = _bars([60, 120]).with_columns(pl.Series(column, [1.0, value]))
    with pytest.raises(DataError, match=f"bars/1h: {column}"):
        rung_place("1h", bars, _at(120), need=2)


def test_a_column_that_is_missing_is_named():
    with pytest.raises(DataError, match="known_at"):
        rung_place("1h", _bars([60]).drop("known_at"), _at(60), need=1)
    own = rung_place("1h", _bars([60]), _at(60), need=1)
    with pytest.raises(DataError, match=r"bars of SPY.*high"):
        pair_place("SPY", _bars([60]).drop("high"), own, HOUR)


def test_the_other_market_stands_beside_each_bar_until_it_is_too_old():
    own = rung_place("1h", _bars([60, 120, 180, 240, 300]), _at(300), need=5)
    place = pair_place("SPY", _bars([90, 121], close=[7.0, 8.0]), own, timedelta(minutes=119))
    assert np.array_equal(place.columns["other_close"], [np.nan, 7.0, 8.0, 8.0, np.nan], equal_nan=True)
    assert np.array_equal(place.columns["other_age"], [np.nan, 30.0, 59.0, 119.0, np.nan], equal_nan=True)
    assert np.array_equal(place.columns["other_volume"], [np.nan, 0.0, 1.0, 1.0, np.nan], equal_nan=True)
    assert place.columns["close"] is own.columns["close"]
    assert place.may_have_holes


def test_a_market_without_bars_is_unknown_everywhere():
    own = rung_place("1h", _bars([60, 120]), _at(120), need=2)
    place = pair_place("SPY", _bars([]), own, HOUR)
    assert all(np.isnan(place.columns[f"other_{name}"]).all() for name in ("open", "high", "low", "close", "volume", "age"))


@given(
    own=st.lists(st.integers(0, 600), min_size=1, max_size=40, unique=True),
    other=st.lists(st.integers(0, 600), max_size=40, unique=True), max_age=st.integers(0, 300),
)  # fmt: skip
def test_the_other_bar_is_the_newest_one_known_and_young_enough(own, other, max_age):
    own, other = sorted(own), sorted(other)
    bars = rung_place("1h", _bars(own), _at(*own), need=len(own))
    place = pair_place("SPY", _bars(other), bars, timedelta(minutes=max_age))
    for i, at in enumerate(own):
        known = [minute for minute in other if minute <= at]
        there = bool(known) and at - known[-1] <= max_age
        assert np.isnan(place.columns["other_age"][i]) == (not there)
        if there:
            assert place.columns["other_age"][i] == at - known[-1]
            assert place.columns["other_close"][i] == 100.0 + len(known) - 1
