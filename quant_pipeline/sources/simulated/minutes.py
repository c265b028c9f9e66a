"""The trading minutes of a month: when they are, how busy they usually are, and which of them follow a closure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from quant_pipeline.bars.moments import Int64s, microseconds
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.sources.simulated.noise import MINUTE, Floats, month_minutes, month_start

# the longest holiday closure of any calendar in use is under two weeks
_LOOK_BACK = timedelta(days=14)
# share of the mean that stays at the quietest moment of a session; the edges get the rest (mean of the square is 1)
_VARIANCE_U, _VOLUME_U = 0.5, 0.6
# a closed minute moves the price by this share of a trading minute's variance, and a closure by no more than the cap
_CLOSED_SHARE, _CLOSED_CAP = 0.10, 150.0


@dataclass(frozen=True)
class Minutes:
    """The trading minutes of one calendar month (n,).

    Attributes:
        timestamp: Opens, microseconds UTC.
        index: Position among all UTC minutes of the month.
        deviation: Usual size of a shock here, a U over the session; its mean square is 1.
        volume: Usual volume here, a U over the session; its mean is 1.
        gap_rows, gap_start: Rows that open after a closure, and when that closure began (microseconds).
        gap_deviation: Size of each closure's price gap, in units of a usual minute's shock.
    """

    timestamp: Int64s
    index: Int64s
    deviation: Floats
    volume: Floats
    gap_rows: Int64s
    gap_start: Int64s
    gap_deviation: Floats


# a month of a 24/7 symbol takes 1.4 MB
@lru_cache(maxsize=96)
def month_grid(calendar: str, month: int) -> Minutes:
    """Trading minutes of `month` by the sessions of `calendar`."""
    first = month_start(month)
    last = first + timedelta(minutes=month_minutes(month))
    sessions = session_table(calendar, first - _LOOK_BACK, last)
    opens, closes = microseconds(sessions["session_open"]), microseconds(sessions["session_close"])
    timestamp = _all_minutes(first, last)
    row = np.searchsorted(opens, timestamp, side="right") - 1
    inside = (row >= 0) & (timestamp < closes[row])
    timestamp, row = timestamp[inside], row[inside]
    edge = 2 * (timestamp + MINUTE / 2 - opens[row]) / (closes[row] - opens[row]) - 1
    starts = np.flatnonzero((timestamp == opens[row]) & (row > 0) & (opens[row] > closes[row - 1]))
    closed = (timestamp[starts] - closes[row[starts] - 1]) / MINUTE
    return Minutes(
        timestamp=timestamp,
        index=(timestamp - _micros(first)) // MINUTE,
        deviation=np.sqrt(_u_shape(edge, _VARIANCE_U)),
        volume=_u_shape(edge, _VOLUME_U),
        gap_rows=starts,
        gap_start=closes[row[starts] - 1],
        gap_deviation=np.sqrt(np.minimum(_CLOSED_SHARE * closed, _CLOSED_CAP)),
    )


def _u_shape(edge: Floats, quiet: float) -> Floats:
    """A parabola over [-1, 1] with mean 1 and the value `quiet` in the middle."""
    return quiet + 3 * (1 - quiet) * edge**2


def _all_minutes(first: datetime, last: datetime) -> Int64s:
    return np.arange(_micros(first), _micros(last), MINUTE)


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=64)
def minutes_per_year(calendar: str, year: int) -> float:
    """Trading minutes of a year, and the usual minutes that its closures are worth in variance."""
    grids = [month_grid(calendar, year * 12 + month) for month in range(12)]
    return float(sum(len(grid.timestamp) + np.sum(grid.gap_deviation**2) for grid in grids))
