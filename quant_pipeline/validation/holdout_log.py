"""The record of every look at the final test span: append-only JSON lines, one per use.

A test span is honest for as long as it is used once. This file does not forbid a second use; it makes it visible.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.errors import DataError, StorageError
from quant_pipeline.files import damaged

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_MOMENT = pl.Datetime("us", "UTC")
_SCHEMA = {"when": _MOMENT, "who": pl.String, "why": pl.String, "bundle": pl.String, "start": _MOMENT, "end": _MOMENT}
_ALWAYS = ("when", "who", "why")


def record_test_use(path: Path, who: str, when: datetime, why: str, *, bundle: str, span: tuple[datetime, datetime]) -> None:
    """Append one use of the test span to `path`; lines that are there are never touched.

    Args:
        path: the record, made with its folder when absent.
        who: the run or person.
        when: aware moment of the use.
        why: what was scored, and on whose behalf.
        bundle: id of what was scored; it tells training data and settings apart.
        span: first and last decision that it was scored on, aware.

    Raises:
        StorageError: the disk refuses; the record is then as it was before.
    """
    start, end = (each.isoformat() for each in span)
    use = {"when": when.isoformat(), "who": who, "why": why, "bundle": bundle, "start": start, "end": end}
    line = json.dumps(use) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as stream:
            _append_whole(stream.fileno(), line.encode())
    except OSError as error:
        raise StorageError(str(path), found=error, wanted="room for one more line", mend="free space, then run again") from error


def _append_whole(descriptor: int, line: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def read_test_uses(path: Path) -> pl.DataFrame:
    """All recorded uses, oldest first: when, who, why, bundle, start, end; no rows where there is no record.

    Null: bundle and span of a use that was recorded before those were.

    Raises:
        DataError: a line that is no record, naming its number.
    """
    lines = _lines(path)
    rows = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(_SCHEMA, pl.String))
    return frame.with_columns(pl.col("when", "start", "end").str.to_datetime(time_unit="us", time_zone="UTC"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, str(error), "restore the record from a backup; it is written by record_test_use only") from error


def count_uses(uses: pl.DataFrame, span: tuple[datetime, datetime]) -> int:
    """How many different bundles have been scored on a part of `span` (first and last decision); see `read_test_uses`.

    Making the same bundle again shows nothing new and counts once. Another bundle, by other settings or of another
    week's data, is one more draw from the same rows, of which a person may keep the luckiest. A use without a span counts.
    """
    apart = (pl.col("end") < span[0]) | (pl.col("start") > span[1])
    scored = pl.coalesce("bundle", pl.col("why").str.extract(r"^bundle (\S+) of "), "why")
    return int(uses.filter(~apart.fill_null(value=False)).select(scored.n_unique()).item())


def _parse(line: str, where: str) -> dict[str, str | None]:
    try:
        use = json.loads(line)
        return {name: str(use[name]) if name in _ALWAYS or name in use else None for name in _SCHEMA}
    except (ValueError, TypeError, KeyError):
        raise DataError(where, found=repr(line[:80]), wanted="a JSON object with when, who and why",
                        mend="restore the record from a backup; it is written by record_test_use only") from None  # fmt: skip
