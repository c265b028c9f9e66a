"""DuckDB views over the lake: one per table, with `symbol` and, where there are folds, `fold` columns.

Beside them, `raw_1m` and so on: every stored bar of each native interval up to now, live ones too, while `bars_*` end with
the training cutoff. Of a bar that was told again the newest values; one that its source withdrew is not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from quant_pipeline.config.commands import command
from quant_pipeline.config.timeframes import duration
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.files import verify
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.remaking import remake
from quant_pipeline.sources import store

SYMBOL_OF_FILE = "regexp_extract(filename, '([^/]+)\\.parquet$', 1) AS symbol"
FOLD_OF_FILE = "regexp_extract(filename, '/([^/]+)/[^/]+$', 1) AS fold"
RAW = """
CREATE VIEW raw_{interval} AS
SELECT symbol, timestamp, timestamp + INTERVAL {seconds} SECONDS AS known_at, open, high, low, close, volume, seen_at
FROM (SELECT *, regexp_extract(filename, '([^/]+)/[^/]+/[^/]+$', 1) AS symbol FROM read_parquet('{files}', filename = true))
QUALIFY row_number() OVER (PARTITION BY symbol, timestamp ORDER BY seen_at DESC) = 1 AND NOT withdrawn
"""


@contextmanager
def lake_connection(house: House, without: Collection[str] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection in UTC whose views read the lake's Parquet files: `features`, `bars_1h`, `signals`, …

    Tables `without` have no view.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        for name, pattern in sorted(tables(house).items()):
            if name in without:
                continue
            source = connection.read_parquet(pattern, filename=True, union_by_name=True)
            added = [SYMBOL_OF_FILE] if "symbol" not in source.columns else []
            added += [FOLD_OF_FILE] if "/*/" in pattern and "fold" not in source.columns else []
            source.project(", ".join([*added, "* EXCLUDE (filename)"])).create_view(name)
        for interval, pattern in house.store.patterns().items():
            if f"raw_{interval}" not in without:
                connection.execute(_raw_view(interval, pattern))
        yield connection


def _raw_view(interval: str, pattern: str) -> str:
    seconds = int(duration(interval).total_seconds())
    return RAW.format(interval=interval, seconds=seconds, files=pattern.replace("'", "''"))


def ask(house: House, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of the answer to `query` over the lake.

    Raises:
        ConfigError: SQL that DuckDB refuses.
        DataError: a damaged file of a table that the query names; others have no view as long as they are damaged.
    """
    broken = _damaged(house)
    asked = next((name for name in broken if re.search(rf"\b{name}\b", query)), None)
    if asked:
        raise broken[asked]
    with lake_connection(house, broken) as connection:
        try:
            answer = connection.sql(query)
            return (answer.columns, answer.fetchall()) if answer is not None else ([], [])
        except duckdb.Error as error:
            raise ConfigError(
                "query", found=str(error), wanted="DuckDB SQL", mend="`quant sql 'show tables'` lists the tables"
            ) from error


def _damaged(house: House) -> dict[str, DataError]:
    """What is wrong with a file of the table, by the table's name."""
    lake, raw = house.workplace.lake, house.workplace.raw
    mends = {path: (name, _mend(house, path)) for name, pattern in tables(house).items() for path in _files(lake, pattern)}
    mends |= {
        path: (f"raw_{interval}", store.mend(path))
        for interval, pattern in house.store.patterns().items()
        for path in _files(raw, pattern)
    }
    found = {}
    for path, (name, mend) in mends.items():
        try:
            verify(path, mend)
        except DataError as error:
            found[name] = error
    return found


def _files(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(str(Path(pattern).relative_to(root))))


def _mend(house: House, path: Path) -> str:
    """The way out for a damaged table."""
    place = path.relative_to(house.workplace.lake)
    if place.parts[0] == "signals":
        predict = command(f"quant predict '{path.stem}'")
        return f"delete it and run: {predict}; the JSON files of the signals are kept"
    *asset, last = place.parts[:-1]
    if last in house.experiment.splits.fold_names:
        return remake(dg.AssetKey(asset), f"{last}|{path.stem}")
    return remake(dg.AssetKey([*asset, last]), path.stem)


def tables(house: House) -> dict[str, str]:
    """View name to glob pattern, for every folder of the lake that holds one Parquet file per symbol."""
    lake, folds = house.workplace.lake, house.experiment.splits.fold_names
    files = [path.relative_to(lake) for path in lake.rglob("*.parquet") if path.stem in house.universe.symbols]
    return dict(_view(lake, path.parent, folds) for path in files)


def _view(lake: Path, folder: Path, folds: tuple[str, ...]) -> tuple[str, str]:
    if folder.name in folds:
        return "_".join(folder.parts[:-1]), str(lake / folder.parent / "*" / "*.parquet")
    return "_".join(folder.parts), str(lake / folder / "*.parquet")
