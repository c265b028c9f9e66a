"""Simulated macro releases: FRED-like series with periods, release times and later revisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from quant_pipeline.sources.base import RELEASES_SCHEMA
from quant_pipeline.sources.simulated.noise import Floats, month_of, month_start, stream

_Value = TypeVar("_Value", float, Floats)

_NEW_YORK = ZoneInfo("America/New_York")
_HISTORY = 24  # months of periods before the epoch, so that the first bar already has a past to look back on
_MORNING, _EVENING = time(8, 30), time(16, 15)
_DAYS = 31  # draws kept for a month: enough for a daily series
_FRIDAY, _SATURDAY, _SUNDAY = 4, 5, 6


@dataclass(frozen=True)
class Series:
    """One macro series: a random walk, told first with an error and, if `revised`, once more without it.

    Attributes:
        code: Name at FRED of the series that it imitates.
        start: Level before the first period.
        drift: Expected change by period of a series that grows; `pull` is the share of its distance from `start` that
            another one makes up by period. At most one of them is not 0.
        step: Standard deviation of the change; `error` is that of a first release.
        cadence: monthly, weekly or daily.
        release: Rule for the release day, see `_released`.
        inflation, growth: What one standard deviation of surprise means for the two macro channels.
    """

    code: str
    start: float
    drift: float
    pull: float
    step: float
    error: float
    cadence: str
    release: str
    decimals: int
    inflation: float = 0.0
    growth: float = 0.0

    @property
    def revised(self) -> bool:
        """Whether a second release follows, together with the next period's first."""
        return self.error > 0

    @property
    def surprise_scale(self) -> float:
        """Standard deviation of a first release against what `expected` made of the period before."""
        return float(np.hypot(self.step, self.error))

    def expected(self, before: _Value) -> _Value:
        """The next period's value, as anyone would expect it from the newest figure of the period before."""
        return before + self.drift + self.pull * (self.start - before)


SERIES = (
    Series("CPIAUCSL", 300.0, 0.65, 0.0, 0.45, 0.15, "monthly", "mid_month", 3, inflation=1.0),
    Series("PAYEMS", 155_000.0, 150.0, 0.0, 90.0, 50.0, "monthly", "first_friday", 0, growth=1.0),
    Series("UNRATE", 3.8, 0.0, 0.03, 0.12, 0.04, "monthly", "first_friday", 1, growth=-0.7),
    Series("FEDFUNDS", 5.1, 0.0, 0.03, 0.08, 0.0, "monthly", "first_business", 2, inflation=0.5),
    Series("ICSA", 220_000.0, 0.0, 0.03, 6_000.0, 3_000.0, "weekly", "thursday", 0, growth=-0.4),
    Series("DGS2", 4.3, 0.0, 0.005, 0.045, 0.0, "daily", "next_business", 2),
    Series("DGS10", 4.0, 0.0, 0.005, 0.050, 0.0, "daily", "next_business", 2),
    Series("DGS30", 4.4, 0.0, 0.005, 0.045, 0.0, "daily", "next_business", 2),
)
# expected squared surprise of a day, both channels together (releases a day times weight squared)
SURPRISES_PER_DAY = sum(
    (series.inflation**2 + series.growth**2) * {"monthly": 12, "weekly": 52, "daily": 260}[series.cadence] / 365.25
    for series in SERIES
)


@lru_cache(maxsize=8)
def vintages(seed: int, epoch: date, last_month: int) -> pl.DataFrame:
    """Every release of every series for periods up to `last_month`, sorted by known_at, in RELEASES form.

    The extra column `surprise` is the standardised surprise of a first release: its value less what
    `Series.expected` makes of the period before, as known at that moment; null for revisions and the very first.
    """
    parts = [_series_vintages(series, seed, epoch, last_month) for series in SERIES]
    return pl.concat(parts).sort("known_at", "series", "period", "revision", maintain_order=True)


def release_table(seed: int, epoch: date, start: datetime, end: datetime) -> pl.DataFrame:
    """Releases with `start` <= released_at < `end`."""
    table = vintages(seed, epoch, month_of(end.astimezone(UTC)))
    inside = table.filter(pl.col("released_at") >= start, pl.col("released_at") < end)
    return inside.select(RELEASES_SCHEMA.names())


