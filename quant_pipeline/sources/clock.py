"""Timestamps of any kind to UTC microseconds: aware or naive datetimes, epochs of any unit, text with or without offset."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.config.zones import clock_of
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.sources.epochs import EARLIEST, from_epochs, latest, span_told, where
from quant_pipeline.sources.spelling import format_mend, written

if TYPE_CHECKING:
    from collections.abc import Callable

_OFFSET = r"(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
_AFTER_TIME = r"(?::\d{2}(?:\.\d+)?|T\d{4,6})\s*"  # so that the day of 2025-07-01 is no offset
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y%m%d %H:%M:%S%.f", "%Y%m%d %H%M%S", "%Y%m%d %H:%M", "%Y-%m-%d")
_SAYS_UTC = re.compile(r"(?<!%)(Z|UTC|GMT)$")
"""How a format ends whose times carry their zone."""
_SUMMER_TIME = 60  # minutes by which the offsets of one zone differ over a year
_SHOWN = 3


def _correct(_: str) -> str:
    return "correct or remove the row"


def to_utc(
    values: pl.Series, timezone: str | None, name: str, *, time_format: str | None = None, lines: pl.Series | None = None
) -> pl.Series:
    """`values` as Datetime("us", "UTC"); nulls stay.

    Args:
        values: datetimes, dates, whole numbers since 1970 UTC (the unit of each follows from its size), or text (ISO 8601,
            also with / or . in the date or without separators; an offset or Z at the end).
        timezone: the zone of values that carry none, such as Europe/Athens, or of a clock that runs a fixed number of hours
            beside a zone, such as America/New_York+7h; None refuses those. Values that carry one are never reinterpreted.
        name: of the file, for errors.
        time_format: a strptime format; text, and numbers as they are written, are read by it and by nothing else.
        lines: line of each value in its file, for errors; None where the first value stands on line 2.

    Raises:
        DataError: values without a zone, values that are no time or none from 1980 to next week, offsets of several zones,
            local times that do not exist or happen twice (the hours at which clocks change).
        ConfigError: `timezone` is no zone name.

    Example:
        >>> to_utc(pl.Series(["2025-07-01 09:30", "2025-12-01 09:30"]), "America/New_York", "SPY.csv").to_list()
        [2025-07-01 13:30 UTC, 2025-12-01 14:30 UTC]
    """
    thing = f"{name}: column 'timestamp'"
    at = pl.int_range(2, len(values) + 2, eager=True) if lines is None else lines
    read = _read(values, timezone, thing, time_format, at)
    _refuse_implausible(values, read, thing, at)
    return read


def _read(values: pl.Series, timezone: str | None, thing: str, time_format: str | None, lines: pl.Series) -> pl.Series:
    if isinstance(values.dtype, (pl.Date, pl.Datetime)):
        return _from_datetimes(values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values, timezone, thing)
    if time_format is not None and (values.dtype == pl.String or values.dtype.is_integer()):
        return _from_format(values.cast(pl.String), timezone, thing, time_format, lines)
    if values.dtype == pl.String:
        return _from_text(values, timezone, thing, lines)
    if values.dtype.is_numeric():
        return from_epochs(values, thing, lines)
    raise DataError(
        thing, found=f"dtype {values.dtype}", wanted="datetimes, epochs or text", mend="convert the column where the file is made"
    )


def _refuse_implausible(values: pl.Series, read: pl.Series, thing: str, lines: pl.Series) -> None:
    lost = (~read.is_between(EARLIEST, latest())).arg_true()
    if len(lost):
        row = int(lost[0])
        raise DataError(
            f"{thing}, {where(row, lines)}",
            found=f"{str(values[row])!r}, read as {read[row]:%Y-%m-%d %H:%M} UTC ({len(lost)} such rows)", wanted=span_told(),
            mend=format_mend(str(values[row])),
        )  # fmt: skip


def _from_datetimes(values: pl.Series, timezone: str | None, thing: str) -> pl.Series:
    micro = values.dt.cast_time_unit("us")
    if values.dtype.time_zone is not None:  # type: ignore[attr-defined]
        return micro.dt.convert_time_zone("UTC")
    return _localise(micro, timezone, thing)


def _from_format(values: pl.Series, timezone: str | None, thing: str, form: str, lines: pl.Series) -> pl.Series:
    try:
        read = written(values, form)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            "files.time_format", found=f"{form!r} ({str(error).splitlines()[0]})", wanted="a format that tells date and time",
            mend='write it in universe.yaml with directives such as "%d.%m.%Y %H:%M:%S", or export the time as ISO 8601 text',
        ) from None  # fmt: skip
    mend = format_mend if read.null_count() == len(read) else _correct
    refuse_text(values, read, thing, f"a time written {form} (`files.time_format`)", lines, mend)
    if _SAYS_UTC.search(form):
        return read.dt.replace_time_zone("UTC")
    return read if "%z" in form else _localise(read, timezone, thing)


def _from_text(values: pl.Series, timezone: str | None, thing: str, lines: pl.Series) -> pl.Series:
    text = values.str.strip_chars()
    if text.cast(pl.Float64, strict=False).null_count() == text.null_count():
        return from_epochs(text, thing, lines)
    offset = text.str.extract(_AFTER_TIME + _OFFSET)
    local = _parsed(text, thing, lines)
    if offset.null_count() == len(offset):
        return _localise(local, timezone, thing)
    return local.dt.replace_time_zone("UTC") - _offsets(text, offset, thing)


def _parsed(text: pl.Series, thing: str, lines: pl.Series) -> pl.Series:
    """Naive datetimes of text whose offset, if any, is cut off."""
    plain = text.str.replace(f"({_AFTER_TIME}){_OFFSET}", "$1").str.replace("T", " ", literal=True)
    plain = plain.str.head(10).str.replace_all("[/.]", "-") + plain.str.slice(10)
    parsed = pl.Series(values=[None], dtype=pl.Datetime("us")).new_from_index(0, len(plain))
    for form in _FORMATS:
        parsed = parsed.fill_null(plain.str.strip_chars().str.to_datetime(form, time_unit="us", strict=False))
        if parsed.null_count() == text.null_count():
            return parsed
    refuse_text(text, parsed, thing, "a time such as 2025-07-01 09:30:00+00:00, or an epoch", lines, format_mend)
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
        zone, ahead = clock_of(timezone)
    except ValueError as error:
        raise ConfigError("files.timezone", found=repr(timezone), wanted=str(error), mend="edit universe.yaml") from None
    local = local - ahead
    placed = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    lost = (local.is_not_null() & placed.is_null()).arg_true()
    if len(lost):
        raise DataError(
            thing, found=f"{local[int(lost[0])] + ahead}, which {timezone} has twice or not at all ({len(lost)} such rows)",
            wanted="moments that the clock change leaves no doubt about",
            mend="write the timestamps in UTC or with their offset, or set `files.timezone` to the zone that they are really in",
        )  # fmt: skip
    return placed.dt.convert_time_zone("UTC")


def refuse_text(
    before: pl.Series, after: pl.Series, thing: str, wanted: str, lines: pl.Series,
    mend: Callable[[str], str] = _correct,
) -> None:  # fmt: skip
    """Raise `DataError` for the first row that has a value in `before` and none in `after`; `mend` sees that value."""
    lost = (before.is_not_null() & after.is_null()).arg_true()
    if len(lost):
        row = int(lost[0])
        raise DataError(
            f"{thing}, {where(row, lines)}", found=repr(before[row]), wanted=wanted,
            mend=f"{mend(before[row])} ({len(lost)} such rows)",
        )  # fmt: skip
