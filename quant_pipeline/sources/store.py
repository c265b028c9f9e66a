"""The append-only store of raw bars: one Parquet file per symbol, interval and month; a stored bar never changes.

Layout: `root/SYMBOL/INTERVAL/YYYY-MM.parquet` and `root/SYMBOL/revisions.parquet`. Bars are kept as they came, bad
prices included: `bars/clean.py` judges them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA, check_bars
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.files import frame_hash, locked, read_parquet, write_parquet
from quant_pipeline.ledger import Ledger

_VALUES = [name for name in BARS_SCHEMA if name != "timestamp"]
_KEY = ["interval", "timestamp", *(f"new_{name}" for name in _VALUES)]
REVISIONS_SCHEMA = pl.Schema(
    {
        "interval": pl.String(),
        "timestamp": BARS_SCHEMA["timestamp"],
        **{f"{side}_{name}": BARS_SCHEMA[name] for side in ("old", "new") for name in _VALUES},
        "fetched_at": BARS_SCHEMA["timestamp"],
    }
)


@dataclass(frozen=True)
class RawStore:
    """Raw BARS by symbol and native interval under `root`.

    Every file is replaced whole or not at all, and one process at a time appends to a symbol, so a reader or a killed
    writer never sees half a month.
    """

    root: Path
    _hashes: dict[Path, tuple[tuple[int, int], str]] = field(default_factory=dict, repr=False, compare=False)

    def append(self, symbol: str, interval: str, frame: pl.DataFrame, fetched_at: datetime) -> Ledger:
        """Store the bars of `frame` that are new; a bar that is already stored stays as it was first seen.

        Args:
            symbol: any name; it becomes a folder.
            interval: native interval of the bars, such as 1m.
            frame: BARS in any order, fetched at `fetched_at`.
            fetched_at: aware; noted beside every revision.

        Returns:
            Ledger of the rows: dropped `repeated` (equal rows inside `frame`), `identical` (stored already with equal
            values, floats compared exactly), `revised` (stored already, or earlier in `frame`, with other values: kept in
            `revisions`, once per value). rows_out are the new ones; notes `new_revisions` counts those not seen before.

        Raises:
            DataError: `frame` is not BARS, or a stored file is damaged.
            StorageError: the disk refuses.
        """
        frame = check_bars(frame, f"{symbol} {interval} to be stored", allow_empty=True)
        ledger = Ledger(rows_in=frame.height, notes={"new_revisions": 0})
        if frame.is_empty():
            return ledger
        distinct = frame.unique(maintain_order=True, keep="first")
        ledger.drop("repeated", frame.height - distinct.height)
        with locked(self.folder(symbol) / ".lock"):
            revised = [
                self._append_month(self.folder(symbol, interval) / f"{month}.parquet", rows, ledger)
                for (month,), rows in sorted(distinct.group_by(pl.col("timestamp").dt.strftime("%Y-%m"), maintain_order=True))
            ]
            self._record(symbol, interval, pl.concat(revised), fetched_at, ledger)
        return ledger

    def read(self, symbol: str, interval: str, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
        """Stored BARS, sorted and unique, that open at or after `start` and close at or before `end`; empty if none."""
        files = [path for path in self._months(symbol, interval) if _may_hold(path, start, end)]
        bars = pl.concat([_read(path) for path in files]) if files else pl.DataFrame(schema=BARS_SCHEMA)
        return _between(bars, interval, start, end)

    def revisions(self, symbol: str) -> pl.DataFrame:
        """What a provider changed after the fact: interval, timestamp, old_* (stored), new_* (refused), fetched_at."""
        path = self.folder(symbol) / "revisions.parquet"
        return _read(path) if path.exists() else pl.DataFrame(schema=REVISIONS_SCHEMA)

    def intervals(self, symbol: str) -> tuple[str, ...]:
        """Intervals that hold bars, shortest first."""
        folders = {path.parent.name for path in self.folder(symbol).glob("*/????-??.parquet")}
        return tuple(sorted(folders, key=minutes))

    def first(self, symbol: str, interval: str) -> datetime | None:
        """Open time of the oldest stored bar."""
        files = self._months(symbol, interval)
        return _read(files[0])["timestamp"][0] if files else None

    def last(self, symbol: str, interval: str) -> datetime | None:
        """Open time of the newest stored bar."""
        files = self._months(symbol, interval)
        return _read(files[-1])["timestamp"][-1] if files else None

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

    def _append_month(self, path: Path, rows: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
        """Add the new rows of one month to its file; return the conflicting ones beside what is stored."""
        stored = _read(path) if path.exists() else pl.DataFrame(schema=BARS_SCHEMA)
        new = rows.join(stored, on="timestamp", how="anti").unique("timestamp", maintain_order=True, keep="first")
        whole = pl.concat([stored, new]).sort("timestamp")
        if new.height:
            write_parquet(path, whole)
        known = rows.join(whole, on="timestamp", suffix="_stored")
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in _VALUES)
        conflicting = known.filter(~same)
        ledger.drop("identical", known.height - conflicting.height - new.height)
        ledger.drop("revised", conflicting.height)
        return conflicting

    def _record(self, symbol: str, interval: str, revised: pl.DataFrame, fetched_at: datetime, ledger: Ledger) -> None:
        if revised.is_empty():
            return
        rows = revised.select(
            "timestamp",
            *(pl.col(f"{name}_stored").alias(f"old_{name}") for name in _VALUES),
            *(pl.col(name).alias(f"new_{name}") for name in _VALUES),
            interval=pl.lit(interval),
            fetched_at=pl.lit(fetched_at).cast(BARS_SCHEMA["timestamp"]),
        ).select(list(REVISIONS_SCHEMA))
        known = self.revisions(symbol)
        fresh = rows.join(known, on=_KEY, how="anti", nulls_equal=True)
        ledger.notes["new_revisions"] = fresh.height
        if fresh.height:
            write_parquet(self.folder(symbol) / "revisions.parquet", pl.concat([known, fresh]))

    def _month_hash(self, path: Path, interval: str, until: datetime | None) -> str | None:
        """Hash of a month's bars that close by `until`; None when there are none."""
        if not _may_hold(path, None, until):
            return None
        if until is not None and until < month_span(path.stem)[1] + duration(interval):
            bars = _between(_read(path), interval, None, until)
            return frame_hash(bars) if bars.height else None
        status = path.stat()
        version = (status.st_mtime_ns, status.st_size)
        if self._hashes.get(path, (None, ""))[0] != version:
            self._hashes[path] = (version, frame_hash(_read(path)))
        return self._hashes[path][1]

    def folder(self, symbol: str, interval: str = "") -> Path:
        """Where the files of a symbol, or of one of its intervals, are."""
        return self.root / quote(symbol, safe="^=+") / interval

    def _months(self, symbol: str, interval: str) -> list[Path]:
        return sorted(self.folder(symbol, interval).glob("????-??.parquet"))


def _read(path: Path) -> pl.DataFrame:
    return read_parquet(path, f"restore it from a backup, or delete the folder {path.parent} and ingest again")


def _between(bars: pl.DataFrame, interval: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    if start is not None:
        bars = bars.filter(pl.col("timestamp") >= start)
    return bars if end is None else bars.filter(pl.col("timestamp") + duration(interval) <= end)


def _may_hold(path: Path, start: datetime | None, end: datetime | None) -> bool:
    begin, after = month_span(path.stem)
    return (start is None or start < after) and (end is None or begin < end)


def month_span(month: str) -> tuple[datetime, datetime]:
    """First moment of a month written YYYY-MM, and first moment after it, UTC.

    Example:
        >>> month_span("2024-12")
        (datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    """
    begin = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    return begin, (begin + timedelta(days=31)).replace(day=1)
