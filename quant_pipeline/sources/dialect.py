"""One bar file in the user's dialect to raw BARS: column names, text, epochs, time zones and bar stamps.

A value that cannot be read is an error that names its line; a moment that the file leaves open is one too.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA, PRICES, check_bars
from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.sources.clock import refuse_text, to_utc
from quant_pipeline.sources.own_rows import own_rows
from quant_pipeline.sources.table import Table, read_table

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
_DAY = timedelta(days=1)
_PAIR = 2  # date and time
_SECOND_OF_NAME = re.compile(r"(_duplicated_\d+|\.\d+)$")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def read_bars(path: Path, settings: FileFormat, symbol: str) -> pl.DataFrame:
    """The file's bars as raw BARS, in its own order; a timestamp is the open, or the close minus `settings.length`.

    Args:
        path: a .parquet or .csv file (packed as .csv.gz too); a CSV's separator is one of comma, semicolon, tab, bar.
        settings: how the file is written. `columns` maps its names, or positions, to ours and beats the built-in aliases.
        symbol: whose rows are read where the file holds several.

    Raises:
        DataError: an unreadable or empty file; no header line; a missing or doubly named column; text where a number or a
            time should be (with its line); rows of other symbols only;
            timestamps that `clock.to_utc` refuses.
        ConfigError: `settings.columns` names a column that BARS do not have.
    """
    table = own_rows(read_table(path, settings), settings, symbol, path.name)
    named = _named(table.frame, settings, path.name)
    if named.is_empty():
        raise DataError(path.name, found="no rows", wanted="at least one bar", mend="check how the file was exported")
    if named.schema["timestamp"] == pl.Date and settings.length < _DAY:
        raise DataError(
            f"{path.name}: column 'timestamp'", found="dtype Date, days without a time", wanted="times",
            mend="export the times too, or set `files.interval: 1d` of the symbol in universe.yaml if the bars are days",
        )  # fmt: skip
    stamps = to_utc(named["timestamp"], _zone(settings), path.name, time_format=settings.time_format, lines=table.lines)
    opened = _opened(stamps, settings)
    numbers = _with_numbers(named, table, settings, path.name)
    return check_bars(numbers.with_columns(timestamp=opened), path.name)


def _zone(settings: FileFormat) -> str | None:
    # the date of a day names its session whatever the zone
    return settings.timezone or ("UTC" if settings.length >= _DAY else None)


def _opened(stamps: pl.Series, settings: FileFormat) -> pl.Series:
    """Opens of stamps that are opens or closes; some venues stamp a bar with its last millisecond, 09:30:59.999."""
    if settings.stamp == "open":
        return stamps
    unit = "1s" if settings.interval.endswith("s") else "1m"
    closed = (stamps - timedelta(microseconds=1)).dt.truncate(unit).dt.offset_by(unit)
    return closed - settings.length


def _named(table: pl.DataFrame, settings: FileFormat, name: str) -> pl.DataFrame:
    """The table with our column names, the others left out; date and time in two columns are joined."""
    chosen = _chosen(table, settings, name)
    wanted = [column for column in BARS_SCHEMA if column != "volume" or settings.volume != "absent"]
    found = {column: _sources(table, column, chosen, settings.volume) for column in wanted}
    for column, sources in found.items():
        _check_sources(table, column, sources, name, settings)
    named = table.select(_pick(sources, chosen).alias(column) for column, sources in found.items())
    return named if "volume" in found else named.with_columns(volume=pl.lit(None, pl.Float64))


def _check_sources(table: pl.DataFrame, column: str, sources: list[str], name: str, settings: FileFormat) -> None:
    if not sources:
        volume = ", or `files.volume` to absent (there is none) or tick (ticks are counted)" if column == "volume" else ""
        raise DataError(
            f"{name}: column {column!r}", found=f"only the columns {', '.join(map(_spoken, table.columns))}",
            wanted=f"one for {column}", mend=f"set `files.columns` of the symbol in universe.yaml{volume}",
        )  # fmt: skip
    chosen_pair = len(sources) == _PAIR and column == "timestamp" and column in settings.columns.values()
    if len(sources) > 1 and not chosen_pair and not _date_and_time(sources):
        places = [table.columns.index(theirs) + 1 for theirs in sources]
        told = " and ".join(f"{_spoken(theirs)!r} (column {place})" for theirs, place in zip(sources, places, strict=True))
        raise DataError(
            f"{name}: column {column!r}", found=f"{told}, either may be it", wanted="one column",
            mend=f"set `files.columns` of the symbol in universe.yaml, such as {{{places[0]}: {column}}}",
        )  # fmt: skip


def _chosen(table: pl.DataFrame, settings: FileFormat, name: str) -> dict[str, str]:
    """Our name by the file's, for the columns that the settings name, in the file by name or else by position."""
    chosen = {}
    for theirs, ours in settings.columns.items():
        if ours not in BARS_SCHEMA:
            raise ConfigError(
                f"files.columns.{theirs}", found=repr(ours), wanted=f"one of {', '.join(BARS_SCHEMA)}", mend="edit universe.yaml"
            )
        by_position = theirs.isdecimal() and 1 <= int(theirs) <= table.width
        if theirs not in table.columns and not by_position:
            raise DataError(
                f"{name}: column {theirs!r}", found=f"only the columns {', '.join(map(_spoken, table.columns))}",
                wanted="what `files.columns` names", mend="correct `files.columns` of the symbol in universe.yaml",
            )  # fmt: skip
        chosen[theirs if theirs in table.columns else table.columns[int(theirs) - 1]] = ours
    return chosen


