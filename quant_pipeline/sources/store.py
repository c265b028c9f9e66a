"""The append-only store of raw bars: one Parquet file per symbol, interval and month; what was seen stays on record.

Layout: `root/SYMBOL/INTERVAL/YYYY-MM.parquet`, BARS with `seen_at` (UTC, when the row was stored) and `withdrawn`. A bar
that is told again with other values is a second row of its timestamp with a later `seen_at`; one that its source no
longer tells is a row that is withdrawn. The newest row counts, or the newest that had been seen by a moment. Bars are
kept as they came, bad prices included: `bars/clean.py` judges them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA, check_bars
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.errors import DataError
from quant_pipeline.files import (
    aware,
    damaged,
    frame_hash,
    listed,
    locked,
    read_parquet,
    read_state,
    stands,
    write_parquet,
    write_state,
)
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.arrival import BEFORE_ALL, look, next_arrival
from quant_pipeline.sources.changes import Changes, compare, distinct, joined, restated_by, since, spoken

STORED_SCHEMA = pl.Schema({**BARS_SCHEMA, "seen_at": BARS_SCHEMA["timestamp"], "withdrawn": pl.Boolean()})

_INTERVAL, _MONTH = re.compile(r"[1-9][0-9]{0,4}[mhdwM]"), re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_AFTER_ALL = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RawStore:
    """Raw BARS by symbol and native interval under `root`.

    Every file is replaced whole or not at all, and one process at a time appends, so a reader or a killed writer never
    sees half a month.
    """

    root: Path
    _hashes: dict[Path, tuple[tuple[int, int], str | None]] = field(default_factory=dict, repr=False, compare=False)

    def append(
        self, symbol: str, interval: str, frame: pl.DataFrame, now: datetime, *, whole: tuple[datetime, datetime] | None = None
    ) -> Ledger:
        """Store what `frame` tells that the store does not; earlier rows stay on record.

        Args:
            symbol: any name; it becomes a folder.
            interval: native interval of the bars, such as 1m.
            frame: BARS in any order.
            now: aware; the clock of the run, from which `seen_at` comes.
            whole: a span [start, end] of which `frame` tells all that there is, as a user's file does: stored bars that
                open and close inside it and are not in `frame` are withdrawn. None: what is not told stays.

        Returns:
            Ledger of the rows: dropped `repeated` (equal rows inside `frame`), `conflicting` (several rows of one time
            inside `frame`: the last one counts), `identical` (stored already with equal values, floats compared
            exactly). rows_out were stored. Notes: `revised` of them had other values before, `withdrawn` are gone,
            `changed` says in words what is other than a continuation.

        Raises:
            DataError: `frame` is not BARS, a stored file is damaged, or, unless `whole`, the overlap differs from what is
                stored by one factor.
            StorageError: the disk refuses.
        """
        frame = check_bars(frame, f"{symbol} {interval} to be stored", allow_empty=True)
        ledger = Ledger(rows_in=frame.height, notes={"revised": 0, "withdrawn": 0, "changed": ""})
        told = distinct(frame, ledger)
        with locked(self.root / ".lock"):
            months = {
                path: self._changes(path, rows, interval, whole) for path, rows in self._told(symbol, interval, told, whole)
            }
            if months:
                self._judge(symbol, interval, joined(list(months.values())), ledger, whole=whole is not None)
            changed = {path: change for path, change in months.items() if change.any}
            seen_at = next_arrival(self.root, now) if changed else now
            for path, change in changed.items():
                rows = _read(path) if stands(path) else pl.DataFrame(schema=STORED_SCHEMA)
                write_parquet(path, _with(rows, change, seen_at))
        return ledger

    def read(
        self, symbol: str, interval: str, start: datetime | None = None, end: datetime | None = None,
        *, seen_by: datetime | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Stored BARS, sorted and unique, that open at or after `start` and close at or before `end`; empty if none.

        Args:
            symbol: any name.
            interval: native interval.
            start: aware; None for the oldest.
            end: aware; None for the newest.
            seen_by: the bars as the store held them at this moment; None for the newest version of each. Training reads
                the newest: `seen_at` of a backfilled history is the day of the backfill, and says nothing of what a
                trader knew.
        """
        files = [path for path in self._months(symbol, interval) if _may_hold(path, start, end)]
        bars = pl.concat([_standing(path, seen_by) for path in files]) if files else pl.DataFrame(schema=BARS_SCHEMA)
        return _between(bars, interval, start, end)

    def look(self) -> datetime:
        """A moment: reading with `seen_by` it gives, ever after, what is there now, of every symbol."""
        return look(self.root)

    def newest_arrival(self, symbol: str, start: datetime, end: datetime) -> datetime:
        """The newest `seen_at` of all versions of the bars, of every interval, that open from `start` on and close by `end`."""
        moments = [BEFORE_ALL]
        for interval in self._kept(symbol):
            for path in self._months(symbol, interval):
                if _may_hold(path, start, end):
                    rows = _between(_read(path, ("timestamp", "seen_at")), interval, start, end)
                    moments += rows.select(pl.col("seen_at").max()).drop_nulls().to_series().to_list()
        return max(moments)

    def asked(self, symbol: str) -> datetime | None:
        """When the source last answered for `symbol` up to that moment; None where that is not on record."""
        path = self._asked_path(symbol)
        mend = "delete it: the next ingest writes it again"
        return read_state(path, mend, lambda told: aware(told["asked"])) if stands(path) else None

    def note_asked(self, symbol: str, now: datetime) -> None:
        """Note that the source answered for `symbol` up to `now`; an earlier moment than the one on record changes nothing."""
        before = self.asked(symbol)
        if before is None or now > before:
            write_state(self._asked_path(symbol), {"asked": now.isoformat()})

    def intervals(self, symbol: str, seen_by: datetime | None = None) -> tuple[str, ...]:
        """Intervals that hold bars, or held them as seen by a moment, shortest first; one of which all are withdrawn is gone."""
        return tuple(interval for interval in self._kept(symbol) if self._holds(symbol, interval, seen_by))

    def withdraw(self, symbol: str, interval: str, now: datetime) -> Ledger:
        """Let all bars of an interval be gone: the source has none of it any more. Earlier moments still read them."""
        return self.append(symbol, interval, pl.DataFrame(schema=BARS_SCHEMA), now, whole=(BEFORE_ALL, _AFTER_ALL))

    def first(self, symbol: str, interval: str) -> datetime | None:
        """Open time of the oldest stored bar."""
        return next(_opens(self._months(symbol, interval), 0), None)

    def last(self, symbol: str, interval: str) -> datetime | None:
        """Open time of the newest stored bar."""
        return next(_opens(self._months(symbol, interval)[::-1], -1), None)

    def newest(self, symbol: str, interval: str, before: datetime, seen_by: datetime | None = None) -> pl.DataFrame:
        """BARS with the newest stored bar that closed by `before`, as seen by a moment; no row where there is none."""
        for path in reversed(self._months(symbol, interval)):
            bars = _between(_standing(path, seen_by), interval, None, before) if _may_hold(path, None, before) else None
            if bars is not None and bars.height:
                return bars.tail(1)
        return pl.DataFrame(schema=BARS_SCHEMA)

    def fingerprint(self, symbol: str, until: datetime | None = None) -> str:
        """Hash over the values of all bars, of all intervals, that close at or before `until`.

        Equal bars give equal fingerprints, however they were fetched; bars after `until` do not count. Hashes of
        months are remembered by file time and size, so asking again reads only what changed.
        """
        digest = hashlib.sha256()
        for interval in self.intervals(symbol):
            for path in self._months(symbol, interval):
                content = self._month_hash(path, interval, until)
                digest.update(f"{interval}/{path.stem}:{content};".encode() if content else b"")
        return digest.hexdigest()

    def patterns(self) -> dict[str, str]:
        """Glob pattern of the files of each interval, of all symbols."""
        intervals = sorted({path.parent.name for path in self.root.glob("*/[0-9]*/????-??.parquet")}, key=minutes)
        return {interval: str(self.root / "*" / interval / "????-??.parquet") for interval in intervals}

    def folder(self, symbol: str, interval: str = "") -> Path:
        """Where the files of a symbol, or of one of its intervals, are."""
        return self.root / quote(symbol, safe="^=+") / interval

    def _asked_path(self, symbol: str) -> Path:
        return self.folder(symbol) / "asked.json"

    def _kept(self, symbol: str) -> list[str]:
        """Intervals that have files, withdrawn bars or not; a folder of another name, such as 1m.old, is none of ours."""
        names = [path.name for path in listed(self.folder(symbol), "[0-9]*") if _INTERVAL.fullmatch(path.name)]
        return sorted((name for name in names if self._months(symbol, name)), key=minutes)

    def _holds(self, symbol: str, interval: str, seen_by: datetime | None) -> bool:
        return any(_standing(path, seen_by).height for path in reversed(self._months(symbol, interval)))

    def _told(
        self, symbol: str, interval: str, told: pl.DataFrame, whole: tuple[datetime, datetime] | None
    ) -> Iterator[tuple[Path, pl.DataFrame]]:
        """The file of each month that is told of, or of which nothing is told though it was asked for, with its rows."""
        asked = [path.stem for path in self._months(symbol, interval) if whole is not None and _may_hold(path, *whole)]
        months = told.group_by(pl.col("timestamp").dt.truncate("1mo"), maintain_order=True)
        rows = {f"{month:%Y-%m}": part for (month,), part in months}
        for month in sorted({*asked, *rows}):
            yield self.folder(symbol, interval) / f"{month}.parquet", rows.get(month, told.clear())

    def _changes(self, path: Path, told: pl.DataFrame, interval: str, whole: tuple[datetime, datetime] | None) -> Changes:
        stored = _standing(path) if stands(path) else pl.DataFrame(schema=BARS_SCHEMA)
        return compare(stored, told, None if whole is None else _between(stored, interval, *whole))

    def _judge(self, symbol: str, interval: str, changes: Changes, ledger: Ledger, *, whole: bool) -> None:
        """Count the changes, and refuse those that would put two price scales into one history."""
        ledger.drop("identical", changes.identical)
        ledger.notes |= {"revised": changes.told.height, "withdrawn": changes.gone.height}
        held = (self.first(symbol, interval), self.last(symbol, interval)) if changes.any else (None, None)
        ledger.notes["changed"] = spoken(changes, *held, whole=whole)
        factor = None if whole else restated_by(changes)
        if factor is not None:
            raise DataError(
                f"{symbol} {interval}", wanted="the same prices as before, but for single corrections",
                found=f"{changes.told.height} bars since {since(changes.told)} told again with all prices times {factor:.6g}: "
                "a split or adjustment",
                mend=f"move the folder {self.folder(symbol)} away and run again: all of the history then comes on the new scale, "
                "as far back as the source tells",
            )  # fmt: skip

    def _month_hash(self, path: Path, interval: str, until: datetime | None) -> str | None:
        """Hash of a month's bars that close by `until`; None when there are none."""
        if not _may_hold(path, None, until):
            return None
        if until is not None and until < month_span(path.stem)[1] + duration(interval):
            return _hash(_between(_standing(path), interval, None, until))
        status = path.stat()
        version = (status.st_mtime_ns, status.st_size)
        if self._hashes.get(path, (None, ""))[0] != version:
            self._hashes[path] = (version, _hash(_standing(path)))
        return self._hashes[path][1]

    def _months(self, symbol: str, interval: str) -> list[Path]:
        return listed_months(self.folder(symbol, interval))


