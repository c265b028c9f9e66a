"""What is known of each macro series: the period that its date names, and when its figures are published.

What belongs here: facts of FRED's series that sources, settings and features share. What does not: where releases come
from (`sources/macro`) and what is made of them (`features/macro.py`).
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import numpy.typing as npt

_SATURDAY = 5  # of `date.weekday`
_LONGEST_LAG = 3_650


@dataclass(frozen=True)
class Publication:
    """How figures of one series come out.

    Attributes:
        cadence: what a date names: the month that it lies in, the week that ends on the first Saturday from it on, or
            itself.
        lag_days: days from the date that FRED gives the period to the end of the day of its release: above the longest
            delay on record, since a lag that fits most months is look-ahead in the one that was late.
        because: that delay.
        hour: New York wall time before which no figure of the series is released.
    """

    cadence: Literal["month", "week", "day"]
    lag_days: int
    because: str
    hour: time


_MORNING, _EVENING = time(8, 30), time(16, 15)
_JOBS = "September 2025 came out on 2025-11-20, after 80 days (government shutdown); October's payrolls after 76"
_YIELDS = "weekends with a holiday take 4 days, Hurricane Sandy 5 (2012-10-26), and the H.15 was a weekly release before 1996"
PUBLICATIONS = {
    "FEDFUNDS": Publication("month", 45, "it takes 35 days over New Year, and took 39 as a weekly release", _EVENING),
    "DGS2": Publication("day", 10, _YIELDS, _EVENING),
    "DGS10": Publication("day", 10, _YIELDS, _EVENING),
    "DGS30": Publication("day", 10, _YIELDS, _EVENING),
    "CPIAUCSL": Publication(
        "month", 75, "September 2025 came out on 2025-10-24, after 53 days, September 2013 on 2013-10-30, after 59, and December "
        "1995 after 62 (government shutdowns)", _MORNING,
    ),
    "UNRATE": Publication("month", 95, _JOBS, _MORNING),
    "PAYEMS": Publication("month", 95, _JOBS, _MORNING),
    "ICSA": Publication(
        "week", 70, "the week that ended on 2025-09-27 came out on 2025-11-20, after 54 days, or 60 from its first day "
        "(government shutdown)", _MORNING,
    ),
}  # fmt: skip
"""By FRED's name; the delays are those of the releases' archives at bls.gov, dol.gov and federalreserve.gov."""


def last_day(series: str, period: date) -> date:
    """The last day that the figure of `period` describes; `period` itself for a series that is not in PUBLICATIONS.

    FRED dates a month by its first day, a week of claims by its last one, a Saturday, and a yield by its day.

    Example:
        >>> last_day("CPIAUCSL", date(2025, 9, 1)), last_day("ICSA", date(2025, 9, 27)), last_day("DGS10", date(2025, 9, 5))
        (2025-09-30, 2025-09-27, 2025-09-05)
    """
    cadence = cadence_of(series)
    if cadence == "month":
        return month_end(period)
    return period + timedelta(days=(_SATURDAY - period.weekday()) % 7) if cadence == "week" else period


def month_end(day: date) -> date:
    """The last day of the month of `day`."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def cadence_of(series: str) -> Literal["month", "week", "day"]:
    """Length of the periods of `series`; a day where it is not in PUBLICATIONS."""
    known = PUBLICATIONS.get(series)
    return "day" if known is None else known.cadence


def period_numbers(series: str, periods: pl.Series) -> npt.NDArray[np.int64]:
    """(n,) numbers of dates such that consecutive periods of `series` differ by 1; weekends are no periods of a daily one.

    Example:
        >>> np.diff(period_numbers("CPIAUCSL", pl.Series([date(2025, 8, 1), date(2025, 9, 1), date(2025, 11, 1)])))
        array([1, 2])
    """
    cadence = cadence_of(series)
    if cadence == "month":
        return (periods.dt.year().cast(pl.Int64) * 12 + periods.dt.month()).to_numpy()
    days = periods.to_physical().cast(pl.Int64).to_numpy()
    if cadence == "week":
        return (days + 4) // 7  # 1970-01-03 was a Saturday: a week runs from the Sunday before to it
    return np.busday_count("1970-01-01", days.astype("datetime64[D]"))


def wrong_lag(series: str, days: int) -> str | None:
    """Why a figure of `series` may not count as known `days` after the date of its period; None where it may."""
    known = PUBLICATIONS.get(series)
    if days < 0:
        return f"zero or more days for {series}, from the period to the release"
    if days > _LONGEST_LAG:
        return f"at most {_LONGEST_LAG} days for {series}"
    if known is None or days >= known.lag_days:
        return None
    return f"{known.lag_days} days or more for {series}, since {known.because}: less is look-ahead"


def unknown_series(series: str) -> str | None:
    """Why a setting of `series` would do nothing; None where its figures are read."""
    return None if series in PUBLICATIONS else f"only series that are read ({', '.join(PUBLICATIONS)}), not {series}"


def wrong_hour(series: str, at: time) -> str | None:
    """Why `at` in New York cannot be when `series` is released; None where it can."""
    if at.tzinfo is not None:
        return f'a time without offset for {series}, New York\'s, such as "08:30"'
    known = PUBLICATIONS.get(series)
    return f"{known.hour:%H:%M} or later for {series}, before which none was released" if known and at < known.hour else None
