"""A provider's own longer bars where its minutes do not reach: Yahoo's minutes go back a month, its hours two years."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from quant_pipeline.bars.schema import PRICES, RUNG_SCHEMA
from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.errors import DataError
from quant_pipeline.ledger import Ledger

_LISTED = 20
_MINUTE, _MICROSECOND = timedelta(minutes=1), timedelta(microseconds=1)
_SAME = 1e-9  # relative; equal prices that went through another unit or file format


def splice_native(minutes: pl.DataFrame, native: pl.DataFrame) -> tuple[pl.DataFrame, Ledger]:
    """Native bars before the first bar made of minutes, then the bars made of minutes.

    The seam is the first bar made of minutes. When minutes are missing inside that very bar (the minutes' history may
    begin in its middle) and the native bar is there, the native one is taken. A native bar that starts on another grid
    than the session-anchored rung is dropped. Nothing is adjusted: where the overlap shows another price level or unit
    of volume, the notes say so.

    Args:
        minutes: RUNG BARS of one timeframe, resampled from minutes.
        native: RUNG BARS of the same timeframe as the provider gave them, through `clean_bars(..., timeframe=...)`.

    Returns:
        RUNG BARS sorted by timestamp, unique; and a ledger over the native rows: dropped `off_grid` and `after_seam`
        (minutes are there); notes `seam`, `compared`, `different`, `largest_difference` (relative, of any price),
        `volume_ratio` (median of native over minutes, null where unknown), `differences` (the largest, up to 20).

    Raises:
        DataError: one of the tables is not RUNG BARS.
    """
    for name, table in (("bars from minutes", minutes), ("native bars", native)):
        if table.schema != RUNG_SCHEMA:
            raise DataError(
                name, found=f"columns {table.schema}", wanted="RUNG BARS", mend="take them from clean_bars and resample"
            )
    ledger = Ledger(rows_in=native.height)
    aligned = _on_grid(minutes, native)
    ledger.drop("off_grid", native.height - aligned.height)
    ledger.notes |= _compare(minutes, aligned)
    if minutes.is_empty():
        return aligned, ledger
    own = minutes.slice(1) if _begins_inside(minutes, aligned) else minutes
    earlier = aligned.filter(pl.col("timestamp") < own["timestamp"][0]) if own.height else aligned
    ledger.drop("after_seam", aligned.height - earlier.height)
    ledger.notes["seam"] = own["timestamp"][0].isoformat() if own.height else None
    return pl.concat([earlier, own]), ledger


def on_grid(bars: pl.DataFrame, length: timedelta) -> pl.DataFrame:
    """RUNG BARS that open a whole number of `length` after their session."""
    return bars.filter((pl.col("timestamp") - pl.col("session_open")).dt.total_microseconds() % (length // _MICROSECOND) == 0)


def closes(bars: pl.DataFrame, calendar: str, length: timedelta) -> pl.Series:
    """When each row of BARS closes: `length` after its open, or with its session."""
    end = pl.col("timestamp") + length
    if length <= _MINUTE:
        return bars.select(end).to_series()
    return with_sessions(bars.select("timestamp"), calendar).select(pl.min_horizontal(end, "session_close")).to_series()


def _on_grid(minutes: pl.DataFrame, native: pl.DataFrame) -> pl.DataFrame:
    """Native bars that open a whole number of bar lengths after their session."""
    if native.is_empty():
        return native
    return on_grid(native, pl.concat([minutes, native]).select((pl.col("known_at") - pl.col("timestamp")).max()).item())


def _begins_inside(minutes: pl.DataFrame, native: pl.DataFrame) -> bool:
    """Whether the first bar made of minutes lacks some, and the native bar for it exists."""
    first = minutes.row(0, named=True)
    lacking: bool = first["n_source"] * _MINUTE < first["known_at"] - first["timestamp"]
    return lacking and first["timestamp"] in native["timestamp"]


def _compare(minutes: pl.DataFrame, native: pl.DataFrame) -> dict[str, Any]:
    both = minutes.join(native, on="timestamp", how="inner", suffix="_native")
    apart = [(pl.col(f"{price}_native") / pl.col(price) - 1).abs() for price in PRICES]
    both = both.with_columns(apart=pl.max_horizontal(apart))
    different = both.filter(pl.col("apart") > _SAME)
    ratio = both.filter(pl.col("volume") > 0).select((pl.col("volume_native") / pl.col("volume")).median()).item()
    worst = different.sort("apart", descending=True, maintain_order=True).head(_LISTED)
    return {
        "compared": both.height,
        "different": different.height,
        "largest_difference": both["apart"].max(),
        "volume_ratio": ratio,
        "differences": [
            {"timestamp": row["timestamp"].isoformat(), "difference": row["apart"]}
            | {price: [row[price], row[f"{price}_native"]] for price in PRICES}
            for row in worst.iter_rows(named=True)
        ],
    }