def _with(rows: pl.DataFrame, changes: Changes, seen_at: datetime) -> pl.DataFrame:
    """The rows of a month and those that `changes` adds, as seen at `seen_at`."""
    told, gone = (pl.lit(value).alias("withdrawn") for value in (False, True))
    added = [*(part.with_columns(told) for part in (changes.new, changes.told)), changes.gone.with_columns(gone)]
    stamped = pl.concat(added).with_columns(seen_at=pl.lit(seen_at).cast(STORED_SCHEMA["seen_at"])).select(list(STORED_SCHEMA))
    return pl.concat([rows, stamped]).sort("timestamp", "seen_at", maintain_order=True)


def _standing(path: Path, seen_by: datetime | None = None) -> pl.DataFrame:
    """BARS of a month: of the rows of one time the last that had been seen, unless it is withdrawn."""
    rows = _read(path, None if seen_by else [name for name in STORED_SCHEMA if name != "seen_at"])
    if seen_by is not None:
        rows = rows.filter(pl.col("seen_at") <= seen_by)
    counts = (rows["timestamp"] != rows["timestamp"].shift(-1)).fill_null(True) & ~rows["withdrawn"]
    return (rows if counts.all() else rows.filter(counts)).select(list(BARS_SCHEMA))


def _opens(files: Sequence[Path], row: int) -> Iterator[datetime]:
    """The open of the bar at `row` of each month that holds any."""
    yield from (bars["timestamp"][row] for bars in map(_standing, files) if bars.height)


