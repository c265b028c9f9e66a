"""Splits: told where they are and nowhere else, mended forward, refused until declared."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.clean import clean_bars
from quant_pipeline.bars.schema import BARS_SCHEMA, PRICES
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.bars.splits import RATIOS
from quant_pipeline.config.cleaning import Adjustment, CleaningRules
from quant_pipeline.errors import DataError

START, END = datetime(2020, 8, 24, tzinfo=UTC), datetime(2020, 9, 5, tzinfo=UTC)
SPLIT = date(2020, 8, 31)  # Apple, 4:1, a Monday
OPENED = {"NYSE": datetime(2020, 8, 31, 13, 30, tzinfo=UTC), "CMEGlobex_GC": datetime(2020, 8, 30, 22, tzinfo=UTC),
          "24/7": datetime(2020, 8, 31, tzinfo=UTC)}  # fmt: skip


def feed(calendar="NYSE", seed=3, step=2e-4):
    """Every fifth open minute of two weeks, a random walk near 100."""
    random = np.random.default_rng(seed)
    times = pl.concat(
        pl.datetime_range(opened, closed, "5m", closed="left", eager=True, time_unit="us").alias("timestamp")
        for opened, closed in session_table(calendar, START, END).rows()
    )
    close = 100 * np.exp(np.cumsum(random.normal(0, step, len(times))))
    opened = np.concatenate([[100.0], close[:-1]])
    columns = (times, opened, np.maximum(opened, close), np.minimum(opened, close), close, random.lognormal(5, 0.8, len(times)))
    return pl.DataFrame(dict(zip(BARS_SCHEMA, columns, strict=True)))


def split(raw, ratio, at, move=1.0):
    """As an exchange prints it: from `at` on prices by `ratio`, times an overnight `move`; volume the other way."""
    factor = pl.when(pl.col("timestamp") >= at).then(move / ratio).otherwise(1.0)
    shares = pl.when(pl.col("timestamp") >= at).then(ratio).otherwise(1.0)
    return raw.with_columns(pl.col(PRICES) * factor, volume=pl.col("volume") * shares)


def declared(ratio, on=SPLIT):
    return CleaningRules(symbol="AAPL", adjustments=({"date": on, "ratio": ratio},))


@pytest.mark.parametrize("calendar", list(OPENED))
@pytest.mark.parametrize("pair", [*RATIOS, *(pair[::-1] for pair in RATIOS)], ids=lambda pair: f"{pair[0]}:{pair[1]}")
@pytest.mark.parametrize("move", [0.96, 1.03])
def test_a_split_is_refused_with_its_date_ratio_and_mend(calendar, pair, move):
    raw, name = split(feed(calendar), pair[0] / pair[1], OPENED[calendar], move), f"{pair[0]}:{pair[1]}"
    with pytest.raises(DataError, match=rf"session of 2020-08-31: from [\d.]+ to [\d.e+-]+, near a {name} split") as told:
        clean_bars(raw, calendar, rules=CleaningRules(symbol="AAPL"))
    assert f'`adjustments: [{{date: 2020-08-31, ratio: "{name}"}}]` under AAPL in universe.yaml' in str(told.value)
    clean_bars(raw, calendar, rules=declared(name))
    assert clean_bars(raw, calendar, rules=declared("none"))[0].select(BARS_SCHEMA.names()).equals(raw)


def test_a_declared_split_multiplies_what_follows_and_leaves_every_bit_before():
    raw = split(feed(), 4, OPENED["NYSE"])
    bars, ledger = clean_bars(raw, "NYSE", rules=declared("4:1"))
    assert bars.select(BARS_SCHEMA.names()).equals(feed())  # powers of two are exact
    assert ledger.notes["adjusted"] == [{"date": "2020-08-31", "factor": 4.0}]
    early = raw.filter(pl.col("timestamp") < OPENED["NYSE"])
    cut, note = clean_bars(early, "NYSE", rules=declared("4:1"))
    assert cut.select(BARS_SCHEMA.names()).equals(early)
    assert "adjusted" not in note.notes


def test_a_window_that_begins_after_the_split_has_the_prices_of_the_whole():
    raw = split(feed(), 1.5, OPENED["NYSE"])
    whole = clean_bars(raw, "NYSE", rules=declared("3:2"))[0]
    late = pl.col("timestamp") >= OPENED["NYSE"] + timedelta(days=1)
    assert clean_bars(raw.filter(late), "NYSE", rules=declared("3:2"))[0].equals(whole.filter(late))


def test_two_splits_are_told_at_once_and_compound():
    again = datetime(2020, 9, 2, 13, 30, tzinfo=UTC)
    raw = split(split(feed(), 4, OPENED["NYSE"]), 0.5, again)
    entries = '{date: 2020-08-31, ratio: "4:1"}, {date: 2020-09-02, ratio: "1:2"}'
    with pytest.raises(DataError) as told:
        clean_bars(raw, "NYSE", rules=CleaningRules(symbol="AAPL"))
    assert entries in str(told.value)
    both = CleaningRules(adjustments=({"date": SPLIT, "ratio": 4}, {"date": "2020-09-02", "ratio": 0.5}))
    assert clean_bars(raw, "NYSE", rules=both)[0].select(BARS_SCHEMA.names()).equals(feed())


@pytest.mark.parametrize("ratio", ["4:1", 13, "1:4", 2])
def test_a_split_declared_for_bars_that_do_not_have_it_is_refused(ratio):
    with pytest.raises(DataError, match="correct or remove the entry of 2020-08-31 in `adjustments` of AAPL"):
        clean_bars(feed(), "NYSE", rules=declared(ratio))


def test_a_split_declared_the_wrong_way_round_is_refused():
    with pytest.raises(DataError, match="correct or remove the entry of 2020-08-31"):
        clean_bars(split(feed(), 4, OPENED["NYSE"]), "NYSE", rules=declared("1:4"))


def test_the_first_bar_after_a_split_is_enough_to_refuse():
    raw = split(feed(), 4, OPENED["NYSE"]).filter(pl.col("timestamp") <= OPENED["NYSE"])
    with pytest.raises(DataError, match="near a 4:1 split"):
        clean_bars(raw, "NYSE")


@pytest.mark.parametrize("move", [0.74, 0.77, 0.8, 0.87, 1.15, 1.25, 1.34])
def test_a_crash_overnight_is_no_split(move):
    clean_bars(split(feed(), 1 / move, OPENED["NYSE"]), "NYSE")


def test_a_bad_print_at_the_open_is_no_split():
    first = pl.col("timestamp") == OPENED["NYSE"]
    raw = feed().with_columns(pl.when(first).then(pl.col(price) / 4).otherwise(price).alias(price) for price in PRICES)
    clean_bars(raw, "NYSE")


def test_oil_through_zero_is_no_split():
    """2020-04-20: from 10 dollars below zero and back to 1 in the next session, with other halves and quarters on the way."""
    opened, following = datetime(2020, 8, 31, 20, tzinfo=UTC), datetime(2020, 8, 31, 23, tzinfo=UTC)
    below = pl.col("timestamp").is_between(opened, following)
    raw = feed("CMEGlobex_GC").with_columns(
        (pl.when(below).then(-30.0).when(pl.col("timestamp") > following).then(pl.col(price) / 10).otherwise(price)).alias(price)
        for price in PRICES
    )
    bars, ledger = clean_bars(raw, "CMEGlobex_GC")
    assert ledger.dropped == {"price_not_positive": raw.filter(below).height}
    assert ledger.notes["below_zero"]["first"] == "2020-08-31T20:00:00+00:00"
    assert bars.height == raw.height - raw.filter(below).height


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), step=st.sampled_from([2e-4, 2e-3, 6e-3]), calendar=st.sampled_from(list(OPENED)))
def test_random_walks_do_not_split(seed, step, calendar):
    """Up to 6 % a bar from close to open: no alarm at the widest session edges."""
    clean_bars(feed(calendar, seed, step), calendar)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 2_000), ratio=st.sampled_from(["4:1", "3:2", "1:8"]))
def test_later_bars_change_nothing_before_them(cut, ratio):
    factor = Adjustment(date=SPLIT, ratio=ratio).factor
    raw = split(feed(), factor, OPENED["NYSE"], 0.97)
    whole = clean_bars(raw, "NYSE", rules=declared(ratio))[0]
    assert clean_bars(raw.head(cut), "NYSE", rules=declared(ratio))[0].equals(whole.head(cut))


@pytest.mark.parametrize("ratio", [60, 100, 200, 1_000, 31_103.5, 1 / 75, 1e-3, 1e-6])
def test_no_market_moves_tenfold_overnight(ratio):
    raw = split(feed(), ratio, OPENED["NYSE"], 1.02)
    with pytest.raises(DataError, match="a jump at the session of 2020-08-31") as told:
        clean_bars(raw, "NYSE", rules=CleaningRules(symbol="AAPL"))
    name = re.search(r'ratio: "([^"]+)"', str(told.value))[1]
    clean_bars(raw, "NYSE", rules=declared(name))
    assert clean_bars(raw, "NYSE", rules=declared("none"))[0].height == raw.height
