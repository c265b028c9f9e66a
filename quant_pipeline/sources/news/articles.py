"""The append-only store of headlines: one Parquet file per symbol and month of `known_at`; first seen wins.

Layout: `root/SYMBOL/YYYY-MM.parquet`. A stored article never changes and never moves in time, so what a decision could
read stays the same for ever.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds, require_columns, to_microseconds
from quant_pipeline.errors import DataError
from quant_pipeline.files import frame_hash, locked, read_parquet, stands, write_parquet
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.arrival import look, next_arrival
from quant_pipeline.sources.base import HEADLINES_SCHEMA, UTC_TIME
from quant_pipeline.sources.news.titles import article_id, title_key
from quant_pipeline.sources.store import demand_month, listed_months, month_span

ARTICLES_SCHEMA = pl.Schema(
    {
        "article_id": pl.String(),
        "published_at": UTC_TIME,
        "known_at": UTC_TIME,
        "seen_at": UTC_TIME,
        "symbol": pl.String(),
        "title": pl.String(),
        "source": pl.String(),
        "link": pl.String(),
    }
)
SAME_TITLE = timedelta(days=2)
"""Equal titles published this close together are one article, passed on; further apart, a headline that recurs."""
_ORDER = ["known_at", "published_at", "article_id"]
_REPEATED, _STORED = "repeated", "seen_before"


@dataclass(frozen=True)
class ArticleStore:
    """Articles by symbol under `root`.

    Every file is replaced whole or not at all, and one process at a time appends to a symbol.

    Args:
        root: folder of the store.
        same_title: within which equal titles are one article. A source that makes its titles from few patterns, as the
            simulated market does, needs zero: only titles of the same moment are then one.
    """

    root: Path
    same_title: timedelta = SAME_TITLE

    def append(self, symbol: str, frame: pl.DataFrame, seen_at: datetime, *, backfill: bool) -> Ledger:
        """Store the articles of `frame` that are new; one that is stored already stays as it was first seen.

        `known_at` of a backfilled article is the frame's: its publication plus the source's delay. An article collected
        live is known at `seen_at` if that is later, so that a replay sees exactly what the live run saw.

        Args:
            symbol: any name; it becomes a folder.
            frame: HEADLINES in any order; `link`, `article_id` and `first` may be missing. Where `first` is true the row
                came with the first collection of its feed, which nobody watched before: it counts as backfill.
            seen_at: aware; when the rows were collected.
            backfill: whether all rows are history, from files or the simulated market.

        Returns:
            Ledger: dropped `repeated` (the same article twice in `frame`: equal link, or equal title within
            `same_title`) and `seen_before` (stored already); rows_out are the new ones.

        Raises:
            DataError: columns are missing or null, or a stored file is damaged.
            StorageError: the disk refuses.
        """
        rows = _rows(symbol, frame, seen_at, backfill=backfill)
        ledger = Ledger(rows_in=rows.height)
        if rows.is_empty():
            return ledger
        with locked(self.root / ".lock"):
            why = copies(rows, self.read(symbol), self.same_title)
            for reason in (_REPEATED, _STORED):
                ledger.drop(reason, int((why == reason).sum()))
            new = _stamped(rows.filter(why == ""), self.root, seen_at)
            months = new.group_by(pl.col("known_at").dt.strftime("%Y-%m"), maintain_order=True)
            for (month,), part in sorted(months, key=lambda group: str(group[0][0])):
                path = self.folder(symbol) / f"{month}.parquet"
                stored = _read(path) if stands(path) else pl.DataFrame(schema=ARTICLES_SCHEMA)
                write_parquet(path, pl.concat([stored, part]).sort(_ORDER))
        return ledger

    def read(
        self, symbol: str, start: datetime | None = None, end: datetime | None = None, *, seen_by: datetime | None = None
    ) -> pl.DataFrame:
        """Stored articles (ARTICLES_SCHEMA) with `start` <= `known_at` <= `end`, sorted by `known_at`; empty if none.

        With `seen_by`, those that the store held at a moment that `look` told; see `sources/arrival.py`.
        """
        files = [path for path in self._months(symbol) if _may_hold(path, start, end)]
        articles = pl.concat([_read(path) for path in files]) if files else pl.DataFrame(schema=ARTICLES_SCHEMA)
        if seen_by is not None:
            articles = articles.filter(pl.col("seen_at") <= seen_by)
        if start is not None:
            articles = articles.filter(pl.col("known_at") >= start)
        return articles if end is None else articles.filter(pl.col("known_at") <= end)

    def look(self) -> datetime:
        """A moment: reading with `seen_by` it gives, ever after, what is there now, of every symbol."""
        return look(self.root)

    def fingerprint(self, symbol: str, until: datetime | None = None) -> str:
        """Hash over the articles known by `until`; when they were seen does not count, beyond what it does to `known_at`."""
        articles = self.read(symbol, end=until).drop("seen_at", "symbol")
        return frame_hash(articles) if articles.height else hashlib.sha256().hexdigest()

    def folder(self, symbol: str) -> Path:
        """Where the files of a symbol are."""
        return self.root / quote(symbol, safe="^=+")

    def _months(self, symbol: str) -> list[Path]:
        return listed_months(self.folder(symbol))


def copies(rows: pl.DataFrame, stored: pl.DataFrame, same_title: timedelta) -> pl.Series:
    """For each row "repeated", "seen_before", or "" for the first of its article.

    Args:
        rows: published_at, title and article_id; earlier rows come first. Stories that share a link and no title are
            different ones: feeds link to a front page, and a live blog has one address all day.
        stored: the same columns of articles that were there before.
        same_title: equal titles published no further apart are one article.
    """
    seen = _Seen(same_title // timedelta(microseconds=1))
    for title, number, at in _identities(stored):
        seen.add(title, number, at, _STORED)
    found = []
    for title, number, at in _identities(rows):
        found.append(seen.why(title, number, at))
        if not found[-1]:
            seen.add(title, number, at, _REPEATED)
    return pl.Series("why", found, dtype=pl.String())


def _identities(rows: pl.DataFrame) -> Iterator[tuple[str, str, int]]:
    at: Int64s = microseconds(rows["published_at"])
    return zip(map(title_key, rows["title"].to_list()), rows["article_id"].to_list(), at.tolist(), strict=True)


class _Seen:
    """The articles met so far, by article_id and by title key."""

    def __init__(self, width: int) -> None:
        self._width = width  # microseconds
        self._numbers: dict[str, str] = {}
        self._titles: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)

    def add(self, title: str, number: str, at: int, where: str) -> None:
        self._titles[title].append((at, where))
        if number != article_id(title, None):  # a title alone may recur
            self._numbers.setdefault(number, where)

    def why(self, title: str, number: str, at: int) -> str:
        if number in self._numbers:
            return self._numbers[number]
        return next((where for moment, where in self._titles.get(title, ()) if abs(moment - at) <= self._width), "")


def _rows(symbol: str, frame: pl.DataFrame, seen_at: datetime, *, backfill: bool) -> pl.DataFrame:
    """`frame` as ARTICLES, live rows before those of a first collection, earlier ones first."""
    thing = f"headlines of {symbol} to be stored"
    to_microseconds(seen_at, "seen_at")
    require_columns(frame, ("published_at", "known_at", "title", "source"), thing)
    for name in ("published_at", "known_at", "title"):
        if frame[name].null_count() or frame[name].dtype != HEADLINES_SCHEMA[name]:
            raise DataError(
                thing, found=f"{name} of dtype {frame[name].dtype} with {frame[name].null_count()} nulls",
                wanted=f"{HEADLINES_SCHEMA[name]} without nulls", mend="collect them with a source of sources/news",
            )  # fmt: skip
    early = frame.filter(pl.col("known_at") < pl.col("published_at"))
    if early.height:
        title, known, published = (early[name][0] for name in ("title", "known_at", "published_at"))
        raise DataError(
            thing, found=f"{title!r} known at {known}, before its publication at {published}",
            wanted="known_at at or after published_at", mend="collect them with a source of sources/news",
        )  # fmt: skip
    absent = {"link": pl.lit(None, pl.String), "article_id": pl.lit(None, pl.String), "first": pl.lit(False)}
    given = frame.with_columns(**{name: value for name, value in absent.items() if name not in frame.columns})
    named = pl.struct("title", "link").map_elements(lambda row: article_id(row["title"], row["link"]), return_dtype=pl.String)
    seen = pl.lit(seen_at).cast(UTC_TIME)
    live = ~pl.col("first") & (not backfill)
    return (
        given.with_columns(
            known_at=pl.when(live).then(pl.max_horizontal("known_at", seen)).otherwise("known_at"),
            seen_at=seen,
            symbol=pl.lit(symbol),
            article_id=pl.col("article_id").fill_null(named),
        )
        .sort("first", "known_at", "published_at", maintain_order=True)
        .select(pl.col(name).cast(kind) for name, kind in ARTICLES_SCHEMA.items())
    )


def _stamped(rows: pl.DataFrame, root: Path, seen_at: datetime) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    return rows.with_columns(seen_at=pl.lit(next_arrival(root, seen_at)).cast(UTC_TIME))


def _read(path: Path) -> pl.DataFrame:
    mend = "restore it from a backup; without one, delete it: what the feeds still tell will come again, as seen then"
    rows = read_parquet(path, mend, schema=ARTICLES_SCHEMA)
    demand_month(rows["known_at"], path, mend)
    return rows


def _may_hold(path: Path, start: datetime | None, end: datetime | None) -> bool:
    begin, after = month_span(path.stem)
    return (start is None or start < after) and (end is None or begin <= end)
