"""DuckDB views over the lake: one per table, with `symbol` and, where there are folds, `fold` columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.house import House

SYMBOL_OF_FILE = "regexp_extract(filename, '([^/]+)\\.parquet$', 1) AS symbol"
FOLD_OF_FILE = "regexp_extract(filename, '/([^/]+)/[^/]+$', 1) AS fold"


@contextmanager
def lake_connection(house: House) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection in UTC whose views read the lake's Parquet files: `features`, `bars_1h`, `signals`, …"""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        for name, pattern in sorted(tables(house).items()):
            source = connection.read_parquet(pattern, filename=True, union_by_name=True)
            added = [SYMBOL_OF_FILE] if "symbol" not in source.columns else []
            added += [FOLD_OF_FILE] if "/*/" in pattern and "fold" not in source.columns else []
            source.project(", ".join([*added, "* EXCLUDE (filename)"])).create_view(name)
        yield connection


def ask(house: House, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of the answer to `query` over the lake; raises `ConfigError` for SQL that DuckDB refuses."""
    with lake_connection(house) as connection:
        try:
            answer = connection.sql(query)
            return (answer.columns, answer.fetchall()) if answer is not None else ([], [])
        except duckdb.Error as error:
            raise ConfigError(
                "query", found=str(error), wanted="DuckDB SQL", mend="`quant sql 'show tables'` lists the tables"
            ) from error


def tables(house: House) -> dict[str, str]:
    """View name to glob pattern, for every folder of the lake that holds one Parquet file per symbol."""
    lake, folds = house.workplace.lake, house.experiment.splits.fold_names
    files = [path.relative_to(lake) for path in lake.rglob("*.parquet") if path.stem in house.universe.symbols]
    return dict(_view(lake, path.parent, folds) for path in files)


def _view(lake: Path, folder: Path, folds: tuple[str, ...]) -> tuple[str, str]:
    if folder.name in folds:
        return "_".join(folder.parts[:-1]), str(lake / folder.parent / "*" / "*.parquet")
    return "_".join(folder.parts), str(lake / folder / "*.parquet")
