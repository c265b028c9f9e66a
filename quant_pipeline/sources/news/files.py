"""The user's own headlines: one Parquet or CSV file of titles with the time of their publication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.base import HEADLINES_SCHEMA, UTC_TIME
from quant_pipeline.sources.news.times import Told, as_text, is_zone, told_time
from quant_pipeline.sources.news.titles import LONGEST, tidy

_TIMES = ("published_at", "timestamp")
_ROW = "row"
MOST_BAD = 0.05
"""Of a symbol's rows may have times that cannot be read; with more the form of the file is not understood."""


@dataclass(frozen=True)
class FileNews:
    """Headlines of `path`: columns `published_at` (or `timestamp`) and `title`; `symbol`, `source` and `link` may be missing.

    A time is read by the rule of `sources/news/times.py`: `published_at` is the earliest moment that it may mean and
    `known_at` the latest, which for a date, or a stamp at midnight, is the end of that day.

    Args:
        path: a .parquet or a .csv file with a header.
        delay: added to the latest moment that a time may mean.
        timezone: of times that carry none; None refuses those. A date needs none: it ends where days end last.
        market_wide: whether rows whose symbol is null or empty are given to every symbol. Without a `symbol` column all
            rows are.
    """

    path: Path
    delay: timedelta = timedelta(0)
    timezone: str | None = None
    market_wide: bool = False
    name: str = "files"

    def headlines(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows of `HEADLINES_SCHEMA`, and `link`, with `start` <= `published_at` < `end`, sorted by `known_at`."""
        table, _ = self.read(symbol)
        return table.filter(pl.col("published_at") >= start, pl.col("published_at") < end)

    def read(self, symbol: str) -> tuple[pl.DataFrame, Ledger]:
        """All rows of `symbol` as HEADLINES with `link`, sorted by `known_at`.

        Returns:
            The rows, and their ledger: dropped `other_symbol`, `market_wide`, `no_time`, `bad_time`, `no_title`; notes
            count `vague_times` (known at the end of what they may mean) and `title_too_long` (cut).

        Raises:
            DataError: an unreadable file, a missing column, times without a zone, or more than `MOST_BAD` that are none.
            ConfigError: `timezone` is no zone.
        """
        table = _load(self.path)
        ledger = Ledger(rows_in=table.height, notes={"vague_times": 0, "title_too_long": 0})
        if "symbol" not in table.columns:
            table = table.with_columns(symbol=pl.lit(symbol))
        against = {
            "market_wide": pl.col("symbol").is_null() & pl.lit(not self.market_wide),
            "other_symbol": pl.col("symbol").fill_null(symbol) != symbol,
            "no_time": pl.col("time").str.strip_chars().fill_null("") == "",
        }
        table = _without(table, against, ledger)
        table = _without(self._timed(table), {"bad_time": pl.col("known_at").is_null()}, ledger)
        table = table.with_columns(pl.col("title").fill_null("").map_elements(tidy, return_dtype=pl.String))
        table = _without(table, {"no_title": pl.col("title") == ""}, ledger)
        ledger.notes["vague_times"] = table.filter(pl.col("known_at") > pl.col("published_at")).height
        ledger.notes["title_too_long"] = table.filter(pl.col("title").str.len_chars() > LONGEST).height
        whole = table.with_columns(
            known_at=pl.col("known_at") + self.delay, symbol=pl.lit(symbol), title=pl.col("title").str.head(LONGEST)
        )
        return whole.select(*HEADLINES_SCHEMA, "link").sort("known_at", maintain_order=True), ledger

    def _timed(self, table: pl.DataFrame) -> pl.DataFrame:
        """`table` with the earliest and the latest moment of each time; null where it cannot be read."""
        if self.timezone is not None and not is_zone(self.timezone):
            raise ConfigError(
                "news.timezone", found=repr(self.timezone), wanted="a zone such as America/New_York or UTC",
                mend="correct `news: {timezone: …}` in the experiment",
            )  # fmt: skip
        told = [told_time(text, self.timezone) for text in table["time"]]
        self._check(table, told)
        return table.with_columns(
            published_at=pl.Series([time and time.earliest for time in told], dtype=UTC_TIME),
            known_at=pl.Series([time and time.latest for time in told], dtype=UTC_TIME),
        )

    def _check(self, table: pl.DataFrame, told: Sequence[Told | None]) -> None:
        bad = [row for row, time in enumerate(told) if time is None]
        if len(bad) > MOST_BAD * len(told):
            raise DataError(
                self._line(table, bad[0]), found=f"{table['time'][bad[0]]!r} ({len(bad)} such rows of {len(told)})",
                wanted="a time such as 2025-07-01T09:30:00-04:00, a date such as 2025-07-01, or an epoch",
                mend="write the times so where the file is made",
            )  # fmt: skip
        naive = [row for row, time in enumerate(told) if time is not None and not (time.zoned or time.whole_day)]
        if naive:
            raise DataError(
                self._line(table, naive[0]), found=f"{table['time'][naive[0]]!r} without a time zone ({len(naive)} such rows)",
                wanted="times with their offset, or the zone of the file",
                mend="set `news: {timezone: America/New_York}`, or the zone that it is, in the experiment",
            )  # fmt: skip

    def _line(self, table: pl.DataFrame, row: int) -> str:
        return f"{self.path.name}: times of news, data row {table[_ROW][row]}"


def _without(table: pl.DataFrame, against: Mapping[str, pl.Expr], ledger: Ledger) -> pl.DataFrame:
    """`table` less the rows of each reason, which go to the ledger."""
    for reason, wrong in against.items():
        ledger.drop(reason, table.filter(wrong).height)
        table = table.remove(wrong)
    return table


def _load(path: Path) -> pl.DataFrame:
    """`time` as text, title, source, link, the number of the `row`, and `symbol` (empty text as null) where the file has one."""
    table = _read(path)
    stamp = next((name for name in _TIMES if name in table.columns), None)
    if stamp is None or "title" not in table.columns:
        raise DataError(
            str(path), found=f"columns {', '.join(table.columns)}", wanted="published_at (or timestamp) and title",
            mend="rename the columns where the file is made",
        )  # fmt: skip
    texts = [name for name in ("title", "source", "link", "symbol") if name in table.columns]
    kept = table.select(pl.col(texts).cast(pl.String)).with_columns(time=as_text(table[stamp])).with_row_index(_ROW, offset=1)
    absent = {name: pl.lit(None, pl.String) for name in ("source", "link") if name not in texts}
    empty_symbol = [pl.col("symbol").replace("", None)] if "symbol" in texts else []
    return kept.with_columns(*empty_symbol, **absent)


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, encoding="utf8-lossy")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            str(path), found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            wanted="a Parquet or CSV file of headlines", mend="copy or export the file again",
        ) from error  # fmt: skip
