"""Limits of what cleaning may drop: a share too large is refused with its cause, and an honest file passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.clean import clean_bars
from quant_pipeline.bars.limits import LIKELY, refuse_conflicts, refuse_losses
from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.config.cleaning import CleaningRules, DropLimits
from quant_pipeline.errors import DataError
from quant_pipeline.ledger import Ledger

START, END = datetime(2025, 6, 2, tzinfo=UTC), datetime(2025, 6, 14, tzinfo=UTC)
ROW = pl.int_range(pl.len())
PRICES = pl.col("open", "high", "low", "close")


def feed(calendar="NYSE", every="1m"):
    times = pl.concat(
        pl.datetime_range(opened, closed, every, closed="left", eager=True, time_unit="us").alias("timestamp")
        for opened, closed in session_table(calendar, START, END).rows()
    )
    prices = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 5.0}
    return pl.DataFrame(times).with_columns(**{name: pl.lit(value) for name, value in prices.items()})


def strict(**limits: float) -> CleaningRules:
    return CleaningRules(symbol="SPY", limits=DropLimits(**limits))


def spoilt(expression, share):
    """`feed` with `expression` on that share of its rows."""
    return feed().with_columns(pl.when(share * 1_000 > ROW % 1_000).then(expression).otherwise(expression.meta.output_name()))


def shifted(calendar, by):
    return feed(calendar).with_columns(pl.col("timestamp") + by)


BROKEN = {
    "price_not_finite": (lambda: spoilt(pl.lit(None, pl.Float64).alias("close"), 0.02), "NYSE"),
    "price_not_positive": (lambda: spoilt((pl.col("low") * -1).alias("low"), 0.02), "NYSE"),
    "high_below_low": (lambda: feed().rename({"high": "low", "low": "high"}).select(BARS_SCHEMA.names()), "NYSE"),
    "negative_volume": (lambda: spoilt((pl.col("volume") * -1).alias("volume"), 0.5), "NYSE"),
    "off_the_minute": (lambda: feed(every="7s"), "NYSE"),
    "outside_session": (lambda: shifted("NYSE", timedelta(hours=5)), "NYSE"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_too_large_a_share_is_refused_with_its_cause(reason):
    make, calendar = BROKEN[reason]
    with pytest.raises(DataError) as told:
        clean_bars(make(), calendar, rules=strict())
    for word in ("SPY: 1m bars", f"dropped as {reason}", "%)", "wanted at most", LIKELY[reason], f"`limits.{reason}` of SPY"):
        assert word in str(told.value)


@pytest.mark.parametrize("reason", BROKEN)
def test_a_raised_limit_lets_the_same_rows_pass_and_live_inference_judges_nothing(reason):
    make, calendar = BROKEN[reason]
    bars, ledger = clean_bars(make(), calendar, rules=strict(**{reason: 1.0}))
    assert ledger.dropped[reason] > 0
    assert clean_bars(make(), calendar, rules=CleaningRules(symbol="SPY"))[0].equals(bars)


@pytest.mark.parametrize(
    ("bars", "calendar"),
    [
        (lambda: feed("24/7"), "NYSE"),
        (lambda: feed("24/7"), "CMEGlobex_GC"),
        (lambda: shifted("CMEGlobex_GC", timedelta(hours=1)), "CMEGlobex_GC"),
        (lambda: shifted("CMEGlobex_GC", timedelta(hours=-7)), "CMEGlobex_GC"),
        (lambda: shifted("NYSE", timedelta(hours=-1)), "NYSE"),
    ],
)
def test_a_wrong_calendar_or_a_zone_one_hour_off_is_refused(bars, calendar):
    with pytest.raises(DataError, match=r"outside_session.*`calendar` and `files\.timezone`"):
        clean_bars(bars(), calendar, rules=strict())


def test_a_closing_auction_and_some_extended_hours_pass():
    closing = (
        feed()
        .filter(pl.col("timestamp").dt.strftime("%H:%M") == "19:59")
        .with_columns(pl.col("timestamp") + timedelta(minutes=1))
    )
    late = feed().tail(100).with_columns(pl.col("timestamp") + timedelta(hours=3))
    _, ledger = clean_bars(pl.concat([feed(), closing, late]), "NYSE", rules=strict())
    assert ledger.dropped == {"outside_session": closing.height + late.height}


def test_extended_hours_beside_whole_sessions_pass_in_whatever_part_of_a_history():
    late = feed().filter(pl.col("timestamp").dt.hour() == 19).with_columns(pl.col("timestamp") + timedelta(hours=1))
    _, ledger = clean_bars(pl.concat([feed(), late]), "NYSE", rules=strict())
    assert ledger.dropped["outside_session"] / ledger.rows_in > 0.13


def test_as_many_rows_outside_are_refused_where_the_sessions_lack_them():
    moved = pl.when(pl.col("timestamp").dt.hour() == 19).then(pl.col("timestamp") + timedelta(hours=1)).otherwise("timestamp")
    with pytest.raises(DataError, match="dropped as outside_session"):
        clean_bars(feed().with_columns(timestamp=moved).sort("timestamp"), "NYSE", rules=strict())


def test_what_is_not_closed_yet_and_what_is_repeated_has_no_limit():
    _, ledger = clean_bars(pl.concat([feed(), feed()]), "NYSE", as_of=START + timedelta(days=2), rules=strict())
    assert set(ledger.dropped) == {"repeated", "not_closed_yet"}


@pytest.mark.parametrize("share", [0.0, 0.005, 0.33])
def test_conflicting_rows_are_judged_as_they_come(share):
    other = feed().filter(share * 1_000 > ROW % 1_000).with_columns(PRICES * 2)
    frame = pl.concat([feed(), feed().head(50), other])
    if share < 0.01:
        return refuse_conflicts(frame, strict(), "1m bars")
    with pytest.raises(DataError, match=r"SPY: 1m bars from files: found .*\(2\d\.\d%\) dropped as conflicting.*several symbols"):
        refuse_conflicts(frame, strict(), "1m bars from files")
    return refuse_conflicts(frame, strict(conflicting=0.5), "1m bars")


def test_every_limit_has_a_likely_cause():
    assert set(LIKELY) == set(DropLimits.model_fields)


def test_no_rows_break_no_limit():
    refuse_losses(Ledger(), strict(), "1m bars")
    refuse_losses(Ledger(rows_in=10, dropped={"conflicting": 10}), CleaningRules(), "1m bars")
