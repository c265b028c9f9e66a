"""The append-only store of macro releases, and the clock that every source of them shares.

Layout: `root/series/SERIES.parquet` and `root/revisions.parquet`. A stored release never changes: a new vintage of a
period is a new row with its own `released_at`, and another value for the same `released_at` goes to the revisions file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl

from quant_pipeline.bars.moments import require_columns
from quant_pipeline.config.macro_series import last_day
from quant_pipeline.errors import DataError
from quant_pipeline.files import damaged, frame_hash, listed, locked, read_parquet, stands, write_parquet
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.arrival import look, next_arrival
from quant_pipeline.sources.base import RELEASES_SCHEMA, UTC_TIME

NEW_YORK = "America/New_York"
ORDER = ("known_at", "series", "period", "revision")
_KEY = ["series", "period", "released_at"]
_TOLD = ("known_at", "value")
_MEND = "restore it from a backup, or delete it and ingest again"
STORED_SCHEMA = pl.Schema({**RELEASES_SCHEMA, "seen_at": UTC_TIME})
REVISIONS_SCHEMA = pl.Schema(
    {
        **{name: RELEASES_SCHEMA[name] for name in _KEY},
        **{f"{side}_{name}": RELEASES_SCHEMA[name] for side in ("old", "new") for name in _TOLD},
        "fetched_at": UTC_TIME,
    }
)


def start_of_day(day: pl.Expr) -> pl.Expr:
    """First moment (UTC) of a date in New York: the `released_at` of a release that tells no clock time."""
    return _new_york(day.cast(pl.Datetime("us")))


def known_from(day: pl.Expr, at: time | None) -> pl.Expr:
    """When a release of the date `day` may be used, UTC: at `at` on New York's clock, or at the end of that day.

    A vintage date tells the day and no hour, so that only the end of the day is surely not too early.

    Example:
        >>> pl.select(known_from(pl.lit(date(2025, 7, 4)), None), known_from(pl.lit(date(2025, 7, 4)), time(8, 30))).row(0)
        (2025-07-05 04:00 UTC, 2025-07-04 12:30 UTC)
    """
    if at is None:
        return _new_york(day.dt.offset_by("1d").cast(pl.Datetime("us")))
    return _new_york(day.dt.combine(at))


def _new_york(wall: pl.Expr) -> pl.Expr:
    return wall.dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def numbered(releases: pl.DataFrame) -> pl.DataFrame:
    """RELEASES from rows without `revision`: vintages of a period counted from 0, a missing value not counted."""
    told = pl.col("value").is_not_null().cast(pl.Int32)
    counted = (told.cum_sum() - told).over("series", "period").alias("revision")
    return (
        releases.sort("known_at", "released_at", "series", "period")
        .with_columns(counted)
        .select(list(RELEASES_SCHEMA))
        .sort(ORDER)
    )


def first_release(releases: pl.DataFrame) -> pl.DataFrame:
    """The first value ever told for each series and period, sorted by `known_at`; what is known of revisions is left out."""
    told = releases.filter(pl.col("value").is_not_null(), pl.col("revision") == 0)
    return told.sort(ORDER).unique(["series", "period"], keep="first").sort(ORDER)


@dataclass(frozen=True)
class ReleaseStore:
    """Macro RELEASES under `root`.

    Every file is replaced whole or not at all, and one process at a time appends, so a reader or a killed writer never
    sees half a series.
    """

    root: Path

    def append(self, frame: pl.DataFrame, fetched_at: datetime) -> Ledger:
        """Store the releases of `frame` that are new; one that is already stored stays as it was first seen.

        Args:
            frame: RELEASES in any order; `value` is null where the source told that there is none.
            fetched_at: aware; noted beside every conflict.

        Returns:
            Ledger of the rows: dropped `missing` (no value), `repeated` (equal rows inside `frame`), `identical` (stored
            already), `revised` (another value or known_at for the same series, period and released_at: kept in
            `revisions`, once per value). rows_out are the new ones; notes `new_revisions` counts conflicts not seen before.

        Raises:
            DataError: `frame` is not RELEASES, a release known before it was released or before the period that it
                describes was over, or a damaged file.
            StorageError: the disk refuses.
        """
        told = _checked(frame)
        ledger = Ledger(rows_in=frame.height, notes={"new_revisions": 0})
        ledger.drop("missing", frame.height - told.height)
        distinct = told.unique([*_KEY, *_TOLD], maintain_order=True, keep="first")
        ledger.drop("repeated", told.height - distinct.height)
        if distinct.is_empty():
            return ledger
        with locked(self.root / ".lock"):
            stored = self._stored().drop("seen_at")
            new = distinct.join(stored, on=_KEY, how="anti").unique(_KEY, maintain_order=True, keep="first")
            seen_at = next_arrival(self.root, fetched_at) if new.height else fetched_at
            groups = distinct.group_by("series", maintain_order=True)
            conflicts = [self._append_series(self._path(str(series)), rows, ledger, seen_at) for (series,), rows in groups]
            self._record(pl.concat(conflicts), fetched_at, ledger)
        return ledger

    def read(self, until: datetime | None = None, *, seen_by: datetime | None = None) -> pl.DataFrame:
        """Stored RELEASES known at `until`, sorted by `known_at`; `revision` counts the vintages on record.

        With `seen_by`, those that the store held at a moment that `look` told; see `sources/arrival.py`.
        """
        table = self._stored()
        if seen_by is not None:
            table = table.filter(pl.col("seen_at") <= seen_by)
        table = table.drop("seen_at")
        if until is not None:
            table = table.filter(pl.col("known_at") <= until)
        # a source that was asked from a later start numbers from there: the first on record keeps its number
        number = pl.col("revision").first() + pl.int_range(pl.len(), dtype=pl.Int32)
        return table.sort(*ORDER[:3], "released_at").with_columns(number.over("series", "period")).sort(ORDER)

    def look(self) -> datetime:
        """A moment: reading with `seen_by` it gives, ever after, what is there now."""
        return look(self.root)

    def revisions(self) -> pl.DataFrame:
        """What a source changed after the fact: series, period, released_at, old_* (stored), new_* (refused), fetched_at."""
        path = self.root / "revisions.parquet"
        return read_parquet(path, _MEND, schema=REVISIONS_SCHEMA) if stands(path) else pl.DataFrame(schema=REVISIONS_SCHEMA)

    def fingerprint(self, until: datetime | None = None) -> str:
        """Hash over all releases known at `until`; equal releases give equal fingerprints, however they were fetched."""
        return frame_hash(self.read(until))

    def _stored(self) -> pl.DataFrame:
        frames = [_series(path) for path in listed(self.root / "series", "*.parquet")]
        return pl.concat(frames) if frames else pl.DataFrame(schema=STORED_SCHEMA)

    def _append_series(self, path: Path, rows: pl.DataFrame, ledger: Ledger, seen_at: datetime) -> pl.DataFrame:
        """Add the new rows of one series to its file; return the conflicting ones beside what is stored."""
        stored = _series(path) if stands(path) else pl.DataFrame(schema=STORED_SCHEMA)
        new = (
            rows.with_columns(seen_at=pl.lit(seen_at).cast(UTC_TIME))
            .join(stored, on=_KEY, how="anti")
            .unique(_KEY, maintain_order=True, keep="first")
        )
        whole = pl.concat([stored, new]).sort("released_at", "period")
        if new.height:
            write_parquet(path, whole)
        known = rows.join(whole, on=_KEY, suffix="_stored")
        same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_stored") for name in _TOLD)
        conflicting = known.filter(~same)
        ledger.drop("identical", known.height - conflicting.height - new.height)
        ledger.drop("revised", conflicting.height)
        return conflicting

    def _record(self, conflicting: pl.DataFrame, fetched_at: datetime, ledger: Ledger) -> None:
        if conflicting.is_empty():
            return
        rows = conflicting.select(
            *_KEY,
            *(pl.col(f"{name}_stored").alias(f"old_{name}") for name in _TOLD),
            *(pl.col(name).alias(f"new_{name}") for name in _TOLD),
            fetched_at=pl.lit(fetched_at).cast(UTC_TIME),
        )
        known = self.revisions()
        fresh = rows.join(known, on=[*_KEY, *(f"new_{name}" for name in _TOLD)], how="anti")
        ledger.notes["new_revisions"] = fresh.height
        if fresh.height:
            write_parquet(self.root / "revisions.parquet", pl.concat([known, fresh]))

    def _path(self, series: str) -> Path:
        return self.root / "series" / f"{quote(series, safe='')}.parquet"


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of `frame` that hold a value, as RELEASES."""
    require_columns(frame, tuple(RELEASES_SCHEMA), "releases to be stored")
    frame = frame.select(list(RELEASES_SCHEMA))
    if frame.schema != RELEASES_SCHEMA:
        wrong = next(name for name, dtype in RELEASES_SCHEMA.items() if frame.schema[name] != dtype)
        raise DataError(
            f"releases to be stored: column {wrong!r}", found=f"dtype {frame.schema[wrong]}", wanted=str(RELEASES_SCHEMA[wrong]),
            mend="convert it where the table is made",
        )  # fmt: skip
    hole = pl.any_horizontal(pl.col(name).is_null() for name in RELEASES_SCHEMA if name != "value")
    bad = frame.filter(hole | (pl.col("known_at") < pl.col("released_at")) | pl.col("value").is_infinite())
    if bad.height:
        raise DataError(
            "releases to be stored", found=f"{bad.row(0, named=True)}",
            wanted="every column filled, a finite value or none, known_at not before released_at",
            mend="correct the row where the table is made",
        )  # fmt: skip
    _check_over(frame)
    return frame.filter(pl.col("value").is_not_null(), pl.col("value").is_not_nan())