def _sources(table: pl.DataFrame, column: str, chosen: dict[str, str], volume: str) -> list[str]:
    """Names in the file that mean `column`: those that the settings name, else those that an alias knows."""
    named = [theirs for theirs in table.columns if chosen.get(theirs) == column]
    if named:
        return named
    free = [theirs for theirs in table.columns if theirs not in chosen]
    ticks = [theirs for theirs in free if plain(theirs) in _TICKS]
    if column == "volume" and volume == "tick" and ticks:
        return ticks
    return [theirs for theirs in free if plain(theirs) in _ALIASES[column]]


def plain(name: str) -> str:
    """A column's name without case, blanks, brackets, and the mark of a second column of that name.

    Example:
        >>> plain("<Close>"), plain("Open time"), plain("close_duplicated_0"), plain("close.1")
        ('close', 'open_time', 'close', 'close')
    """
    return _spoken(name).strip().strip("<>").strip().lower().replace(" ", "_")


def _spoken(name: str) -> str:
    """The name as the file has it: polars and pandas number the second column of a name."""
    return _SECOND_OF_NAME.sub("", name)


def _date_and_time(sources: list[str]) -> bool:
    return sorted(map(plain, sources)) == ["date", "time"]


def _pick(sources: list[str], chosen: dict[str, str]) -> pl.Expr:
    if len(sources) == 1:
        return pl.col(sources[0])
    date, time = sources if sources[0] in chosen else sorted(sources, key=plain)
    return pl.concat_str(pl.col(date).cast(pl.String), pl.col(time).cast(pl.String), separator=" ")


def _with_numbers(named: pl.DataFrame, table: Table, settings: FileFormat, name: str) -> pl.DataFrame:
    """CSV text as numbers; a Parquet file's dtypes stay for the schema to judge."""
    if not table.text:
        return named
    texts = [column for column in (*PRICES, "volume") if named.schema.get(column) == pl.String]
    numbers = named.with_columns(_number(pl.col(column).str.strip_chars(), settings.decimal) for column in texts)
    for column in texts:
        refuse_text(named[column], numbers[column], f"{name}: column {column!r}", "a number", table.lines, _number_mend)
    return numbers


def _number(text: pl.Expr, decimal: str) -> pl.Expr:
    if decimal == ".":
        return text.cast(pl.Float64, strict=False)
    # a point beside decimal commas might part thousands or be a decimal sign: it is refused
    commas = pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(",", ".", literal=True))
    return commas.cast(pl.Float64, strict=False)


def _number_mend(text: str) -> str:
    if _DECIMAL_COMMA.fullmatch(text.strip()):
        return 'set `files.decimal: ","` of the symbol in universe.yaml if the commas are decimal signs'
    return "correct or remove the row"
