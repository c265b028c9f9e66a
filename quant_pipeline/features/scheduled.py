"""What of an exchange's calendar is known ahead: closures and early closes that recur by a rule.

A calendar of the past also holds what nobody foresaw: the attack of 2001, Hurricane Sandy, days of mourning, snow. A
feature that looks ahead must not read those, not even the few days that some were announced before.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from datetime import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.bars.moments import NEVER, Int64s

if TYPE_CHECKING:
    import pandas as pd

Dates = npt.NDArray[np.datetime64]
_SPAN = ("1970-01-01", "2100-12-31")
_CLOSE, _BREAK = "market_close", "break_start"


class Days(NamedTuple):
    """Trading days of one year, in order.

    Attributes:
        opens: first opening, microseconds.
        label: the date that names the day.
        half: whether a rule lets the day close before its ordinary time.
        close: when it closed; `told` is when its morning (`told_break`, NEVER without a lunch break) and the day were to
            close as known ahead: as they did, or at the time of the rule, or the ordinary one where no rule explains an
            early close.
    """

    opens: Int64s
    label: Dates
    half: npt.NDArray[np.bool_]
    close: Int64s
    told: Int64s
    told_break: Int64s

    def closing(self, row: Int64s, opened: Int64s, closes: Int64s) -> Int64s:
        """For sessions (n,) of the days `row`: when each was to close, as known ahead."""
        morning = opened < self.told_break[row]
        planned = np.where(morning, self.told_break[row], self.told[row])
        return np.where((closes == self.close[row]) & (self.told[row] > closes), planned, closes)


@lru_cache(maxsize=2_048)
def days_of(calendar: str, year: int) -> Days:
    """The trading days of `year`; cached, so nothing may be written into them."""
    exchange = exchange_of(calendar)
    schedule = exchange.schedule(f"{year}-01-01", f"{year}-12-31")
    label = schedule.index.to_numpy("datetime64[D]")
    close, ordinary = _microseconds(schedule[_CLOSE]), _microseconds(exchange.days_at_time(schedule.index, _CLOSE))
    planned = _planned(label, ordinary, calendar)
    half = (close < ordinary) & (planned < ordinary)
    lunch = np.full(close.size, NEVER)
    if _BREAK in schedule:
        begin, end = (_microseconds(exchange.days_at_time(schedule.index, edge)) for edge in (_BREAK, "break_end"))
        lunch = np.where(begin < end, begin, NEVER)  # an abolished break is empty
    told = np.where(close < ordinary, np.maximum(close, planned), close)
    return Days(_microseconds(schedule["market_open"]), label, half, close, told, lunch)


@lru_cache(maxsize=256)
def holidays_of(calendar: str) -> Dates:
    """Days without trading that recur by a rule, sorted, from 1970 to 2100."""
    holidays: Dates = _recurring(_rules(exchange_of(calendar).regular_holidays), _names(calendar))
    return holidays


@lru_cache(maxsize=256)
def exchange_of(calendar: str) -> Any:
    """The calendar of pandas-market-calendars."""
    import pandas_market_calendars as calendars

    return calendars.get_calendar(calendar)


def _planned(label: Dates, ordinary: Int64s, calendar: str) -> Int64s:
    """When each day was to close by a rule, for a weekday or for a date that recurs: the earliest, `ordinary` without one."""
    planned = ordinary.copy()
    monday_first = (label.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    for at, weekday, dates in _early_closes(calendar):
        ruled = np.isin(label, dates) if weekday is None else monday_first == weekday
        closes = _microseconds(exchange_of(calendar).days_at_time(label[ruled].astype("datetime64[ns]"), at))
        planned[ruled] = np.minimum(planned[ruled], closes)
    return planned


@lru_cache(maxsize=256)
def _early_closes(calendar: str) -> tuple[tuple[time, int | None, Dates], ...]:
    """(exchange's time, weekday or None, dates that recur by a rule) of every early close."""
    names = _names(calendar)
    return tuple(
        (at, days, _recurring([], names)) if isinstance(days, int) else (at, None, _recurring(_rules(days), names))
        for at, days in exchange_of(calendar).get_special_times(_CLOSE)
    )


@lru_cache(maxsize=256)
def _names(calendar: str) -> frozenset[str]:
    """Names of rules that hold in more than one year: an event of one year may be called a rule, yet none foresaw it."""
    exchange, years = exchange_of(calendar), defaultdict[str, set[int]](set)
    special = [days for _, days in exchange.get_special_times(_CLOSE) if not isinstance(days, int)]
    for rule in [*_rules(exchange.regular_holidays), *(rule for days in special for rule in _rules(days))]:
        years[rule.name].update(_dates(rule).year)
    return frozenset(name for name, found in years.items() if len(found) > 1)


def _rules(holidays: Any) -> list[Any]:
    return list(getattr(holidays, "rules", None) or ())


def _recurring(rules: Iterable[Any], names: frozenset[str]) -> Dates:
    found = [_dates(rule).to_numpy("datetime64[D]") for rule in rules if rule.name in names]
    return np.unique(np.concatenate([np.empty(0, "datetime64[D]"), *found]))


def _dates(rule: Any) -> pd.DatetimeIndex:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)  # of offsets that pandas cannot vectorise
        dates: pd.DatetimeIndex = rule.dates(*map(pd.Timestamp, _SPAN)).tz_localize(None)
    return dates


def _microseconds(times: pd.Series) -> Int64s:
    stamps: Int64s = times.dt.tz_convert("UTC").dt.as_unit("us").to_numpy("datetime64[us]").astype(np.int64)
    return stamps
