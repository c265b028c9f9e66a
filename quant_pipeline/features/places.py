"""Where features are computed: the bars of one rung, or the primary bars beside those of another symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import Int64s, microseconds, require_columns
from quant_pipeline.config.timeframes import minutes
from quant_pipeline.errors import DataError
from quant_pipeline.features.kernels import FloatArray

if TYPE_CHECKING:
    from datetime import timedelta

    import polars as pl

    from quant_pipeline.features.registry import Columns

PRICES = ("open", "high", "low", "close")
ANCHOR_BARS = 128
"""Length of an anchor block in timeframes of wall time: path-dependent features start afresh at its multiples."""
_MINUTE = 60_000_000


@dataclass(frozen=True, eq=False)
class Place:
    """Columns to compute on, and where each decision finds its own row among them.

    Attributes:
        name: the rung, or the other symbol.
        columns: (bars,) float64 arrays.
        known_at: (bars,) microseconds.
        row: (decisions,) row of the columns, negative before the first bar.
        has_volume: whether any volume is there.
        may_have_holes: whether a value may be missing after the first one.
    """

    name: str
    columns: Columns
    known_at: Int64s
    row: Int64s
    has_volume: bool
    may_have_holes: bool = False


def rung_place(name: str, frame: pl.DataFrame, at: Int64s, need: int) -> Place:
    """The bars of `frame` (RUNG BARS) that decide the features of the (sorted) moments `at`, microseconds.

    Raises:
        DataError: missing columns, unsorted `known_at`, or a price or volume that no clean bar holds.
    """
    require_columns(frame, (*PRICES, "volume", "timestamp", "session_open", "known_at"), f"bars/{name}")
    row = asof_index(at, microseconds(frame["known_at"]))
    first, last = (int(row[0]), int(row[-1])) if row.size else (0, -1)
    start = max(0, first - need + 1)
    cut = frame.slice(start, max(0, last + 1 - start))
    columns = {column: cut[column].to_numpy(writable=True) for column in (*PRICES, "volume")}
    columns["session_open"] = microseconds(cut["session_open"]).astype(np.float64)  # exact: 2**53 us is the year 2255
    columns["timestamp"] = microseconds(cut["timestamp"]).astype(np.float64)
    columns["anchor"] = anchors(cut["timestamp"], name)
    _check(name, cut, columns)
    has_volume = frame["volume"].null_count() < max(frame.height, 1)
    return Place(name, columns, microseconds(cut["known_at"]), row - start, has_volume, bool(np.isnan(columns["volume"]).any()))


def anchors(opened: pl.Series, rung: str) -> FloatArray:
    """(n,) number of the anchor block that each bar of `rung` opens in, the same whatever the window."""
    return (microseconds(opened) // (ANCHOR_BARS * minutes(rung) * _MINUTE)).astype(np.float64)


def pair_place(symbol: str, bars: pl.DataFrame, own: Place, max_age: timedelta) -> Place:
    """The primary bars beside the newest bar of `symbol` known at each of them, if it is not older than `max_age`.

    Adds other_open … other_volume, NaN where there is none, and other_age in minutes.
    """
    require_columns(bars, (*PRICES, "volume", "known_at"), f"bars of {symbol}")
    known = microseconds(bars["known_at"])
    row = asof_index(own.known_at, known, int(max_age.total_seconds() * 1e6))
    absent = row < 0
    columns = dict(own.columns)
    for name in (*PRICES, "volume"):
        columns[f"other_{name}"] = _gathered(bars[name].to_numpy(), row, absent)
    columns["other_age"] = _gathered((own.known_at - np.append(known, 0)[row]) / _MINUTE, np.arange(row.size), absent)
    return Place(symbol, columns, own.known_at, own.row, own.has_volume, may_have_holes=True)


def _gathered(values: FloatArray, row: Int64s, absent: np.ndarray) -> FloatArray:
    out = np.append(values, np.nan)[row].astype(np.float64)
    out[absent] = np.nan
    return out


def _check(rung: str, frame: pl.DataFrame, columns: Columns) -> None:
    """Raise `DataError` at the first price or volume that no clean bar holds."""
    for name in (*PRICES, "volume"):
        values = columns[name]
        wrong = ~((values > 0) & (values < np.inf)) if name != "volume" else (values < 0) | (values == np.inf)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"bars/{rung}: {name}", found=f"{values[row]} at {frame['timestamp'][row]}",
                wanted="cleaned bars: positive finite prices, volume null or not negative",
                mend="pass the bars through clean_bars",
            )  # fmt: skip
