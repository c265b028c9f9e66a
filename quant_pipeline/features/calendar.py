"""Session and calendar encodings of the decision time, from the exchange's own sessions and clock.

No hour is fixed in UTC: the hour and the weekday are those of the exchange's time zone, and opening, closing, half
days and the daily break come from its calendar, which is published ahead of the time it describes.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.bars.sessions import locate, session_table
from quant_pipeline.features.registry import DECISION, Columns, feature

if TYPE_CHECKING:
    from quant_pipeline.features.kernels import FloatArray

MINUTE = 60_000_000
"""Microseconds."""
DAY_MINUTES = 1_440


def decision_columns(decisions: pl.DataFrame, calendar: str) -> dict[str, FloatArray]:
    """What the features below read.

    Args:
        decisions: `decision_at`, and `session_open`, `session_close` of the primary bar that ends there.
        calendar: the symbol's market calendar.

    Returns:
        (n,) arrays: `local_minute` of the exchange's day, `local_weekday` (Monday 0), `minutes_since_open` and
        `minutes_to_close` of the bar's session, `is_open` (1 when the market trades at the decision time itself, so
        that an order can be filled at once; 0 after the last bar of a session).
    """
    decision_at = decisions["decision_at"]
    local = decision_at.dt.convert_time_zone(time_zone(calendar))
    at, opened, closes = (microseconds(decisions[name]) for name in ("decision_at", "session_open", "session_close"))
    return {
        "local_minute": (local.dt.hour().cast(pl.Float64) * 60 + local.dt.minute()).to_numpy(),
        "local_weekday": (local.dt.weekday() - 1).cast(pl.Float64).to_numpy(),
        "minutes_since_open": (at - opened) / MINUTE,
        "minutes_to_close": (closes - at) / MINUTE,
        "is_open": _is_open(decision_at, calendar),
    }


def _is_open(decision_at: pl.Series, calendar: str) -> FloatArray:
    if decision_at.is_empty():
        return np.empty(0)
    sessions = session_table(calendar, decision_at[0], decision_at[-1] + timedelta(microseconds=1))  # its end is exclusive
    return (locate(sessions, decision_at) >= 0).astype(np.float64)


@lru_cache(maxsize=256)
def time_zone(calendar: str) -> str:
    """Name of the exchange's time zone; UTC for a market that never closes."""
    import pandas_market_calendars as calendars

    return str(calendars.get_calendar(calendar).tz)


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
    """Minutes until the session closes as a share of 24 hours, 0 to 1.

    Not one less the feature above: sessions differ in length (half days), and the pair would then be collinear.
    """
    return np.clip(columns["minutes_to_close"] / DAY_MINUTES, 0.0, 1.0)
