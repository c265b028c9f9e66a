"""Names of clocks that a file may be written by: a zone, or a clock that runs a fixed number of hours beside one."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

_BESIDE = re.compile(r"(.+?)([+-]\d{1,2})h")  # America/New_York+7h
_FURTHEST = 14  # hours: no clock on earth is further from UTC
SPELLING = f"a zone such as America/New_York, or at most {_FURTHEST} hours beside one: America/New_York+7h"
"""What a clock may be called, for errors."""


@cache
def is_zone(name: str) -> bool:
    """Whether `name` is a zone of the tz database; the zone of this machine (`localtime`) and stand-ins of it are none."""
    try:
        ZoneInfo(name)
        pl.Series([datetime(2025, 1, 1)]).dt.replace_time_zone(name)  # noqa: DTZ001 - a clock's time, to be placed
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError):
        return False
    return True


def clock_of(name: str) -> tuple[str, timedelta]:
    """The zone of the clock `name`, and how far it runs ahead of it; raises `ValueError` where it is none.

    Example:
        >>> clock_of("America/New_York+7h")
        ('America/New_York', datetime.timedelta(seconds=25200))
    """
    beside = _BESIDE.fullmatch(name)
    zone, hours = (beside[1], int(beside[2])) if beside else (name, 0)
    if not is_zone(zone) or abs(hours) > _FURTHEST:
        raise ValueError(SPELLING)
    return zone, timedelta(hours=hours)
