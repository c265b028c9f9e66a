"""Bars longer than a minute on their sessions: where each opens and when it is known, by the symbol's calendar."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds, moments
from quant_pipeline.bars.sessions import session_table, with_sessions
from quant_pipeline.errors import DataError

_DAY = timedelta(days=1)
_DAY_US = 86_400_000_000


def placed(bars: pl.DataFrame, calendar: str, length: timedelta, stamp: str, name: str) -> pl.DataFrame:
    """BARS with opens as the ladder has them: a day at its session's open, a session's last bar where it began.

    Minutes stay as they are. A bar that the session's close cuts and that is stamped with its close opened less than
    `length` before. A daily bar is that of the session its stamp lies in; outside every session, of the next one (of the
    last one, for stamps that are closes). Rows in no session stay as they are: cleaning drops and counts them.

    Args:
        bars: BARS whose stamps are opens, or closes minus `length`.
        calendar: the symbol's market calendar.
        length: of the bars, up to a day.
        stamp: open or close, what the file gave.
        name: of the file, for errors.

    Raises:
        DataError: days that are cut elsewhere than the calendar's, or two daily bars of one session.
    """
    if length <= timedelta(minutes=1) or bars.is_empty():
        return bars
    opened = _sessions_of_days(bars["timestamp"], calendar, stamp) if length == _DAY else bars["timestamp"]
    if stamp == "close" and length < _DAY:
        opened = _cut_by_close(opened, calendar, length)
    whole = bars.with_columns(timestamp=opened)
    if length == _DAY:
        _check_days(whole, calendar, name)
        _check_once(bars, whole, name)
    return whole


def _sessions(stamps: pl.Series, calendar: str) -> tuple[Int64s, Int64s]:
    first, last = moments(np.array([microseconds(stamps).min(), microseconds(stamps).max()]), "span")
    table = session_table(calendar, first - 2 * _DAY, last + 2 * _DAY)
    return microseconds(table["session_open"]), microseconds(table["session_close"])


def _sessions_of_days(stamps: pl.Series, calendar: str, stamp: str) -> pl.Series:
    """The open of each day's session; a stamp that no session is near stays."""
    at = microseconds(stamps)
    opens, ends = _sessions(stamps, calendar)
    if stamp == "close":
        last = np.searchsorted(opens, at + _DAY_US, side="left") - 1  # the session that opened before the close
        session, near = last, (last >= 0) & (at + _DAY_US - ends[last] < _DAY_US)
    else:
        session = np.searchsorted(ends, at, side="right")  # the one that the stamp is in, or the next
        near = opens[np.minimum(session, opens.size - 1)] - at < _DAY_US
        session = np.minimum(session, opens.size - 1)
    # a market that never closes has no evening by which another day than its own could be told
    midday = (at > opens[session]) & (ends[session] - opens[session] >= _DAY_US) & (stamp == "open")
    return moments(np.where(near & ~midday, opens[session], at), "timestamp")


def _cut_by_close(opened: pl.Series, calendar: str, length: timedelta) -> pl.Series:
    """Opens of bars told by their closes; the last one of a session is shorter."""
    step = int(length / timedelta(microseconds=1))
    closed = microseconds(opened) + step
    opens, ends = _sessions(opened, calendar)
    session = np.searchsorted(ends, closed, side="left")
    inside = session < opens.size
    session = np.minimum(session, opens.size - 1)
    cut = inside & (closed == ends[session]) & ((closed - opens[session]) % step != 0)
    return moments(np.where(cut, closed - (closed - opens[session]) % step, closed - step), "timestamp")


def _check_days(bars: pl.DataFrame, calendar: str, name: str) -> None:
    inside = with_sessions(bars, calendar).filter(pl.col("session_open") < pl.col("timestamp"))
    if inside.height:
        row = inside.row(0, named=True)
        raise DataError(
            name, found=f"a day that opens at {row['timestamp']:%Y-%m-%d %H:%M} UTC ({inside.height} such rows)",
            wanted=f"days of {calendar}, such as the one from {row['session_open']:%Y-%m-%d %H:%M} UTC",
            mend="export shorter bars, or correct `files.timezone`, `files.stamp` or `calendar` of the symbol in universe.yaml",
        )  # fmt: skip


def _check_once(told: pl.DataFrame, bars: pl.DataFrame, name: str) -> None:
    twice = bars["timestamp"].is_duplicated() & ~told["timestamp"].is_duplicated()
    if twice.any():
        rows = told["timestamp"].filter(twice)
        raise DataError(
            name, found=f"{rows[0]:%Y-%m-%d %H:%M} UTC and another bar of the same session ({len(rows)} such rows)",
            wanted="one bar a session", mend="remove the bars of days without a session of their own, such as Sundays",
        )  # fmt: skip
