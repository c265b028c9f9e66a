"""The rows of one symbol where a file tells of several: never another's prices under its name."""

from __future__ import annotations

import polars as pl

from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import DataError
from quant_pipeline.sources.table import Table

_NAMES = {"symbol", "ticker", "sym", "instrument", "tic", "asset", "pair", "contract", "security", "raw_symbol", "root_symbol"}
"""What a column that names the symbol is called."""
_NUMBERS = {"instrument_id", "security_id", "isin", "figi", "cusip", "secid", "ric", "permno"}
"""Columns that tell symbols apart by a number that nobody knows by heart: they count only where several stand in them."""
_SHOWN = 5


def own_rows(table: Table, settings: FileFormat, symbol: str, name: str) -> Table:
    """The rows of `symbol`; the whole table where no column tells symbols apart.

    Args:
        table: as it was read.
        settings: `symbol` is what the file calls the symbol, where that is not its name in the universe.
        symbol: its name in the universe.
        name: of the file, for errors.

    Raises:
        DataError: a column of symbols that does not hold this one, or a row that names none.
    """
    wanted = settings.symbol or symbol
    for column in _telling(table.frame, settings):
        values = _names(table.frame[column], name)
        own = (values == wanted).fill_null(value=False)
        if not own.any():
            raise _of_others(values, column, wanted, name)
        table = Table(table.frame.filter(own), table.lines.filter(own), table.text)
    return table


def _names(column: pl.Series, name: str) -> pl.Series:
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        raise DataError(
            f"{name}: column {column.name!r}", found=f"dtype {column.dtype}", wanted="text",
            mend="write the symbol as text where the file is made, or leave the column out",
        )  # fmt: skip
    return column.cast(pl.String).str.strip_chars()


def _telling(frame: pl.DataFrame, settings: FileFormat) -> list[str]:
    """Columns that name symbols; else those that number them, where they hold several."""
    free = [column for column in frame.columns if column not in settings.columns and frame[column].null_count() < frame.height]
    names = [column for column in free if _plain(column) in _NAMES]
    numbers = [column for column in free if _plain(column) in _NUMBERS and frame[column].n_unique() > 1]
    return names or numbers


def _plain(column: str) -> str:
    return column.strip().strip("<>").lower().replace(" ", "_")


def _of_others(values: pl.Series, column: str, wanted: str, name: str) -> DataError:
    kinds = values.drop_nulls().unique(maintain_order=True)
    more = f" and {len(kinds) - _SHOWN} more" if len(kinds) > _SHOWN else ""
    return DataError(
        f"{name}: column {column!r}", found=f"{', '.join(map(repr, kinds.head(_SHOWN)))}{more}", wanted=f"rows of {wanted!r}",
        mend="set `files.symbol` of the symbol in universe.yaml to what this column calls it, or bring the right file",
    )  # fmt: skip
