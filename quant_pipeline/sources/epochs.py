"""Numbers as moments: each value by its own unit, and whatever is no plausible moment in any unit is refused by name."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import polars as pl

from quant_pipeline.bars.moments import UTC_MICROSECONDS
from quant_pipeline.errors import DataError

EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
"""No stamp may be older: nothing before 1990 is ever trained on, and so late no count of a wrong unit or origin passes."""
AHEAD = timedelta(days=7)
"""How far a stamp may lie after the clock of this machine: a file of another zone, a clock that is wrong."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_TICKS = (630_822_816_000_000_000, 662_380_416_000_000_000)  # .NET ticks of 2000 to 2100; nanoseconds of 1989-12 to 1990-12
_SERIALS = (20_000, 80_000)  # Excel's days since 1899-12-30: 1954 to 2119
_CALENDAR = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_FORMS = "datetimes, ISO 8601 text, or seconds, milliseconds, microseconds or nanoseconds since 1970 UTC"


def latest() -> datetime:
    """The last moment that a stamp may name today."""
    return datetime.now(UTC) + AHEAD


def span_told() -> str:
    """The plausible span, for errors."""
    return f"a moment from {EARLIEST:%Y-%m-%d} to {latest():%Y-%m-%d}"


def from_epochs(values: pl.Series, thing: str, lines: pl.Series) -> pl.Series:
    """Numbers, or text of numbers, as Datetime("us", "UTC"); nulls stay.

    The unit of each value is the one of s, ms, us and ns since 1970 UTC in which it lies between `EARLIEST` and now; the
    four spans do not overlap. What looks like .NET ticks of 2000 to 2100 is refused: nanoseconds of 1990 cannot be told
    from them.

    Raises:
        DataError: naming the first value that is no such moment, its line, and what it looks like.
    """
    whole = pl.lit(None, pl.Int64) if values.dtype.is_float() else values.cast(pl.Int64, strict=False)
    numbers = pl.DataFrame({"part": values.cast(pl.Float64, strict=False)}).with_columns(whole=whole)
    read = numbers.select(pl.coalesce(_micros(unit) for unit in _PER_SECOND)).to_series()
    lost = (values.is_not_null() & read.is_null()).arg_true()
    if len(lost):
        raise _no_epoch(values, int(lost[0]), len(lost), thing, lines)
    return read.cast(UTC_MICROSECONDS).rename(values.name)


def _micros(unit: str) -> pl.Expr:
    """Microseconds of the values that are a plausible moment in `unit`, null for others."""
    per, part, whole = _PER_SECOND[unit], pl.col("part"), pl.col("whole")
    plausible = part.is_between(EARLIEST.timestamp() * per, latest().timestamp() * per)
    if unit == "ns":
        plausible &= ~part.is_between(*_TICKS)
    exact = whole // 1_000 if unit == "ns" else whole * (10**6 // per)
    return pl.when(plausible).then(pl.coalesce(exact, (part / per * 10**6).round().cast(pl.Int64, strict=False)))


def _no_epoch(values: pl.Series, row: int, count: int, thing: str, lines: pl.Series) -> DataError:
    told, mend = _resembles(str(values[row]).strip(), float(str(values[row])))
    return DataError(
        f"{thing}, {where(row, lines)}",
        found=f"{str(values[row]).strip()!r}, {told} ({count} such rows)", wanted=f"{span_told()}: {_FORMS}", mend=mend,
    )  # fmt: skip


def _resembles(text: str, number: float) -> tuple[str, str]:
    """What a number looks like that is no epoch, and the way out."""
    if _SERIALS[0] <= number < _SERIALS[1]:
        day = datetime(1899, 12, 30, tzinfo=UTC) + timedelta(days=number)
        return (
            f"an Excel serial date ({day:%Y-%m-%d %H:%M})",
            "give the column the cell format yyyy-mm-dd hh:mm:ss and export again",
        )
    if _TICKS[0] <= number <= _TICKS[1]:
        day = datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=number / 10)
        return f"a count of .NET ticks ({day:%Y-%m-%d %H:%M})", "export the time as ISO 8601 text"
    form = calendar_format(text.removesuffix(".0"))
    if form:
        return "a calendar time without separators", f'set `files.time_format: "{form}"` of the symbol in universe.yaml'
    return (
        "no such moment in any unit",
        "export the time as ISO 8601 text, or set `files.time_format` of the symbol in universe.yaml",
    )


def calendar_format(text: str) -> str | None:
    """The strptime format of digits such as 202507011330, None where they are no calendar time."""
    form = _CALENDAR.get(len(text), "")
    with suppress(ValueError):
        if form and EARLIEST.year <= datetime.strptime(text, form).replace(tzinfo=UTC).year <= latest().year:
            return form
    return None


def where(row: int, lines: pl.Series) -> str:
    """How errors name a row: its number among the data, and its line where the file is text."""
    return f"data row {row + 1} (line {lines[row]} of a CSV)"
