"""DuckDB views over the lake: one per table, with `symbol` and, where there are folds, `fold` columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from quant_pipeline.config.workplace import Workplace

SYMBOL_OF = "regexp_extract(filename, '([^/]+)\\.parquet$', 1)"


@contextmanager
def lake_connection(place: Workplace) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection in UTC whose views read the lake's Parquet files: `features`, `bars_1h`, `signals`, …"""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        for name, pattern in sorted(tables(place).items()):
            source = f"read_parquet('{pattern}', filename = true, union_by_name = true)"
            fold = ", regexp_extract(filename, '/([^/]+)/[^/]+$', 1) AS fold_of_file" if "/*/" in pattern else ""
            connection.execute(f'CREATE VIEW "{name}" AS SELECT {SYMBOL_OF} AS partition{fold}, * EXCLUDE (filename) FROM {source}')
        yield connection


def tables(place: Workplace) -> dict[str, str]:
    """View name to glob pattern, for every folder of the lake that holds Parquet files."""
    hidden = {place.raw.name}
    folders = {path.parent for path in place.lake.rglob("*.parquet")}
    chosen = {folder.relative_to(place.lake) for folder in folders if folder.relative_to(place.lake).parts[0] not in hidden}
    return dict(_view(place.lake, folder) for folder in chosen if not folder.name.startswith("."))


def _view(lake: Path, folder: Path) -> tuple[str, str]:
    if folder.name.startswith("fold_") or folder.name == "holdout":
        return "_".join(folder.parts[:-1]), str(lake / folder.parent / "*" / "*.parquet")
    return "_".join(folder.parts), str(lake / folder / "*.parquet")