def _hash(bars: pl.DataFrame) -> str | None:
    return frame_hash(bars) if bars.height else None


def mend(path: Path) -> str:
    """The way out for a damaged file."""
    return f"restore it from a backup, or delete the folder {path.parent} and ingest again"


def _read(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    schema = pl.Schema({name: dtype for name, dtype in STORED_SCHEMA.items() if columns is None or name in columns})
    rows = read_parquet(path, mend(path), columns, schema=schema)
    demand_month(rows["timestamp"], path, mend(path))
    return rows


def _between(bars: pl.DataFrame, interval: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    if start is not None:
        bars = bars.filter(pl.col("timestamp") >= start)
    return bars if end is None else bars.filter(pl.col("timestamp") + duration(interval) <= end)


def _may_hold(path: Path, start: datetime | None, end: datetime | None) -> bool:
    begin, after = month_span(path.stem)
    return (start is None or start < after) and (end is None or begin < end)


def listed_months(folder: Path) -> list[Path]:
    """The files of months in `folder`, oldest first; files of other names are none of ours."""
    return [path for path in listed(folder, "????-??.parquet") if _MONTH.fullmatch(path.stem)]


def demand_month(moments: pl.Series, path: Path, mend: str) -> None:
    """Raise `DamagedError` unless all `moments` lie in the month that `path` is named after, in order."""
    begin, after = month_span(path.stem)
    if not moments.is_sorted():
        raise damaged(path, "rows out of order", mend)
    if len(moments) and not (begin <= moments[0] and moments[-1] < after):
        raise damaged(path, f"rows of {moments[0]:%Y-%m-%d} to {moments[-1]:%Y-%m-%d}, another month's", mend)


def month_span(month: str) -> tuple[datetime, datetime]:
    """First moment of a month written YYYY-MM, and first moment after it, UTC.

    Example:
        >>> month_span("2024-12")
        (datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    """
    begin = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    return begin, (begin + timedelta(days=31)).replace(day=1)
