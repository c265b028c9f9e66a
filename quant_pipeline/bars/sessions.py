"""When a market is open: one row per contiguous trading interval, from pandas-market-calendars.

A futures' daily break, a lunch break and an early close end a session; a 24/7 market has UTC days. Sessions are
half-open: a moment `t` is inside when session_open <= t < session_close.
"""

from __future__ import annotations

import difflib
import warnings
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import NEVER, Int64s, microseconds, moments, to_microseconds
from quant_pipeline.errors import DataError

# before 1970 and after 2100 the holiday rules of every calendar are guesses
_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# a session may open on the eve of the day that names it (futures: Sunday evening is Monday)
_MARGIN = timedelta(days=3)
_TICK = timedelta(microseconds=1)


def session_table(calendar: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Sessions that overlap [start, end), whole even where `start` or `end` cuts them.

    Args:
        calendar: A pandas-market-calendars name, such as NYSE, CMEGlobex_GC or 24/7.
        start: Aware datetime, inclusive.
        end: Aware datetime, exclusive.

    Returns:
        Columns session_open, session_close (Datetime us UTC), sorted, disjoint; empty when all of it is closed.

    Raises:
        DataError: naive datetimes, `end` before `start`, or a moment that the calendar does not know.

    Example:
        >>> session_table("CMEGlobex_GC", datetime(2025, 7, 4, tzinfo=UTC), datetime(2025, 7, 7, tzinfo=UTC)).rows()
        [(2025-07-03 22:00 UTC, 2025-07-04 18:30 UTC), (2025-07-06 22:00 UTC, 2025-07-07 21:00 UTC)]
    """
    opens, closes = _sessions_between(calendar, start, end)
    return pl.DataFrame([moments(opens, "session_open"), moments(closes, "session_close")])


def locate(sessions: pl.DataFrame, timestamps: pl.Series) -> Int64s:
    """Row of `sessions` that contains each timestamp, int64 (n,); -1 outside every session and for null."""
    opens, closes = microseconds(sessions["session_open"]), microseconds(sessions["session_close"])
    return _locate(opens, closes, microseconds(timestamps))


def is_open(calendar: str, at: datetime) -> bool:
    """Whether the market trades at `at` (its opening moment counts, its closing moment does not)."""
    return len(_sessions_between(calendar, at, at + _TICK)[0]) > 0


def open_time_between(calendar: str, start: datetime, end: datetime) -> timedelta:
    """Session time that passes in [start, end): breaks, nights and holidays do not count."""
    opens, closes = _sessions_between(calendar, start, end)
    first, last = to_microseconds(start, "start"), to_microseconds(end, "end")
    elapsed = np.minimum(closes, last) - np.maximum(opens, first)
    return timedelta(microseconds=int(elapsed.sum()))


def with_sessions(bars: pl.DataFrame, calendar: str) -> pl.DataFrame:
    """`bars` with session_open and session_close of each row's session; null where `timestamp` is outside every session."""
    timestamps = microseconds(bars["timestamp"])
    known = timestamps[timestamps != NEVER]
    opens = closes = np.empty(0, np.int64)
    if len(known):
        start, end = moments(np.array([known.min(), known.max()]), "span")
        opens, closes = _sessions_between(calendar, start, end + _TICK)
    row = _locate(opens, closes, timestamps)
    return bars.with_columns(
        moments(np.append(opens, NEVER)[row], "session_open"), moments(np.append(closes, NEVER)[row], "session_close")
    )


@lru_cache(maxsize=256)
def known_span(calendar: str) -> tuple[datetime, datetime]:
    """First and last moment that `calendar` vouches for: some exchanges announce their holidays only so far ahead."""
    exchange = getattr(_calendar(calendar), "_ec", None)
    first, last = (getattr(exchange, name, lambda: None)() for name in ("bound_min", "bound_max"))
    return (
        max(_FIRST, first.to_pydatetime().replace(tzinfo=UTC)) if first is not None else _FIRST,
        min(_END, last.to_pydatetime().replace(tzinfo=UTC) + timedelta(days=1)) if last is not None else _END,
    )


def _locate(opens: Int64s, closes: Int64s, timestamps: Int64s) -> Int64s:
    row = np.searchsorted(opens, timestamps, side="right") - 1
    inside = timestamps < np.append(closes, NEVER)[row]
    return np.where(inside, row, -1)


def _sessions_between(calendar: str, start: datetime, end: datetime) -> tuple[Int64s, Int64s]:
    first, last = to_microseconds(start, "start"), to_microseconds(end, "end")
    if last < first:
        raise DataError("sessions", found=f"end {end} before start {start}", wanted="start <= end", mend="swap the two")
    _check_known(calendar, start, end)
    years = range((start - _MARGIN).year, (end + _MARGIN).year + 1)
    opens, closes = (np.concatenate(part) for part in zip(*(_year(calendar, year) for year in years), strict=True))
    rows = slice(np.searchsorted(closes, first, side="right"), np.searchsorted(opens, last, side="left"))
    return opens[rows], closes[rows]


def _check_known(calendar: str, start: datetime, end: datetime) -> None:
    first, last = known_span(calendar)
    if start < first or end > last:
        raise DataError(
            f"calendar {calendar!r}", found=f"a span from {start} to {end}",
            wanted=f"a span inside {first:%Y-%m-%d} to {last:%Y-%m-%d}, all that the calendar knows",
            mend="shorten the span, or update pandas-market-calendars",
        )  # fmt: skip


@lru_cache(maxsize=256)
def _calendar(name: str) -> Any:
    import pandas_market_calendars as calendars

    try:
        with warnings.catch_warnings():
            # some calendars warn about breaks that were abolished; empty breaks are skipped below
            warnings.simplefilter("ignore", UserWarning)
            return calendars.get_calendar(name)
    except RuntimeError:
        near = difflib.get_close_matches(name, calendars.get_calendar_names(), n=3) or ["NYSE", "CMEGlobex_GC", "24/7"]
        raise DataError(
            f"calendar {name!r}", found="an unknown name", wanted="a pandas-market-calendars name",
            mend=f"use one such as {', '.join(near)}",
        ) from None  # fmt: skip


@lru_cache(maxsize=2_048)
def _year(calendar: str, year: int) -> tuple[Int64s, Int64s]:
    """Opens and closes, microseconds, of the sessions named by days of `year`; read-only because it is cached."""
    days = _calendar(calendar).schedule(f"{year}-01-01", f"{year}-12-31")
    opens, closes = _column(days, "market_open"), _column(days, "market_close")
    if "break_start" in days:
        opens, closes = _split(opens, _column(days, "break_start"), _column(days, "break_end"), closes)
    opens.setflags(write=False)
    closes.setflags(write=False)
    return opens, closes


def _column(days: Any, name: str) -> Int64s:
    # NaT (a day without a break) is the smallest int64, which is NEVER
    return days[name].dt.tz_convert("UTC").dt.as_unit("us").to_numpy("datetime64[us]").astype(np.int64)  # type: ignore[no-any-return]


def _split(opens: Int64s, pauses: Int64s, resumes: Int64s, closes: Int64s) -> tuple[Int64s, Int64s]:
    """Mornings and afternoons; a day that closes early during its break, or as it ends, has a morning alone."""
    paused = (opens < pauses) & (pauses < resumes) & (pauses < closes)
    resumed = paused & (resumes < closes)
    starts = np.concatenate([opens, resumes[resumed]])
    ends = np.concatenate([np.where(paused, pauses, closes), closes[resumed]])
    order = np.argsort(starts, kind="stable")
    return starts[order], ends[order]
