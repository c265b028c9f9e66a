"""Weeks and months, the bars that hold several sessions: when each ends, and how long the market is open in it."""

from __future__ import annotations

import numpy as np

from quant_pipeline.bars.moments import NEVER, Int64s, microseconds, moments, to_microseconds
from quant_pipeline.bars.sessions import known_span, session_table

_MINUTE = 60_000_000
_DAY, _WEEK, _MONTH = 1_440, 10_080, 43_200
_WEEK_US = _WEEK * _MINUTE
_MONDAY = 4 * _DAY * _MINUTE  # 1970-01-05, the first Monday after the epoch


def week_end(closes: Int64s) -> Int64s:
    """Monday 00:00 UTC that ends the week of each session close, microseconds."""
    return _MONDAY - (_MONDAY - closes) // _WEEK_US * _WEEK_US


def month_end(closes: Int64s) -> Int64s:
    """First of a month, 00:00 UTC, that ends the month of each session close, microseconds."""
    months = (closes - 1).astype("datetime64[us]").astype("datetime64[M]") + 1
    return months.astype("datetime64[us]").astype(np.int64)


PERIOD_ENDS = {_WEEK: week_end, _MONTH: month_end}
"""By the length of a period in minutes."""


def periods(opens: Int64s, closes: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """First open and last close of each row's week or month, which `ends` tells apart, as far as there are rows."""
    if not len(opens):
        return opens, closes
    first = np.flatnonzero(np.diff(ends, prepend=NEVER))
    last = np.append(first[1:], len(ends)) - 1
    rows = last - first + 1
    return np.repeat(opens[first], rows), np.repeat(closes[last], rows)


def open_time(ends: Int64s, length: int, calendar: str | None) -> Int64s:
    """How long the market is open in the periods of `length` minutes that end at `ends` (sorted), microseconds.

    -1, which no bar has, where nobody knows: without a calendar, and where the calendar ends before the period does.
    """
    unknown: Int64s = np.full(len(ends), -1)
    if calendar is None or not len(ends):
        return unknown
    vouched = to_microseconds(known_span(calendar)[1], "end of the calendar")
    begin = int(ends[0]) - (length + _DAY) * _MINUTE  # a month may have a day more than the 30 of its length
    sessions = session_table(calendar, *moments(np.array([begin, min(ends[-1], vouched)]), "span"))
    closes = microseconds(sessions["session_close"])
    elapsed = np.concatenate([[0], np.cumsum(closes - microseconds(sessions["session_open"]))])
    of_session = PERIOD_ENDS[length](closes)
    first, after = (elapsed[np.searchsorted(of_session, ends, side=side)] for side in ("left", "right"))
    return np.where(ends <= vouched, after - first, unknown)
