"""What a table of raw bars is: columns, dtypes and time zone, declared with pandera, reported in our words.

The schema judges the form of a table. Whether a price makes sense is the business of `bars/clean.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.bars.moments import UTC_MICROSECONDS
from quant_pipeline.errors import DataError

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

PRICES = ("open", "high", "low", "close")
BARS_SCHEMA = pl.Schema({"timestamp": UTC_MICROSECONDS, **dict.fromkeys((*PRICES, "volume"), pl.Float64())})
RUNG_SCHEMA = pl.Schema(
    {
        **BARS_SCHEMA,
        "session_open": UTC_MICROSECONDS,
        "session_close": UTC_MICROSECONDS,
        "known_at": UTC_MICROSECONDS,
        "n_source": pl.Int32(),
        "complete": pl.Boolean(),
    }
)
_WANTED = dict.fromkeys((*PRICES, "volume"), "a number") | {"timestamp": "a timestamp with a time zone"}


def check_bars(frame: pl.DataFrame, name: str, *, allow_empty: bool = False) -> pl.DataFrame:
    """`frame` as canonical BARS: timestamp (bar open, Datetime us UTC), open, high, low, close, volume (Float64).

    Whole numbers become floats and aware timestamps of any unit and zone become UTC microseconds; both are lossless.
    Other columns are left out. Order, repeats and bad values stay as they are: prices may be null or NaN, and
    `volume` null throughout where the symbol has none.

    Args:
        frame: any table with at least those columns.
        name: what errors call the table, such as a file name.
        allow_empty: whether a table without rows is fine.

    Raises:
        DataError: no rows, a missing column, a wrong dtype, timestamps that are null or carry no time zone. The
            message names the column, what was found and what was wanted.
    """
    from pandera.errors import SchemaErrors

    if not frame.height and not allow_empty:
        raise DataError(name, found="no rows", wanted="at least one bar", mend="check how the table was exported")
    try:
        checked: pl.DataFrame = _schema().validate(_lossless(frame), lazy=True)
    except SchemaErrors as errors:
        raise _translate(frame, name, errors.failure_cases.row(0, named=True)) from None
    return checked.select(list(BARS_SCHEMA))


@lru_cache(maxsize=1)
def _schema() -> DataFrameSchema:
    import pandera.polars as pandera

    columns = {column: pandera.Column(dtype, nullable=column != "timestamp") for column, dtype in BARS_SCHEMA.items()}
    return pandera.DataFrameSchema(columns, strict="filter", name="BARS")


def _lossless(frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers to Float64, aware timestamps to UTC microseconds; whatever else is left for the schema to refuse."""
    casts = []
    for name, dtype in frame.schema.items():
        if name == "timestamp" and isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
            casts.append(pl.col(name).dt.convert_time_zone("UTC").dt.cast_time_unit("us"))
        elif name in _WANTED and name != "timestamp" and (dtype.is_numeric() or dtype == pl.Null):
            casts.append(pl.col(name).cast(pl.Float64))
    return frame.with_columns(casts)


def _translate(frame: pl.DataFrame, name: str, case: dict[str, object]) -> DataError:
    check, column = case["check"], case["column"]
    if check == "column_in_dataframe":
        missing = str(case["failure_case"])
        return DataError(
            f"{name}: column {missing!r}", found=f"only the columns {', '.join(frame.columns)}", wanted=_WANTED[missing],
            mend="add the column, or name its equivalent in `files.columns` of the symbol in universe.yaml",
        )  # fmt: skip
    if check == "not_nullable":
        return DataError(
            f"{name}: column {column!r}", found=f"nothing in row {case['index']}", wanted=_WANTED[str(column)],
            mend="remove the rows without a timestamp",
        )  # fmt: skip
    return _wrong_dtype(frame, name, str(column))


def _wrong_dtype(frame: pl.DataFrame, name: str, column: str) -> DataError:
    series = frame[column]
    if column == "timestamp" and isinstance(series.dtype, pl.Datetime):
        return DataError(
            f"{name}: column 'timestamp'", found=f"{_first(series)} without a time zone", wanted=_WANTED[column],
            mend="set `files.timezone` of the symbol in universe.yaml to the zone of the file, such as UTC or America/New_York",
        )  # fmt: skip
    return DataError(
        f"{name}: column {column!r}", found=f"dtype {series.dtype}, such as {_first(series)!r}", wanted=_WANTED[column],
        mend="convert the column where the table is made",
    )  # fmt: skip


def _first(series: pl.Series) -> object:
    known = series.drop_nulls()
    return known[0] if len(known) else None