def _check_over(frame: pl.DataFrame) -> None:
    """Refuse a figure that was known, by New York's clock, before the period that it describes was over."""
    periods = frame.select("series", "period").unique(maintain_order=True)
    ends = periods.with_columns(last_day=pl.Series([last_day(*row) for row in periods.iter_rows()], dtype=pl.Date))
    over = start_of_day(pl.col("last_day").dt.offset_by("1d"))
    early = frame.join(ends, on=["series", "period"], maintain_order="left").filter(pl.col("known_at") < over)
    if early.height:
        series, period, released, known, last = early.select("series", "period", "released_at", "known_at", "last_day").row(0)
        raise DataError(
            f"macro series {series!r}", wanted=f"a release after its period, which ends on {last}",
            found=f"{period} released at {released:%Y-%m-%d %H:%M} UTC, known at {known:%Y-%m-%d %H:%M} UTC",
            mend="correct the release date where the table is made; a day without an hour counts from its end",
        )  # fmt: skip


def _series(path: Path) -> pl.DataFrame:
    rows = read_parquet(path, _MEND, schema=STORED_SCHEMA)
    others = rows["series"].unique().sort().to_list()
    if others not in ([], [unquote(path.stem)]):
        raise damaged(path, f"releases of {', '.join(others)}", _MEND)
    return rows
