"""The user's own macro series: one CSV file per series, each figure with the day on which it was released.

A figure belongs to its release, not to the period that it describes: July's inflation is known in the middle of August.
A file without release dates is therefore refused, unless the user states how many days after its period each figure of
the series was public.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from quant_pipeline.config.macro_series import PUBLICATIONS, last_day, month_end, wrong_lag
from quant_pipeline.errors import ConfigError, DataError, SourceError
from quant_pipeline.sources.base import UTC_TIME
from quant_pipeline.sources.macro.releases import NEW_YORK, known_from, numbered, start_of_day
from quant_pipeline.sources.table import check_end

_PERIOD = ("period", "date", "observation_date")
_RELEASED = "released_at"
_MONTH = len("2024-01")
LONGEST_LAG = max(publication.lag_days for publication in PUBLICATIONS.values())
"""Days that errors advise for a series of which nothing is known."""
_NO_VALUE = ("", ".", "nan", "na", "null")
_WANTED = {
    "period": "a date such as 2024-01-31, or a month such as 2024-01",
    "value": "a finite number, or nothing, a dot or NaN where there is none",
    "released_at": "a date such as 2024-02-13, or a moment with its offset such as 2024-02-13T08:30:00-05:00",
}
_HALF = {"released_day": pl.Date(), "released_moment": UTC_TIME}  # one of the two


class _Row(NamedTuple):
    period: date
    value: float | None
    released_day: date | None
    released_moment: datetime | None


@dataclass(frozen=True)
class MacroFiles:
    """Releases from `folder/SERIES.csv` with the columns period, value and released_at.

    `period` is a day or a month (2024-01); `date` and `observation_date` are understood too, and a column named after
    the series for `value`. `released_at` is a date, or a moment with its offset (2024-02-13T08:30:00-05:00). Several
    rows of one period are its vintages. An empty value, a dot or NaN is a period that was told without a value.

    Attributes:
        folder: where the files are.
        series: names of files; every `.csv` there when empty.
        lag_days: by series without `released_at`: days from the file's period date to the release, above the longest
            delay on record (`config/macro_series.py`: 75 for CPI, 10 for daily yields). The values of such a file are
            revised ones, which nobody knew then; download vintages (ALFRED) with their `released_at` where you can.
        hours: New York wall time of a series' release; without one a figure counts as known from the end of its day.
    """

    folder: Path
    series: tuple[str, ...] = ()
    lag_days: Mapping[str, int] = field(default_factory=dict)
    hours: Mapping[str, time] = field(default_factory=dict)
    name: str = "macro_files"
    simulated: bool = False

    def releases(self, start: datetime, end: datetime) -> pl.DataFrame:
        """RELEASES with `start` <= `released_at` < `end`, sorted by `known_at`; `value` is null where the file has none.

        Raises:
            SourceError: no folder, or no file for a series.
            ConfigError: a file without release dates and no lag for it, or a lag that is too short.
            DataError: a line that cannot be read, or a release before the end of the period that it describes; the
                message names the file, the line and the value.
        """
        names = self.series or tuple(sorted(path.stem for path in self.folder.glob("*.csv")))
        if not names:
            raise SourceError(
                str(self.folder), found="no CSV file", wanted="SERIES.csv with period, value and released_at",
                mend="put the files there, or leave the family macro out",
            )  # fmt: skip
        table = pl.concat([self._read(name) for name in names]).sort("known_at", "series", "period", "revision")
        return table.filter(pl.col("released_at") >= start, pl.col("released_at") < end)

    def _read(self, name: str) -> pl.DataFrame:
        path = self.folder / f"{name}.csv"
        frame = _text(path)
        period = _column(path, frame, _PERIOD)
        value = _column(path, frame, ("value", name))
        released = frame[_RELEASED] if _RELEASED in frame.columns else pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        lag = None if _RELEASED in frame.columns else self._lag(path)
        lines = enumerate(zip(frame[period], frame[value], released, strict=True), start=2)
        rows = _distinct(path, [_row(name, f"{path}, line {line}", *cells, lag=lag) for line, cells in lines])
        schema = {"period": pl.Date(), "value": pl.Float64(), **_HALF}
        day, moment = pl.col("released_day"), pl.col("released_moment")
        told = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
            pl.lit(name).alias("series"),
            pl.coalesce(moment, start_of_day(day)).alias("released_at"),
            pl.coalesce(moment, known_from(day, self.hours.get(name))).alias("known_at"),
        )
        return numbered(told)

    def _lag(self, path: Path) -> timedelta:
        days = self.lag_days.get(path.stem)
        if days is None:
            raise ConfigError(
                f"macro series {path.stem!r}", found=f"{path} with values by period and no release dates",
                wanted=f"{_RELEASED}, or macro.lag_days.{path.stem}: used on the date it describes, a value is look-ahead",
                mend=f"add vintages with {_RELEASED} (ALFRED has them), or state after how many days even the latest figure was "
                f"public, such as macro: {{lag_days: {{{path.stem}: {_safe_lag(path.stem)}}}}}",
            )  # fmt: skip
        wanted = wrong_lag(path.stem, days)
        if wanted is not None:
            raise ConfigError(
                f"macro.lag_days.{path.stem}", found=f"{days} days", wanted=wanted,
                mend=f"set {_safe_lag(path.stem)}, or add vintages with {_RELEASED} to {path.name}",
            )  # fmt: skip
        return timedelta(days=days)


def _safe_lag(series: str) -> int:
    known = PUBLICATIONS.get(series)
    return LONGEST_LAG if known is None else known.lag_days


def _text(path: Path) -> pl.DataFrame:
    """Every cell as text."""
    if not path.is_file():
        raise SourceError(
            str(path), found="no such file", wanted="a CSV file with period, value and released_at",
            mend="put it there, or take the series out of the settings",
        )  # fmt: skip
    check_end(path.read_bytes(), path.name)
    try:
        return pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(
            str(path), found=f"{type(error).__name__}: {str(error).splitlines()[0]}", wanted="CSV in UTF-8 with a header line",
            mend="export it again as UTF-8 CSV",
        ) from error  # fmt: skip


def _column(path: Path, frame: pl.DataFrame, names: Sequence[str]) -> str:
    found = [name for name in names if name in frame.columns]
    if not found:
        raise DataError(
            str(path), found=f"the columns {', '.join(frame.columns)}", wanted=f"a column {' or '.join(names)}",
            mend="rename the column in the file",
        )  # fmt: skip
    return found[0]


def _row(name: str, line: str, period: str | None, value: str | None, released: str | None, *, lag: timedelta | None) -> _Row:
    day = _parsed(line, "period", period, _period)
    number = _parsed(line, "value", value, _value)
    at = day + lag if lag is not None else _parsed(line, _RELEASED, released, _released)
    moment = at if isinstance(at, datetime) else None
    on = at if moment is None else moment.astimezone(ZoneInfo(NEW_YORK)).date()
    end = month_end(day) if len((period or "").strip()) == _MONTH else last_day(name, day)
    # a day without an hour counts from its end, which may be the period's
    if (on <= end) if moment else (on < end):
        raise DataError(
            line, found=f"{name} of {period} released on {released or on}",
            wanted=f"a release after its period, which ends on {end}",
            mend=f"give the day on which the figure came out as {_RELEASED}",
        )  # fmt: skip
    return _Row(day, number, None if moment else on, moment)


def _parsed(line: str, column: str, text: str | None, read: Callable[[str], Any]) -> Any:
    try:
        return read((text or "").strip())
    except ValueError:
        wanted = _WANTED[column]
    raise DataError(f"{line}: {column}", found=repr(text or ""), wanted=wanted, mend="correct the line")


def _period(text: str) -> date:
    return date.fromisoformat(f"{text}-01" if len(text) == _MONTH else text)


def _value(text: str) -> float | None:
    if text.lower() in _NO_VALUE:
        return None
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _released(text: str) -> date | datetime:
    if len(text) <= len("2024-02-13"):
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


def _distinct(path: Path, rows: Sequence[_Row]) -> list[_Row]:
    """Equal lines once; two values of one period told at the same moment contradict each other."""
    values: dict[tuple[Any, ...], _Row] = {}
    for row in rows:
        key = (row.period, row.released_day, row.released_moment)
        if values.setdefault(key, row) != row:
            raise DataError(
                str(path), found=f"{values[key].value} and {row.value} for {row.period}, released at the same time",
                wanted=f"one value per period and {_RELEASED}", mend="remove the wrong line, or tell when the second came out",
            )  # fmt: skip
    return list(values.values())
