"""Raw bars to clean bars: one vectorised pass that drops what cannot be a bar and notes what looks odd.

Rows are dropped, never repaired, and every drop is counted in the ledger. Odd but possible rows (spikes, flat
bars, holes in the feed) stay, and the ledger's notes name them. What becomes of a row depends on it and on rows before it:
later ones, which nobody had, may only refuse the whole.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.defects import feed_notes, gaps, iso, outside_note, price_notes, volume_note
from quant_pipeline.bars.limits import refuse_losses
from quant_pipeline.bars.moments import microseconds
from quant_pipeline.bars.schema import PRICES, RUNG_SCHEMA, check_bars
from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.bars.splits import adjusted, refuse_jumps
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.ledger import Ledger

MEASURED = timedelta(days=7)
"""How long a volume above zero vouches for the zeros after it: a market is quiet for hours, a feed without volume for ever.

A week is well inside the two spare ones of the window that live inference reads, so that both judge alike."""
UNLIMITED = CleaningRules()
"""No splits declared, no limits."""
# judged in this order; a row is counted under the first reason that fits it
_BAD_ROWS = {
    "price_not_finite": ~pl.all_horizontal(pl.col(price).is_finite().fill_null(False) for price in PRICES),
    "price_not_positive": pl.min_horizontal(PRICES) <= 0,
    "high_below_low": (pl.col("high") < pl.max_horizontal(PRICES)) | (pl.col("low") > pl.min_horizontal(PRICES)),
    "off_the_minute": pl.col("timestamp").dt.truncate("1m") != pl.col("timestamp"),
}


def clean_bars(
    raw: pl.DataFrame, calendar: str, *, timeframe: str = "1m", as_of: datetime | None = None, rules: CleaningRules = UNLIMITED
) -> tuple[pl.DataFrame, Ledger]:
    """Clean RUNG BARS of one native interval, and the ledger of what was dropped and noticed.

    Dropped, in this order: prices that are null, NaN or infinite; prices that are zero or negative (returns need positive
    ones: oil's afternoon of 2020-04-20 is a hole that the notes name); a high or low that does not span the other prices;
    timestamps between minutes; negative volume among measured ones; exact repeats of a row; all but the last arrived of
    several rows for one timestamp; rows outside every session of `calendar`; bars not closed by `as_of`.

    Args:
        raw: BARS as a source told them, in any order.
        calendar: the symbol's market calendar.
        timeframe: native interval of the rows.
        as_of: when given, only bars with known_at <= as_of are kept.
        rules: the symbol, its declared splits, and the limits that training judges by.

    Returns:
        Bars sorted by timestamp, unique; known_at = min(timestamp + timeframe, session_close); complete is false where
        the session's end cuts the bar. `n_source` is 1 for minutes and 0 for longer native bars, whose number of
        minutes nobody told: `complete` then speaks of their length alone.

        Volume is measured where one above zero came in the `MEASURED` time before, or is the row's own. Elsewhere zero or
        negative (-1 in every row) means that nobody measured it, and it is null. Bars from a declared split on are
        adjusted; see `bars/splits.py`. Notes hold at least `rows`, `first`, `last`, `unsorted`, `zero_range`, `spikes`,
        `gaps`, `volume`; see `bars/defects.py`.

    Raises:
        DataError: the table is not BARS, or lies outside what the calendar knows; a jump like a split's that nobody
            declared; more rows dropped than the limits allow.
    """
    raw = check_bars(raw, f"raw {timeframe} bars", allow_empty=True)
    ledger = Ledger(rows_in=raw.height, notes={"timeframe": timeframe, "unsorted": _out_of_order(raw)})
    told = _measured(_drop_bad(raw, ledger).sort("timestamp", maintain_order=True), ledger)
    bars = _closed(_with_known_at(_inside_sessions(_unique(told, ledger), calendar, ledger), timeframe), as_of, ledger)
    refuse_losses(ledger, rules, f"{timeframe} bars", lambda: gaps(bars, calendar, timeframe)["minutes"] // minutes(timeframe))
    bars = adjusted(bars, rules.adjustments, ledger)
    refuse_jumps(bars, rules, _below_zero(raw, ledger))
    ledger.notes |= price_notes(bars) | feed_notes(bars, calendar, timeframe)
    return bars, ledger


def _out_of_order(raw: pl.DataFrame) -> int:
    at = microseconds(raw["timestamp"])
    return int((at < np.maximum.accumulate(at)).sum()) if len(at) else 0


def _drop_bad(raw: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    tests = [pl.when(bad).then(pl.lit(reason)) for reason, bad in _BAD_ROWS.items()]
    reason = raw.select(reason=pl.coalesce(tests)).to_series()
    if reason.null_count() == len(reason):
        return raw
    for name in _BAD_ROWS:
        ledger.drop(name, int((reason == name).sum()))
    return raw.filter(reason.is_null())


def _below_zero(raw: pl.DataFrame, ledger: Ledger) -> pl.Series:
    """Times of the rows with a negative price."""
    if "price_not_positive" not in ledger.dropped:
        return raw["timestamp"].clear()
    times = raw.filter(pl.min_horizontal(PRICES) < 0)["timestamp"].sort()
    if len(times):
        ledger.notes["below_zero"] = {"rows": len(times), "first": iso(times[0]), "last": iso(times[-1])}
    return times


def _measured(ordered: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Null for volumes that nobody measured; negative ones among measured ones are dropped with their rows."""
    volume = pl.col("volume")
    known = volume.is_finite().fill_null(False)
    vouched = pl.when(known & (volume > 0)).then("timestamp").forward_fill()
    measured = known & (pl.col("timestamp") - vouched <= MEASURED).fill_null(False)
    told = ordered.with_columns(volume=pl.when(measured).then(volume))
    ledger.notes["volume"] = volume_note(ordered["volume"], told["volume"])
    kept = told.filter((pl.col("volume") >= 0) | pl.col("volume").is_null())
    ledger.drop("negative_volume", told.height - kept.height)
    return kept


def _unique(ordered: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """One row for each timestamp: of exact repeats the first, of conflicting rows the last arrived."""
    if not ordered["timestamp"].is_duplicated().any():
        return ordered
    distinct = ordered.unique(maintain_order=True, keep="first")
    ledger.drop("repeated", ordered.height - distinct.height)
    last = distinct.unique("timestamp", maintain_order=True, keep="last")
    ledger.drop("conflicting", distinct.height - last.height)
    return last


def _inside_sessions(bars: pl.DataFrame, calendar: str, ledger: Ledger) -> pl.DataFrame:
    placed = with_sessions(bars, calendar)
    outside = placed.filter(pl.col("session_open").is_null())
    if outside.height:
        ledger.drop("outside_session", outside.height)
        ledger.notes["outside_session"] = outside_note(outside, calendar)
        placed = placed.filter(pl.col("session_open").is_not_null())
    return placed


def _with_known_at(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    end = pl.col("timestamp") + duration(timeframe)
    return bars.with_columns(
        known_at=pl.min_horizontal(end, "session_close"),
        n_source=pl.lit(int(timeframe == "1m"), pl.Int32),
        complete=end <= pl.col("session_close"),
    ).select(list(RUNG_SCHEMA))


def _closed(bars: pl.DataFrame, as_of: datetime | None, ledger: Ledger) -> pl.DataFrame:
    if as_of is None:
        return bars
    closed = bars.filter(pl.col("known_at") <= as_of)
    ledger.drop("not_closed_yet", bars.height - closed.height)
    return closed
