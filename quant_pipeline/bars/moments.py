"""Moments as integers: kernels and searches run on microseconds since 1970 (UTC), tables on polars datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.errors import DataError

Int64s = npt.NDArray[np.int64]
UTC_MICROSECONDS = pl.Datetime("us", "UTC")
NEVER = np.iinfo(np.int64).min  # stands for a null moment: earlier than every real one
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moments: pl.Series) -> Int64s:
    """Microseconds since 1970 UTC of a UTC datetime series; nulls become `NEVER`. Shares memory where it can.

    Raises:
        DataError: the series is not of dtype Datetime("us", "UTC").
    """
    if moments.dtype != UTC_MICROSECONDS:
        raise DataError(
            f"column {moments.name!r}", found=f"dtype {moments.dtype}", wanted=str(UTC_MICROSECONDS),
            mend="convert it to UTC microseconds where the table is made",
        )  # fmt: skip
    physical = moments.to_physical()
    return (physical.fill_null(NEVER) if physical.null_count() else physical).to_numpy()


def moments(values: Int64s, name: str) -> pl.Series:
    """A UTC datetime series called `name` from microseconds since 1970; `NEVER` becomes null."""
    series = pl.Series(name, values).cast(UTC_MICROSECONDS)
    if len(values) and values.min() == NEVER:
        return series.set(pl.Series(values == NEVER), None)
    return series


def to_microseconds(moment: datetime, thing: str) -> int:
    """Microseconds since 1970 of an aware datetime; raises `DataError` naming `thing` when it carries no time zone."""
    if moment.tzinfo is None:
        raise DataError(thing, found=f"{moment} without a time zone", wanted="an aware datetime", mend="add tzinfo=UTC")
    return (moment - _EPOCH) // _MICROSECOND


def require_columns(frame: pl.DataFrame, columns: tuple[str, ...], thing: str) -> None:
    """Raise `DataError` naming the columns that `frame` (called `thing`) lacks."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            thing, found=f"columns {frame.columns}", wanted=f"also {', '.join(missing)}",
            mend="make the table with the step that owns it",
        )  # fmt: skip
