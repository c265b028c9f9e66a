"""What the universe says about cleaning one symbol's bars: declared splits, and how many rows may be dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import pydantic

from quant_pipeline.config.model import Settings

_Day = date  # under a name that the field `date` does not hide
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)")
_EARLIEST, _AHEAD = date(1980, 1, 1), timedelta(days=366)  # no bar is older; splits are announced some months before
_LARGEST = 60  # YAML reads an unquoted 3:2 as 182 (base 60), and no company splits 61:1 in one step


class Adjustment(Settings):
    """A split, or a real move that looks like one, of the session that ends on `date` (UTC).

    `ratio` is new shares for one old share: 4 or "4:1" (in quotes) for a four for one split, 0.125 or "1:8" for a reverse
    split; `none` says that the price did move so far. Bars of that session and later are multiplied by the ratio, and
    their volume is divided by it: bars before it, and all that was made of them, stay as they were.

    Example:
        >>> Adjustment(date="2020-08-31", ratio="4:1").factor
        4.0
    """

    date: date
    ratio: float | Literal["none"]

    @pydantic.field_validator("date", mode="before")
    @classmethod
    def _no_count(cls, value: object) -> object:
        if isinstance(value, int | float):
            message = "a date such as 2020-08-31"
            raise ValueError(message)  # noqa: TRY004 - pydantic makes our error of this one only
        return value

    @pydantic.field_validator("date")
    @classmethod
    def _of_our_time(cls, value: _Day) -> _Day:
        latest = datetime.now(UTC).date() + _AHEAD
        if not _EARLIEST <= value <= latest:
            message = f"a date from {_EARLIEST} to {latest}"
            raise ValueError(message)
        return value

    @pydantic.field_validator("ratio", mode="before")
    @classmethod
    def _spelled(cls, value: object) -> object:
        written = _WRITTEN.fullmatch(value.strip()) if isinstance(value, str) else None
        if written and float(written[1]) and float(written[2]):
            return float(written[1]) / float(written[2])
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value != "none" and not (number and 0 < float(str(value)) <= _LARGEST):
            message = f'new shares for one old share, above 0 and at most {_LARGEST} as a number, or "4:1" in quotes, or none'
            raise ValueError(message)
        return value

    @property
    def factor(self) -> float:
        """What prices from `date` on are multiplied by; 1 for a real move."""
        return 1.0 if self.ratio == "none" else self.ratio


class DropLimits(Settings):
    """Largest share of a history's rows that may be dropped for each reason before the bars are refused for training.

    Measured on 20 real files of six vendors (minutes and hours, 2.9 million rows): a closing auction printed as a bar of
    its own and a week of extended hours are 2.9 % of SPY's rows, no other file has 0.4 % outside its session; 0.04 % of
    prices are missing at most; of every other kind there is none. Gold read one hour off its zone has 4.3 % of its rows in the
    daily break. Extended hours beside whole sessions do not count, see `bars/limits.py`. Exact repeats have no limit: they
    lose nothing.
    """

    price_not_finite: float = pydantic.Field(default=0.01, ge=0, le=1)
    price_not_positive: float = pydantic.Field(default=0.01, ge=0, le=1)
    high_below_low: float = pydantic.Field(default=0.01, ge=0, le=1)
    negative_volume: float = pydantic.Field(default=0.01, ge=0, le=1)
    off_the_minute: float = pydantic.Field(default=0.01, ge=0, le=1)
    outside_session: float = pydantic.Field(default=0.04, ge=0, le=1)
    conflicting: float = pydantic.Field(default=0.01, ge=0, le=1)


class CleaningRules(Settings):
    """How the bars of `symbol` are cleaned.

    `limits` is what training judges by; None, as in live inference and replay, judges nothing: a signal looks at a window of
    weeks, and what one odd week drops there must not silence it.
    """

    symbol: str = "bars"
    adjustments: tuple[Adjustment, ...] = ()
    limits: DropLimits | None = None


def each_date_once(adjustments: Sequence[Adjustment]) -> None:
    """Raise `ValueError` where two adjustments have one date."""
    dates = [each.date for each in adjustments]
    if twice := sorted({one for one in dates if dates.count(one) > 1}):
        message = f"one adjustment a date ({twice[0]} has {dates.count(twice[0])})"
        raise ValueError(message)
