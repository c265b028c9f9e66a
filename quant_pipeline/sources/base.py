"""The protocols that every data source implements, and the empty tables that fix their columns and dtypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import polars as pl

if TYPE_CHECKING:
    from datetime import datetime

UTC_TIME = pl.Datetime("us", "UTC")

BARS_SCHEMA = pl.Schema(
    {
        "timestamp": UTC_TIME,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
    }
)
HEADLINES_SCHEMA = pl.Schema(
    {
        "published_at": UTC_TIME,
        "known_at": UTC_TIME,
        "symbol": pl.String(),
        "title": pl.String(),
        "source": pl.String(),
    }
)
RELEASES_SCHEMA = pl.Schema(
    {
        "series": pl.String(),
        "period": pl.Date(),
        "released_at": UTC_TIME,
        "known_at": UTC_TIME,
        "value": pl.Float64(),
        "revision": pl.Int32(),
    }
)


@dataclass(frozen=True)
class Fetched:
    """What a source told: raw bars as they came, and in `problems` every piece that did not arrive.

    `frame` has the columns and dtypes of `BARS_SCHEMA`; `timestamp` is the bar's OPEN time. It may hold repeats, gaps
    and bad prices: `bars/clean.py` judges them. A non-empty `problems` means that the frame is partial but usable.
    """

    frame: pl.DataFrame
    problems: tuple[str, ...] = ()


@runtime_checkable
class MarketSource(Protocol):
    """Bars of one or more native intervals. `simulated` marks everything that was made up."""

    @property
    def name(self) -> str:
        """Short name for ledgers, pools and reports."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether the rows are made up; reports then say SIMULATED."""
        ...

    def intervals(self, symbol: str) -> tuple[str, ...]:
        """Native intervals of `symbol`, finest first, such as `("1m", "15m", "1h")`."""
        ...

    @property
    def whole(self) -> bool:
        """Whether a fetch tells all that there is of its span, as a user's file does: what it leaves out is no more."""
        ...

    def fetch(self, symbol: str, interval: str, start: datetime, end: datetime) -> Fetched:
        """Bars of one of `intervals(symbol)` that open at or after `start` and close at or before `end`.

        Raises `SourceError` when nothing usable came, `ConfigError` for a symbol or interval that the source lacks.
        """
        ...

    def horizon(self, symbol: str, now: datetime) -> datetime:
        """The newest moment that the source can tell about at `now`; for files, the close of the last bar."""
        ...


@runtime_checkable
class NewsSource(Protocol):
    """Headlines with the time of their publication."""

    def headlines(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows of `HEADLINES_SCHEMA` with `start` <= `published_at` < `end`, sorted by `known_at`.

        `known_at` is `published_at` plus the source's delay, never earlier. A simulated source adds `tone`, a Float64
        in [-1, 1], for grading only: no model may read it.
        """
        ...


@runtime_checkable
class MacroSource(Protocol):
    """Macro observations by the day on which they became public, revisions included."""

    def releases(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows of `RELEASES_SCHEMA` with `start` <= `released_at` < `end`, sorted by `known_at`.

        `period` is the first day of what the value describes; `revision` counts from 0, the first release.
        """
        ...


def empty_bars() -> pl.DataFrame:
    """A BARS table with no rows."""
    return pl.DataFrame(schema=BARS_SCHEMA)
