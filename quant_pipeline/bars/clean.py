"""Raw bars to clean bars: one vectorised pass that drops what cannot be a bar and notes what looks odd.

Rows are dropped, never repaired, and every drop is counted in the ledger. Odd but possible rows (spikes, flat
bars, holes in the feed) stay, and the ledger's notes name them.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from quant_pipeline.bars.defects import feed_notes, outside_note, price_notes
from quant_pipeline.bars.moments import microseconds
from quant_pipeline.bars.schema import PRICES, RUNG_SCHEMA, check_bars
from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.config.timeframes import duration
from quant_pipeline.ledger import Ledger

# judged in this order; a row is counted under the first reason that fits it
_BAD_ROWS = {
    "price_not_finite": ~pl.all_horizontal(pl.col(price).is_finite().fill_null(False) for price in PRICES),
    "price_not_positive": pl.min_horizontal(PRICES) <= 0,
    "high_below_low": (pl.col("high") < pl.max_horizontal(PRICES)) | (pl.col("low") > pl.min_horizontal(PRICES)),
    "negative_volume": (pl.col("volume") < 0).fill_null(False),
    "off_the_minute": pl.col("timestamp").dt.truncate("1m") != pl.col("timestamp"),
}


def clean_bars(
    raw: pl.DataFrame, calendar: str, *, timeframe: str = "1m", as_of: datetime | None = None
) -> tuple[pl.DataFrame, Ledger]:
    """Clean RUNG BARS of one native interval, and the ledger of what was dropped and noticed.

    Dropped, in this order: prices that are null, NaN, infinite or not positive; a high or low that does not span the
    other prices; negative volume; timestamps between minutes; exact repeats of a row; all but the last arrived of
    several rows for one timestamp; rows outside every session of `calendar`; bars not closed by `as_of`.

    Args:
        raw: BARS as a source told them, in any order.
        calendar: the symbol's market calendar.
        timeframe: native interval of the rows.
        as_of: when given, only bars with known_at <= as_of are kept.

    Returns:
        Bars sorted by timestamp, unique; known_at = min(timestamp + timeframe, session_close); complete is false where
        the session's end cuts the bar. `n_source` is 1 for minutes and 0 for longer native bars, whose number of
        minutes nobody told. A volume that is never above zero becomes null throughout. Notes hold at least `rows`,
        `first`, `last`, `unsorted`, `zero_range`, `spikes`, `gaps`, `volume`; see `bars/defects.py`.

    Raises:
        DataError: the table is not BARS, or lies outside what the calendar knows.
    """
    raw = check_bars(raw, f"raw {timeframe} bars", allow_empty=True)
    ledger = Ledger(rows_in=raw.height, notes={"timeframe": timeframe, "unsorted": _out_of_order(raw)})
    bars = _unique(_drop_bad(raw, ledger), ledger)
    bars = _closed(_with_known_at(_inside_sessions(bars, calendar, ledger), timeframe), as_of, ledger)
    bars = _honest_volume(bars, ledger)
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


def _unique(bars: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Sorted by timestamp, one row each: of exact repeats the first, of conflicting rows the last arrived."""
    ordered = bars.sort("timestamp", maintain_order=True)
    if not ordered["timestamp"].is_duplicated().any():
        return ordered
    distinct = ordered.unique(maintain_order=True, keep="first")
    ledger.drop("repeated", ordered.height - distinct.height)
    last = distinct.unique("timestamp", maintain_order=True, keep="last")
    ledger.drop("conflicting", distinct.height - last.height)
    return last


def _honest_volume(bars: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Null where volume is not finite, and throughout where it is never above zero: then nobody measured it."""
    volume = bars["volume"]
    known = volume.is_finite().fill_null(False)
    if not (volume > 0).any():
        zeros = int(known.sum())
        ledger.notes["volume"] = f"absent: zero in {zeros} rows, never above" if zeros else "absent"
        return bars.with_columns(volume=pl.lit(None, pl.Float64))
    ledger.notes["volume"] = {"null": int((~known).sum()), "zero": int((volume == 0).sum())}
    return bars.with_columns(volume=pl.when(pl.col("volume").is_finite()).then("volume"))


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
