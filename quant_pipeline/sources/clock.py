"""Timestamps of any kind to UTC microseconds: aware or naive datetimes, epochs of any unit, text with or without offset."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from quant_pipeline.bars.moments import UTC_MICROSECONDS
from quant_pipeline.errors import ConfigError, DataError

_OFFSET = r"(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
_AFTER_TIME = r"(?::\d{2}(?:\.\d+)?|T\d{4,6})\s*"  # so that the day of 2025-07-01 is no offset
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y%m%d %H:%M:%S%.f", "%Y%m%d %H%M%S", "%Y%m%d %H:%M", "%Y-%m-%d")
# an epoch of this size or more counts the unit before: seconds reach 1e11 in the year 5138, milliseconds in 1973
_EPOCHS = (("s", 10**11), ("ms", 10**14), ("us", 10**17), ("ns", None))
_PER_MICROSECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}
_SUMMER_TIME = 60  # minutes by which the offsets of one zone differ over a year
_SHOWN = 3


def to_utc(values: pl.Series, timezone: str | None, name: str) -> pl.Series:
    """`values` as Datetime("us", "UTC"); nulls stay.

    Args:
        values: datetimes, whole numbers since 1970 UTC (the unit follows from their size), or text (ISO 8601, also with
            / or . in the date or without separators; an offset or Z at the end).
        timezone: the zone of values that carry none; None refuses those. Values that carry one are never reinterpreted.
        name: of the file, for errors.

    Raises:
        DataError: values without a zone, text that is no time, offsets of several zones, local times that do not exist
            or happen twice (the hours at which clocks change).
        ConfigError: `timezone` is no zone name.

    Example:
        >>> to_utc(pl.Series(["2025-07-01 09:30", "2025-12-01 09:30"]), "America/New_York", "SPY.csv").to_list()
        [2025-07-01 13:30 UTC, 2025-12-01 14:30 UTC]
    """
    thing = f"{name}: column 'timestamp'"
    if isinstance(values.dtype, pl.Datetime):
        return _from_datetimes(values, timezone, thing)
    if values.dtype == pl.String:
        return _from_text(values, timezone, thing)
    if values.dtype.is_numeric():
        return _from_epoch(values)
    raise DataError(
        thing, found=f"dtype {values.dtype}", wanted="datetimes, epochs or text", mend="convert the column where the file is made"
    )


def _from_datetimes(values: pl.Series, timezone: str | None, thing: str) -> pl.Series:
    micro = values.dt.cast_time_unit("us")
    if values.dtype.time_zone is not None:  # type: ignore[attr-defined]
        return micro.dt.convert_time_zone("UTC")
    return _localise(micro, timezone, thing)


def _from_epoch(values: pl.Series) -> pl.Series:
    size = values.cast(pl.Float64).abs().median()
    unit = next(unit for unit, limit in _EPOCHS if limit is None or not size or float(size) < limit)  # type: ignore[arg-type]
    if unit == "ns":
        return (values.cast(pl.Int64) // 1_000).cast(UTC_MICROSECONDS)
    return (values * _PER_MICROSECOND[unit]).cast(pl.Int64).cast(UTC_MICROSECONDS)


def _from_text(values: pl.Series, timezone: str | None, thing: str) -> pl.Series:
    text = values.str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    if number.null_count() == text.null_count() and not text.str.contains(r"^\d{8}$").all():
        return _from_epoch(text.cast(pl.Int64, strict=False) if text.str.contains(r"^\d+$").all() else number)
    offset = text.str.extract(_AFTER_TIME + _OFFSET)
    local = _parsed(text, thing)
    if offset.null_count() == len(offset):
        return _localise(local, timezone, thing)
    return local.dt.replace_time_zone("UTC") - _offsets(text, offset, thing)


def _parsed(text: pl.Series, thing: str) -> pl.Series:
    """Naive datetimes of text whose offset, if any, is cut off."""
    plain = text.str.replace(f"({_AFTER_TIME}){_OFFSET}", "$1").str.replace("T", " ", literal=True)
    plain = plain.str.head(10).str.replace_all("[/.]", "-") + plain.str.slice(10)
    parsed = pl.Series(values=[None], dtype=pl.Datetime("us")).new_from_index(0, len(plain))
    for form in _FORMATS:
        parsed = parsed.fill_null(plain.str.strip_chars().str.to_datetime(form, time_unit="us", strict=False))
        if parsed.null_count() == text.null_count():
            return parsed
    refuse_text(text, parsed, thing, "a time such as 2025-07-01 09:30:00+00:00, or an epoch")
    return parsed


def _offsets(text: pl.Series, offset: pl.Series, thing: str) -> pl.Series:
    """Offset of each row as a duration; refuses rows without one and offsets that no single zone has."""
    bare = (offset.is_null() & text.is_not_null()).arg_true()
    kinds = offset.drop_nulls().unique(maintain_order=True).to_list()
    if len(bare):
        raise DataError(
            thing, found=f"mixed time zones: {text[int(bare[0])]!r} has none, others have {kinds[0]}", wanted="one time zone",
            mend="write every timestamp with its offset",
        )  # fmt: skip
    minutes = {kind: _minutes(kind) for kind in kinds}
    if max(minutes.values()) - min(minutes.values()) > _SUMMER_TIME:
        raise DataError(
            thing, found=f"mixed time zones: {', '.join(kinds[:_SHOWN])}", wanted="one time zone",
            mend="write every timestamp in UTC",
        )  # fmt: skip
    minutes_east = offset.replace_strict(minutes, return_dtype=pl.Int64)
    return (minutes_east * 60_000_000).cast(pl.Duration("us"))


def _minutes(offset: str) -> int:
    if offset[0] not in "+-":
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return int(f"{offset[0]}{int(digits[:2]) * 60 + int(digits[2:])}")


def _localise(local: pl.Series, timezone: str | None, thing: str) -> pl.Series:
    if timezone is None:
        raise DataError(
            thing, found=f"{local.drop_nulls().first()!s} without a time zone", wanted="timestamps with a time zone",
            mend="set `files.timezone` of the symbol in universe.yaml to the zone of the file, such as UTC or America/New_York",
        )  # fmt: skip
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(
            "files.timezone", found=repr(timezone), wanted="a zone such as America/New_York", mend="edit universe.yaml"
        ) from None
    placed = local.dt.replace_time_zone(timezone, ambiguous="null", non_existent="null")
    lost = (local.is_not_null() & placed.is_null()).arg_true()
    if len(lost):
        raise DataError(
            thing, found=f"{local[int(lost[0])]}, which {timezone} has twice or not at all ({len(lost)} such rows)",
            wanted="moments that the clock change leaves no doubt about", mend="write the timestamps in UTC or with their offset",
        )  # fmt: skip
    return placed.dt.convert_time_zone("UTC")


def refuse_text(before: pl.Series, after: pl.Series, thing: str, wanted: str) -> None:
    """Raise `DataError` for the first row that has a value in `before` and none in `after`."""
    lost = (before.is_not_null() & after.is_null()).arg_true()
    if len(lost):
        row = int(lost[0]) + 1
        raise DataError(
            f"{thing}, data row {row} (line {row + 1} of a CSV)", found=repr(before[row - 1]), wanted=wanted,
            mend=f"correct or remove the row ({len(lost)} such rows)",
        )  # fmt: skip
