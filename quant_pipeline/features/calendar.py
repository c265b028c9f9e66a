"""Session and calendar encodings of the decision time, from the exchange's own sessions and clock.

No hour is fixed in UTC: the hour and the weekday are those of the exchange's time zone, and opening, closing, half
days and the daily break come from its calendar. What looks ahead reads no closure that was not foreseen
(`features/scheduled.py`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import NEVER, Int64s, microseconds, moments
from quant_pipeline.bars.sessions import locate, session_table
from quant_pipeline.features.registry import DECISION, Columns, feature
from quant_pipeline.features.scheduled import Days, days_of, exchange_of, holidays_of

if TYPE_CHECKING:
    from quant_pipeline.features.kernels import FloatArray

MINUTE = 60_000_000
"""Microseconds."""
DAY_MINUTES = 1_440
NEW_YORK_STOCKS = "NYSE"
LONGEST_BREAK = 6 * 60
"""Minutes: futures pause for one hour a day and for up to five on American holidays; the nights of stocks are longer."""
FIRST_HOUR = 60
SATURDAY = 5
_MARGIN = timedelta(days=4)  # the ordinary next day of a Friday is a Monday


def decision_columns(decisions: pl.DataFrame, calendar: str) -> dict[str, FloatArray]:
    """What the features below read.

    Args:
        decisions: `decision_at`, and `session_open`, `session_close` of the primary bar that ends there.
        calendar: the symbol's market calendar.

    Returns:
        (n,) arrays: `local_minute` of the exchange's day, `local_weekday` (Monday 0), `minutes_since_open` and
        `minutes_to_close` of the bar's session (to its ordinary close where it closed early unforeseen), `is_open` (1 when
        the market trades at the decision time itself, so that an order can be filled at once; 0 after the last bar of a
        session), `new_york_open` (the same of New York's stocks), `minutes_of_pause` between the bar's session and the one
        before it (infinite above `LONGEST_BREAK`), `half_day` and `holiday_next` of the bar's trading day, by the
        rules of the calendar.
    """
    decision_at = decisions["decision_at"]
    local = decision_at.dt.convert_time_zone(time_zone(calendar))
    at, opened, closes = (microseconds(decisions[name]) for name in ("decision_at", "session_open", "session_close"))
    told_close, of_day = _trading_day(opened, closes, calendar)
    return {
        "local_minute": (local.dt.hour().cast(pl.Float64) * 60 + local.dt.minute()).to_numpy(),
        "local_weekday": (local.dt.weekday() - 1).cast(pl.Float64).to_numpy(),
        "minutes_since_open": (at - opened) / MINUTE,
        "minutes_to_close": (told_close - at) / MINUTE,
        "is_open": _is_open(decision_at, calendar),
        "new_york_open": _is_open(decision_at, NEW_YORK_STOCKS),
        "minutes_of_pause": _pause(opened, calendar),
        **of_day,
    }


def _is_open(decision_at: pl.Series, calendar: str) -> FloatArray:
    if decision_at.is_empty():
        return np.empty(0)
    sessions = session_table(calendar, decision_at[0], decision_at[-1] + timedelta(microseconds=1))  # its end is exclusive
    return (locate(sessions, decision_at) >= 0).astype(np.float64)


def _pause(opened: Int64s, calendar: str) -> FloatArray:
    """Minutes for which the market was closed before each opening, (n,); infinite above `LONGEST_BREAK`."""
    known = opened[opened != NEVER]
    if not known.size:
        return np.full(opened.size, np.inf)
    first, last = moments(np.array([known.min(), known.max()]), "span")
    sessions = session_table(calendar, first - timedelta(minutes=LONGEST_BREAK + 1), last + timedelta(microseconds=1))
    opens, closes = microseconds(sessions["session_open"]), microseconds(sessions["session_close"])
    pauses = np.append(np.inf, (opens[1:] - closes[:-1]) / MINUTE)
    pauses[pauses > LONGEST_BREAK] = np.inf
    return pauses[np.searchsorted(opens, np.where(opened == NEVER, known[0], opened))]


def _trading_day(opened: Int64s, closes: Int64s, calendar: str) -> tuple[Int64s, dict[str, FloatArray]]:
    """When each session was to close as known ahead, and `half_day` and `holiday_next` of its trading day, (n,)."""
    known = opened[opened != NEVER]
    if not known.size:
        return closes, {name: np.zeros(opened.size) for name in ("half_day", "holiday_next")}
    first, last = moments(np.array([known.min(), known.max()]), "span")
    years = range((first - _MARGIN).year, (last + _MARGIN).year + 1)
    days = Days(*(np.concatenate(part) for part in zip(*(days_of(calendar, year) for year in years), strict=True)))
    ordinary = np.busday_offset(days.label, 1, roll="backward", weekmask=exchange_of(calendar).weekmask)
    holiday = np.isin(ordinary, holidays_of(calendar))
    row = np.maximum(np.searchsorted(days.opens, opened, side="right") - 1, 0)
    of_day = {"half_day": days.half[row].astype(np.float64), "holiday_next": holiday[row].astype(np.float64)}
    return days.closing(row, opened, closes), of_day


def time_zone(calendar: str) -> str:
    """Name of the exchange's time zone; UTC for a market that never closes."""
    return str(exchange_of(calendar).tz)


def _turn(share: FloatArray) -> FloatArray:
    """Angle of a share of a full turn."""
    return 2 * np.pi * share


@feature("hour_sin", "calendar", ("local_minute",), 1, rungs=(DECISION,))
def hour_sin(columns: Columns) -> FloatArray:
    """Sine of the exchange's time of day: 0 at midnight, 1 at 06:00."""
    return np.sin(_turn(columns["local_minute"] / DAY_MINUTES))


@feature("hour_cos", "calendar", ("local_minute",), 1, rungs=(DECISION,))
def hour_cos(columns: Columns) -> FloatArray:
    """Cosine of the exchange's time of day: 1 at midnight, -1 at noon."""
    return np.cos(_turn(columns["local_minute"] / DAY_MINUTES))


@feature("dayofweek_sin", "calendar", ("local_weekday",), 1, rungs=(DECISION,))
def dayofweek_sin(columns: Columns) -> FloatArray:
    """Sine of the exchange's weekday: 0 on Monday."""
    return np.sin(_turn(columns["local_weekday"] / 7))


@feature("dayofweek_cos", "calendar", ("local_weekday",), 1, rungs=(DECISION,))
def dayofweek_cos(columns: Columns) -> FloatArray:
    """Cosine of the exchange's weekday: 1 on Monday."""
    return np.cos(_turn(columns["local_weekday"] / 7))


@feature("is_market_open", "calendar", ("is_open",), 1, rungs=(DECISION,))
def is_market_open(columns: Columns) -> FloatArray:
    """1 when the market trades at the decision time, else 0."""
    return columns["is_open"]


@feature("minutes_since_open", "calendar", ("minutes_since_open",), 1, rungs=(DECISION,))
def minutes_since_open(columns: Columns) -> FloatArray:
    """Minutes since the session opened as a share of 24 hours, 0 to 1."""
    return np.clip(columns["minutes_since_open"] / DAY_MINUTES, 0.0, 1.0)


@feature("minutes_to_close", "calendar", ("minutes_to_close",), 1, rungs=(DECISION,))
def minutes_to_close(columns: Columns) -> FloatArray:
    """Minutes until the session closes, as known ahead, as a share of 24 hours, 0 to 1.

    Not one less the feature above: sessions differ in length (half days), and the pair would then be collinear.
    """
    return np.clip(columns["minutes_to_close"] / DAY_MINUTES, 0.0, 1.0)


@feature("session_is_half_day", "calendar", ("half_day",), 1, rungs=(DECISION,))
def session_is_half_day(columns: Columns) -> FloatArray:
    """1 on a trading day that by rule closes before its ordinary time, from its first bar on; else 0."""
    return columns["half_day"]


@feature("session_holiday_tomorrow", "calendar", ("holiday_next",), 1, rungs=(DECISION,))
def session_holiday_tomorrow(columns: Columns) -> FloatArray:
    """1 when the ordinary trading day that follows (for a Friday, Monday) is a holiday by rule; else 0."""
    return columns["holiday_next"]


@feature("session_after_break", "calendar", ("minutes_since_open", "minutes_of_pause"), 1, rungs=(DECISION,))
def session_after_break(columns: Columns) -> FloatArray:
    """1 in the first hour after a pause of at most six, such as the daily one of futures; 0 after nights and weekends."""
    paused = (columns["minutes_of_pause"] > 0) & (columns["minutes_of_pause"] <= LONGEST_BREAK)
    return (paused & (columns["minutes_since_open"] <= FIRST_HOUR)).astype(np.float64)


@feature("session_ny_overlap", "calendar", ("new_york_open",), 1, rungs=(DECISION,))
def session_ny_overlap(columns: Columns) -> FloatArray:
    """1 when New York's stock market trades at the decision time, else 0: most volume of all markets falls into it."""
    return columns["new_york_open"]


@feature("session_weekend", "calendar", ("local_weekday",), 1, rungs=(DECISION,))
def session_weekend(columns: Columns) -> FloatArray:
    """1 on Saturdays and Sundays of the exchange's clock, else 0: thin hours of the markets that trade then."""
    return (columns["local_weekday"] >= SATURDAY).astype(np.float64)