def impulses(seed: int, epoch: date, last_month: int) -> pl.DataFrame:
    """What each surprise means: released_at, inflation, growth; for periods up to `last_month`."""
    weights = pl.DataFrame(
        {
            "series": [series.code for series in SERIES],
            "to_inflation": [series.inflation for series in SERIES],
            "to_growth": [series.growth for series in SERIES],
        }
    )
    surprises = vintages(seed, epoch, last_month).filter(pl.col("surprise").is_not_null())
    return surprises.join(weights, on="series", how="left", maintain_order="left").select(
        "released_at",
        inflation=pl.col("surprise") * pl.col("to_inflation"),
        growth=pl.col("surprise") * pl.col("to_growth"),
    )


def _series_vintages(series: Series, seed: int, epoch: date, last_month: int) -> pl.DataFrame:
    periods, steps, errors = _draws(series, seed, month_of(epoch) - _HISTORY, last_month)
    level, value = np.empty(len(steps)), series.start
    for row, step in enumerate(steps.tolist()):
        value = level[row] = series.expected(value) + series.step * step
    released = [_released(series, period) for period in periods]
    first, final = np.round(level + series.error * errors, series.decimals), np.round(level, series.decimals)
    surprise = pl.Series("surprise", (first[1:] - series.expected(final[:-1])) / series.surprise_scale)
    table = _rows(series, periods, released, first, 0).with_columns(
        pl.concat([pl.Series("surprise", [None], pl.Float64()), surprise])
    )
    if not series.revised:
        return table
    later = _rows(series, periods[:-1], released[1:], final[:-1], 1)
    return pl.concat([table, later.with_columns(surprise=pl.lit(None, pl.Float64()))])


def _rows(series: Series, periods: list[date], released: list[datetime], values: Floats, revision: int) -> pl.DataFrame:
    columns = {
        "series": pl.repeat(series.code, len(periods), dtype=pl.String(), eager=True),
        "period": periods,
        "released_at": released,
        "known_at": released,
        "value": values,
        "revision": pl.repeat(revision, len(periods), dtype=pl.Int32(), eager=True),
    }
    return pl.DataFrame(columns, schema=RELEASES_SCHEMA)


def _draws(series: Series, seed: int, first: int, last: int) -> tuple[list[date], Floats, Floats]:
    periods: list[date] = []
    blocks = []
    for month in range(first, last + 1):
        found = _periods(series.cadence, month)
        blocks.append(stream(seed, f"macro {series.code}", month).standard_normal((2, _DAYS))[:, : len(found)])
        periods += found
    steps, errors = np.concatenate(blocks, axis=1)
    return periods, steps, errors


def _periods(cadence: str, month: int) -> list[date]:
    first = month_start(month).date()
    if cadence == "monthly":
        return [first]
    days = [day for offset in range(_DAYS) if (day := first + timedelta(days=offset)).month == first.month]
    wanted = {_SUNDAY} if cadence == "weekly" else set(range(_SATURDAY))
    return [day for day in days if day.weekday() in wanted]


def _released(series: Series, period: date) -> datetime:
    """Release moment (UTC) of a period: New York wall time on the day that the rule names."""
    following = (period.replace(day=1) + timedelta(days=32)).replace(day=1)
    day = {
        "mid_month": lambda: _business(following + timedelta(days=11)),
        "first_friday": lambda: following + timedelta(days=(_FRIDAY - following.weekday()) % 7),
        "first_business": lambda: _business(following),
        # the Thursday after the week, which runs from Sunday to Saturday
        "thursday": lambda: period + timedelta(days=11),
        "next_business": lambda: _business(period + timedelta(days=1)),
    }[series.release]()
    at = _MORNING if series.release in {"mid_month", "first_friday", "thursday"} else _EVENING
    return datetime.combine(day, at, _NEW_YORK).astimezone(UTC)


def _business(day: date) -> date:
    return day + timedelta(days=max(0, 7 - day.weekday()) if day.weekday() >= _SATURDAY else 0)
