"""The record of every look at the final test span: append-only JSON lines, one per use.

A test span is honest for as long as it is used once. This file does not forbid a second use; it makes it visible.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_pipeline.files import create, read_records, refusal

if TYPE_CHECKING:
    from pathlib import Path

_MOMENT = pl.Datetime("us", "UTC")
_SCHEMA: dict[str, Any] = {
    "when": _MOMENT,
    "who": pl.String,
    "why": pl.String,
    "bundle": pl.String,
    "start": _MOMENT,
    "end": _MOMENT,
}
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
        DamagedError: what stands there is no record.
    """
    start, end = (each.isoformat() for each in span)
    use = {"when": when.isoformat(), "who": who, "why": why, "bundle": bundle, "start": start, "end": end}
    line = f"{json.dumps(use)}\n".encode()
    if create(path, line):  # with its first line, so that an empty record is a damaged one
        return
    read_test_uses(path)
    try:
        with path.open("ab", buffering=0) as stream:
            _append_whole(stream.fileno(), line)
    except OSError as error:
        raise refusal(path, error) from error


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
        DamagedError: a line that is no record, naming its number, or a file without any.
    """
    mend = "restore the record from a backup; it is written by record_test_use only"
    return pl.DataFrame(read_records(path, mend, _use, "a JSON object with when, who and why"), schema=_SCHEMA)


def count_uses(uses: pl.DataFrame, span: tuple[datetime, datetime]) -> int:
    """How many different bundles have been scored on a part of `span` (first and last decision); see `read_test_uses`.

    Making the same bundle again shows nothing new and counts once. Another bundle, by other settings or of another
    week's data, is one more draw from the same rows, of which a person may keep the luckiest. A use without a span counts.
    """
    apart = (pl.col("end") < span[0]) | (pl.col("start") > span[1])
    scored = pl.coalesce("bundle", pl.col("why").str.extract(r"^bundle (\S+) of "), "why")
    return int(uses.filter(~apart.fill_null(value=False)).select(scored.n_unique()).item())


def _use(told: dict[str, Any]) -> dict[str, str | datetime | None]:
    return {name: _value(told[name], kind) if name in _ALWAYS or name in told else None for name, kind in _SCHEMA.items()}


def _value(told: Any, kind: Any) -> str | datetime:
    if not isinstance(told, str):
        raise TypeError(f"{told!r} is no text")
    if kind == pl.String:
        return told
    moment = datetime.fromisoformat(told)
    if moment.tzinfo is None:
        raise ValueError(f"{told!r} has no time zone")
    return moment.astimezone(UTC)
