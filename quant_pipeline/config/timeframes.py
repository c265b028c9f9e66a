"""Timeframe names and lengths: `1m` … `1h` are the ladder; `4h`, `1d`, `1w` and months may be added by configuration."""

from __future__ import annotations

import re
from datetime import timedelta

LADDER = ("1m", "5m", "10m", "15m", "20m", "25m", "30m", "45m", "1h")
_COUNT = re.compile(r"[1-9][0-9]{0,4}")
_UNIT_MINUTES = {"m": 1, "h": 60, "d": 1_440, "w": 10_080, "M": 43_200}


def minutes(timeframe: str) -> int:
    """Length of a timeframe in minutes, 30 days for a month; raises `ValueError` for a name that is not one.

    Example:
        >>> minutes("45m"), minutes("1h")
        (45, 60)
    """
    count, unit = timeframe[:-1], timeframe[-1:]
    if not _COUNT.fullmatch(count) or unit not in _UNIT_MINUTES:
        message = "a number (1 to 99999) and one of m h d w M, such as 15m or 1h"
        raise ValueError(message)
    return int(count) * _UNIT_MINUTES[unit]


def duration(timeframe: str) -> timedelta:
    """Length of a timeframe as a `timedelta`."""
    return timedelta(minutes=minutes(timeframe))
