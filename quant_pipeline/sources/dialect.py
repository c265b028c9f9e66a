"""One bar file in the user's dialect to raw BARS: column names, text, epochs, time zones and bar stamps.

A value that cannot be read is an error that names its line; a moment that the file leaves open is one too.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA, PRICES, check_bars
from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.sources.clock import refuse_text, to_utc

_ALIASES = {
    "timestamp": {
        "timestamp",
        "datetime",
        "date_time",
        "time",
        "date",
        "ts",
        "open_time",
        "time_utc",
        "gmt_time",
        "unix",
        "index",
    }
    | {"__index_level_0__", "time_open", "opentime"},
    "open": {"open", "o", "price_open", "open_price", "first"},
    "high": {"high", "h", "price_high", "high_price", "max"},
    "low": {"low", "l", "price_low", "low_price", "min"},
    "close": {"close", "c", "price_close", "close_price", "last"},
    "volume": {"volume", "vol", "v", "real_volume", "base_volume"},
}
_TICKS = {"tick_volume", "tickvol", "tick_vol", "tickvolume", "ticks"}
_ABSENT_TEXT = ["", "NA", "N/A", "null", "NULL", "None"]


def read_bars(path: Path, settings: FileFormat, length: timedelta) -> pl.DataFrame:
    """The file's bars as raw BARS, in its own order.

    Args:
        path: a .parquet or a .csv file with a header; a CSV's separator is one of comma, semicolon, tab.
        settings: how the file is written. `columns` maps its names to ours and beats the built-in aliases.
        length: of the bars; subtracted from timestamps that are closes.

    Raises:
        DataError: an unreadable or empty file; a missing or doubly named column; text where a number or a time should
            be (with its line); timestamps without a zone when `settings.timezone` is null, in several zones, or at local
            times that do not exist or happen twice.
        ConfigError: `settings.columns` names a column that BARS do not have.
    """
    named = _named(_read(path), settings, path.name)
    if named.is_empty():
        raise DataError(path.name, found="no rows", wanted="at least one bar", mend="check how the file was exported")
    opened = to_utc(named["timestamp"], settings.timezone, path.name)
    if settings.stamp == "close":
        # some venues stamp a bar with its last millisecond, 09:30:59.999
        opened = (opened - timedelta(microseconds=1)).dt.truncate("1m") + (timedelta(minutes=1) - length)
    return check_bars(_with_numbers(named, path).with_columns(timestamp=opened), path.name)


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        with path.open(encoding="utf-8-sig") as lines:
            header = lines.readline()
        separator = max(",;\t", key=header.count)
        table = pl.read_csv(path, separator=separator, infer_schema=False, null_values=_ABSENT_TEXT)
        return table.remove(pl.all_horizontal(pl.all().is_null()))  # blank lines, often at the end
    except pl.exceptions.NoDataError:
        raise DataError(str(path), found="an empty file", wanted="a header and bars", mend="check how it was exported") from None
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            str(path), found=f"{type(error).__name__}: {_first_line(error)}", wanted=f"a whole {path.suffix[1:]} file",
            mend="copy or export the file again",
        ) from error  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _named(table: pl.DataFrame, settings: FileFormat, name: str) -> pl.DataFrame:
    """The table with our column names, the others left out; date and time in two columns are joined."""
    _check_settings(table, settings, name)
    wanted = [column for column in BARS_SCHEMA if column != "volume" or settings.volume != "absent"]
    found = {column: _sources(table, column, settings) for column in wanted}
    for column, sources in found.items():
        _check_sources(table, column, sources, name)
    named = table.select(_pick(sources).alias(column) for column, sources in found.items())
    return named if "volume" in found else named.with_columns(volume=pl.lit(None, pl.Float64))


def _check_sources(table: pl.DataFrame, column: str, sources: list[str], name: str) -> None:
    if not sources:
        volume = ", or `files.volume` to absent (there is none) or tick (ticks are counted)" if column == "volume" else ""
        raise DataError(
            f"{name}: column {column!r}", found=f"only the columns {', '.join(table.columns)}", wanted=f"one for {column}",
            mend=f"set `files.columns` of the symbol in universe.yaml{volume}",
        )  # fmt: skip
    if len(sources) > 1 and not _date_and_time(sources):
        raise DataError(
            f"{name}: column {column!r}", found=f"{' and '.join(map(repr, sources))}, either may be it", wanted="one column",
            mend=f"set `files.columns` of the symbol in universe.yaml, such as {{{sources[0]!r}: {column}}}",
        )  # fmt: skip


def _check_settings(table: pl.DataFrame, settings: FileFormat, name: str) -> None:
    for theirs, ours in settings.columns.items():
        if ours not in BARS_SCHEMA:
            raise ConfigError(
                f"files.columns.{theirs}", found=repr(ours), wanted=f"one of {', '.join(BARS_SCHEMA)}", mend="edit universe.yaml"
            )
        if theirs not in table.columns:
            raise DataError(
                f"{name}: column {theirs!r}", found=f"only the columns {', '.join(table.columns)}",
                wanted="what `files.columns` names", mend="correct `files.columns` of the symbol in universe.yaml",
            )  # fmt: skip


def _sources(table: pl.DataFrame, column: str, settings: FileFormat) -> list[str]:
    """Names in the file that mean `column`: those that the settings name, else those that an alias knows."""
    chosen = [theirs for theirs, ours in settings.columns.items() if ours == column]
    if chosen:
        return chosen
    free = [theirs for theirs in table.columns if theirs not in settings.columns]
    ticks = [theirs for theirs in free if _plain(theirs) in _TICKS]
    if column == "volume" and settings.volume == "tick" and ticks:
        return ticks
    return [theirs for theirs in free if _plain(theirs) in _ALIASES[column]]


def _plain(name: str) -> str:
    return name.strip().strip("<>").lower().replace(" ", "_")


def _date_and_time(sources: list[str]) -> bool:
    return sorted(map(_plain, sources)) == ["date", "time"]


def _pick(sources: list[str]) -> pl.Expr:
    if len(sources) == 1:
        return pl.col(sources[0])
    date, time = sorted(sources, key=_plain)
    return pl.concat_str(pl.col(date).cast(pl.String), pl.col(time).cast(pl.String), separator=" ")


def _with_numbers(named: pl.DataFrame, path: Path) -> pl.DataFrame:
    """CSV text as numbers; a Parquet file's dtypes stay for the schema to judge."""
    if path.suffix != ".csv":
        return named
    texts = [column for column in (*PRICES, "volume") if named.schema.get(column) == pl.String]
    numbers = named.with_columns(pl.col(column).str.strip_chars().cast(pl.Float64, strict=False) for column in texts)
    for column in texts:
        refuse_text(named[column], numbers[column], f"{path.name}: column {column!r}", "a number")
    return numbers
