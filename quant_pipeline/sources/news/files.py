"""The user's own headlines: one Parquet or CSV file of titles with the time of their publication."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path

import polars as pl

from quant_pipeline.errors import DataError
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.base import HEADLINES_SCHEMA
from quant_pipeline.sources.clock import to_utc
from quant_pipeline.sources.news.titles import LONGEST, tidy

_TIMES = ("published_at", "timestamp")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class FileNews:
    """Headlines of `path`: columns `published_at` (or `timestamp`) and `title`; `symbol`, `source` and `link` may be missing.

    A stamp at midnight is a date without a time: the article may have come at any moment of that day, so it is known
    only at the day's end.

    Args:
        path: a .parquet or a .csv file with a header.
        delay: added to the publication time.
        timezone: of times that carry none; None refuses those.
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
            The rows, and their ledger: dropped `other_symbol`, `market_wide`, `no_time`, `no_title`; notes count
            `midnight_stamps` (known at the end of their day) and `title_too_long` (cut).

        Raises:
            DataError: an unreadable file, a missing column, times without a zone or that are none.
        """
        table = _load(self.path, self.timezone)
        ledger = Ledger(rows_in=table.height, notes={"midnight_stamps": 0, "title_too_long": 0})
        if "symbol" not in table.columns:
            table = table.with_columns(symbol=pl.lit(symbol))
        table = table.with_columns(pl.col("title").fill_null("").map_elements(tidy, return_dtype=pl.String))
        against = {
            "market_wide": pl.col("symbol").is_null() & pl.lit(not self.market_wide),
            "other_symbol": pl.col("symbol").fill_null(symbol) != symbol,
            "no_time": pl.col("published_at").is_null(),
            "no_title": pl.col("title") == "",
        }
        for reason, wrong in against.items():
            ledger.drop(reason, table.filter(wrong).height)
            table = table.remove(wrong)
        midnight = pl.col("published_at").dt.convert_time_zone(self.timezone or "UTC").dt.time() == time(0)
        ledger.notes["midnight_stamps"] = table.filter(midnight).height
        ledger.notes["title_too_long"] = table.filter(pl.col("title").str.len_chars() > LONGEST).height
        known = pl.col("published_at") + pl.when(midnight).then(_DAY).otherwise(timedelta(0)) + self.delay
        whole = table.with_columns(known_at=known, symbol=pl.lit(symbol), title=pl.col("title").str.head(LONGEST))
        return whole.select(*HEADLINES_SCHEMA, "link").sort("known_at", maintain_order=True), ledger


def _load(path: Path, timezone: str | None) -> pl.DataFrame:
    """published_at, title, source, link, and `symbol` (empty text as null) where the file has one."""
    table = _read(path)
    stamp = next((name for name in _TIMES if name in table.columns), None)
    if stamp is None or "title" not in table.columns:
        raise DataError(
            str(path), found=f"columns {', '.join(table.columns)}", wanted="published_at (or timestamp) and title",
            mend="rename the columns where the file is made",
        )  # fmt: skip
    texts = [name for name in ("title", "source", "link", "symbol") if name in table.columns]
    published = to_utc(table[stamp], timezone, path.name)
    kept = table.select(pl.col(texts).cast(pl.String)).with_columns(published_at=published)
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
