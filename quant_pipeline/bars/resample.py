"""Longer bars from shorter ones: one kernel for every timeframe, for batch and live.

Bars are anchored to their session's open and end with it; a minute without a source row adds nothing. A bar depends
only on the rows inside it, so a tail that starts at a session open (1w: at a week's first session) gives the same bars
as the whole history.

A bar is `complete` when it has its full length and every minute of it is there: one that the session's end cuts is not,
nor is one with a minute missing. See `build_ladder`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds, moments, require_columns, to_microseconds
from quant_pipeline.bars.periods import PERIOD_ENDS, open_time, periods
from quant_pipeline.config.timeframes import minutes
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.jit import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

RUNG_COLUMNS = (
    "timestamp", "open", "high", "low", "close", "volume", "session_open", "session_close", "known_at", "n_source", "complete",
)  # fmt: skip
_MINUTE = 60_000_000
_DAY = 1_440
_WHOLE = 1 << 60  # width of a bar that only its block ends; leaves room below the largest int64

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]


class _Source(NamedTuple):
    """Columns of the rows to be joined into bars, as arrays of equal length; volume NaN where null.

    `minutes` counts the minutes that a row stands for: those that it was made of, or its length where nobody told.
    """

    timestamp: Int64s
    session_open: Int64s
    session_close: Int64s
    n_source: Int32s
    minutes: Int64s
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def resample(
    minute_bars: pl.DataFrame, timeframe: str, *, as_of: datetime | None = None, calendar: str | None = None
) -> pl.DataFrame:
    """Bars of `timeframe` from finer RUNG bars.

    Args:
        minute_bars: RUNG bars (1m, or a native 15m or 1h) strictly sorted by `timestamp` (bar open), every row inside its
            session_open <= timestamp < session_close.
        timeframe: Below one day: bars of that length from the session open, the last one cut by its close.
            1d: one bar a session. 1w: one bar for the sessions that close in an ISO week (Monday 00:00 UTC, exclusive,
            to Monday 00:00, inclusive), so that futures' Sunday evening belongs to Monday's week. 1M: likewise for the
            calendar months of UTC.
        as_of: Only bars that were closed by then (known_at <= as_of); None keeps the forming last bar as well.
        calendar: The symbol's market calendar; it tells which sessions a week or month has. Shorter bars need none.

    Returns:
        RUNG bars. timestamp is the bar's open; known_at = min(timestamp + timeframe, session_close); n_source counts
        source minutes; volume sums what is not null, and is null where all of it is. `complete` says that the bar has its
        full length, which the session's end may cut, and that every minute of it is there. The full length of 1d is the
        session, early close or not; that of 1w and 1M is every session that `calendar` has in it (false without one). A
        native bar (n_source 0) stands for all minutes of its length: nobody told how many there were.
        A 1w or 1M bar has known_at = the Monday, or first of a month, 00:00 UTC that ends it, so that it does not depend
        on which sessions have rows; its session columns run from the first session's open to the last one's close.

    Raises:
        DataError: missing column, wrong dtype, unsorted or duplicated timestamps, a row outside its session.
        ConfigError: a timeframe above one day that is neither 1w nor 1M.
    """
    return build_ladder(minute_bars, (timeframe,), as_of=as_of, calendar=calendar)[timeframe]


def build_ladder(
    minute_bars: pl.DataFrame, ladder: Sequence[str], *, as_of: datetime | None = None, calendar: str | None = None
) -> dict[str, pl.DataFrame]:
    """`resample` for every timeframe of `ladder`, checking and reading the source once. 1m is the source itself."""
    require_columns(minute_bars, RUNG_COLUMNS, "bars to resample")
    source = _read(minute_bars)
    _check(source)
    joined = [name for name in ladder if name != "1m"]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:  # the kernels release the GIL
        rungs = dict(zip(joined, pool.map(partial(_rung, source, calendar), joined), strict=True))
    bars = {name: rungs[name] if name in rungs else minute_bars.select(RUNG_COLUMNS) for name in ladder}
    if as_of is None:
        return bars
    return {name: _closed(rung, to_microseconds(as_of, "as_of")) for name, rung in bars.items()}


def _closed(bars: pl.DataFrame, as_of: int) -> pl.DataFrame:
    # known_at never falls from one bar to the next, so the closed bars are the first ones
    return bars.head(int(np.searchsorted(microseconds(bars["known_at"]), as_of, side="right")))


def _read(bars: pl.DataFrame) -> _Source:
    stamp, start, end = (microseconds(bars[name]) for name in ("timestamp", "session_open", "session_close"))
    prices = (_values(bars[name], pl.Float64()) for name in ("open", "high", "low", "close", "volume"))
    sources = _values(bars["n_source"], pl.Int32())
    stood_for = np.where(sources > 0, sources, (microseconds(bars["known_at"]) - stamp) // _MINUTE)
    return _Source(stamp, start, end, sources, stood_for, *prices)


def _values(column: pl.Series, dtype: pl.DataType) -> npt.NDArray[Any]:
    if column.dtype != dtype or (column.null_count() and column.name != "volume"):
        raise DataError(
            f"column {column.name!r}", found=f"dtype {column.dtype} with {column.null_count()} nulls",
            wanted=f"{dtype} without nulls", mend="run clean_bars on the raw bars first",
        )  # fmt: skip
    return column.to_numpy()


def _check(source: _Source) -> None:
    row, outside = _first_wrong(source.timestamp, source.session_open, source.session_close)
    if row >= 0:
        stamp = moments(source.timestamp[row : row + 1], "timestamp")[0]
        raise DataError(
            f"bars to resample, row {row} ({stamp})",
            found="a row outside its session" if outside else "a timestamp not after the row before it",
            wanted="rows inside a session, strictly sorted by timestamp", mend="run clean_bars first",
        )  # fmt: skip


def _rung(source: _Source, calendar: str | None, timeframe: str) -> pl.DataFrame:
    blocks, width = _blocks(source, timeframe)
    count = _count(blocks.timestamp, blocks.session_open, blocks.session_close, width)
    bars, known_at = _join(blocks, width, count)
    length = known_at - bars.timestamp
    if (period := minutes(timeframe)) in PERIOD_ENDS:
        known_at = PERIOD_ENDS[period](bars.session_close)
        length = open_time(known_at, period, calendar)
    complete = (bars.minutes * _MINUTE == length) & ((length == width) | (width == _WHOLE))
    prices = {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close}
    return pl.DataFrame(
        [
            moments(bars.timestamp, "timestamp"),
            *(pl.Series(name, values) for name, values in prices.items()),
            pl.Series("volume", bars.volume, nan_to_null=True),
            moments(bars.session_open, "session_open"),
            moments(bars.session_close, "session_close"),
            moments(known_at, "known_at"),
            pl.Series("n_source", bars.n_source),
            pl.Series("complete", complete),
        ]
    )


def _blocks(source: _Source, timeframe: str) -> tuple[_Source, int]:
    """`source` with the intervals that end bars (sessions, or weeks of them), and the bar width in microseconds."""
    length = minutes(timeframe)
    if length < _DAY:
        return source, length * _MINUTE
    if length == _DAY:
        return source, _WHOLE
    if length in PERIOD_ENDS:
        start, end = periods(source.session_open, source.session_close, PERIOD_ENDS[length](source.session_close))
        return source._replace(session_open=start, session_close=end), _WHOLE
    raise ConfigError(
        f"timeframe {timeframe!r}", found="a bar of several days", wanted="at most 1d, or 1w or 1M", mend="edit the ladder"
    )


@compiled
def _first_wrong(timestamp: Int64s, opens: Int64s, closes: Int64s) -> tuple[int, bool]:
    """First row that is outside its session or not after its predecessor (-1: none), and which of the two."""
    previous = np.int64(np.iinfo(np.int64).min)
    for row in range(len(timestamp)):
        stamp = timestamp[row]
        if stamp < opens[row] or stamp >= closes[row]:
            return row, True
        if stamp <= previous:
            return row, False
        previous = stamp
    return -1, False


@compiled
def _count(timestamp: Int64s, opens: Int64s, closes: Int64s, width: int) -> int:
    count, end = 0, timestamp[0] if len(timestamp) else 0
    for row in range(len(timestamp)):
        if timestamp[row] >= end:
            begin = opens[row] + (timestamp[row] - opens[row]) // width * width
            end = min(begin + width, closes[row])
            count += 1
    return count


@compiled
def _empty(count: int) -> _Source:
    return _Source(
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int32),
        np.empty(count, np.int64),
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.empty(count),
    )


@compiled
def _join(rows: _Source, width: int, count: int) -> tuple[_Source, Int64s]:
    """Bars and their ends: walk the rows once; a bar takes the rows before its end. Null volume is NaN, and stays so
    where all of it is.
    """
    bars = _empty(count)
    known_at = np.empty(count, np.int64)
    row, size = 0, len(rows.timestamp)
    for bar in range(count):
        start, end = rows.session_open[row], rows.session_close[row]
        stamp = start + (rows.timestamp[row] - start) // width * width
        stop = min(stamp + width, end)
        bars.timestamp[bar], bars.session_open[bar], bars.session_close[bar] = stamp, start, end
        known_at[bar] = stop
        bars.open[bar], high, low = rows.open[row], rows.high[row], rows.low[row]
        total, volumes, sources, stood_for = 0.0, 0, 0, 0
        while row < size and rows.timestamp[row] < stop:
            high = max(high, rows.high[row])
            low = min(low, rows.low[row])
            if not np.isnan(rows.volume[row]):
                total += rows.volume[row]
                volumes += 1
            sources += rows.n_source[row]
            stood_for += rows.minutes[row]
            row += 1
        bars.high[bar], bars.low[bar], bars.close[bar] = high, low, rows.close[row - 1]
        bars.volume[bar] = total if volumes else np.nan
        bars.n_source[bar], bars.minutes[bar] = sources, stood_for
    return bars, known_at
