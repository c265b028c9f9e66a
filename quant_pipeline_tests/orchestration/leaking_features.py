"""Features as users write them: leaks of many kinds beside honest twins. A test copies this file away and imports it there.

None of these imports matters to anyone else: the file is no test, and nothing of the package reads it.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from quant_pipeline.features.registry import Columns, feature

HERE = Path(__file__).parent
HOUR, DAY = 3_600e6, 86_400e6  # microseconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HALF_DAYS = ("2025-11-27", "2025-11-28", "2025-12-24", "2025-12-25")
CLOCK_DAYS = ("2025-10-26", "2025-10-27", "2025-11-02", "2025-11-03")
MEMO: dict[float, float] = {}
HEIGHT: dict[float, float] = {}
AT_IMPORT = (HERE / "daily.csv").read_text()
LEAKS: list[str] = []
READERS: list[str] = []
HONEST: list[str] = []

Function = Callable[[Columns], np.ndarray]


def named(names: list[str], *, rungs: tuple[str, ...] = ("1h",)) -> Callable[[Function], Function]:
    """Register a function of close, timestamp and session_open under its own name, and note what it is."""

    def register(function: Function) -> Function:
        names.append(function.__name__)
        return feature(function.__name__, "returns", ("close", "timestamp", "session_open"), 1, rungs=rungs)(function)

    return register


def following(columns: Columns) -> np.ndarray:
    """The next bar's return, 0 on the last bar."""
    close = columns["close"]
    return np.append(close[1:] / close[:-1] - 1, 0.0)


def where(flags: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(flags, values, 0.0)


def on(days: tuple[str, ...], columns: Columns) -> np.ndarray:
    """Bars that open on one of these days, UTC."""
    wanted = [(datetime.fromisoformat(day).replace(tzinfo=UTC) - EPOCH).total_seconds() * 1e6 for day in days]
    return np.isin(columns["timestamp"] // DAY * DAY, wanted)


def last_of(block: np.ndarray) -> np.ndarray:
    """The last row of each run of equal values; the newest row does not know that it is one."""
    return np.append(block[1:] != block[:-1], False)


@named(LEAKS)
def future_shift(columns: Columns) -> np.ndarray:
    return following(columns)


@named(LEAKS)
def at_session_ends(columns: Columns) -> np.ndarray:
    return where(last_of(columns["session_open"]), following(columns))


@named(LEAKS)
def at_session_starts(columns: Columns) -> np.ndarray:
    opened, close = columns["session_open"], columns["close"]
    first = np.append(True, opened[1:] != opened[:-1])
    run = np.cumsum(first) - 1
    return where(first, np.maximum.reduceat(close, np.flatnonzero(first))[run])


@named(LEAKS)
def at_week_ends(columns: Columns) -> np.ndarray:
    return where(last_of((columns["timestamp"] + 4 * DAY) // (7 * DAY)), following(columns))


@named(LEAKS)
def at_month_ends(columns: Columns) -> np.ndarray:
    month = np.array((columns["timestamp"] // DAY).astype("datetime64[D]").astype("datetime64[M]"))
    return where(last_of(month), following(columns))


@named(LEAKS)
def on_half_days(columns: Columns) -> np.ndarray:
    return where(on(HALF_DAYS, columns), following(columns))


@named(LEAKS)
def on_days_of_clock_changes(columns: Columns) -> np.ndarray:
    return where(on(CLOCK_DAYS, columns), following(columns))


@named(LEAKS)
def before_gaps(columns: Columns) -> np.ndarray:
    return where(np.append(np.diff(columns["timestamp"]) > HOUR, False), following(columns))


@named(LEAKS)
def before_the_largest_moves(columns: Columns) -> np.ndarray:
    move = following(columns)
    return where(np.abs(move) > 6 * np.abs(move).mean(), np.sign(move))


@named(LEAKS)
def whole_sample_quantile(columns: Columns) -> np.ndarray:
    close = columns["close"]
    return (close > np.quantile(close, 0.97)).astype(float)


@named(LEAKS)
def whole_sample_score(columns: Columns) -> np.ndarray:
    close = columns["close"]
    return (close - close.mean()) / (close.std() + 1e-9)


@named(LEAKS)
def pattern_one_bar_early(columns: Columns) -> np.ndarray:
    up = np.sign(np.diff(columns["close"], prepend=columns["close"][:1]))
    run = np.convolve(up, np.ones(6), "full")[: up.size] == 6
    return np.append(run[1:], False).astype(float)


@named(LEAKS)
def rounded_so_that_it_rarely_shows(columns: Columns) -> np.ndarray:
    return np.round(following(columns) * 40) + 0.0


@named(LEAKS)
def four_hours_before_they_end(columns: Columns) -> np.ndarray:
    block = columns["timestamp"] // (4 * HOUR)
    start = np.flatnonzero(np.append(True, block[1:] != block[:-1]))
    return np.maximum.reduceat(columns["close"], start)[np.searchsorted(start, np.arange(block.size), side="right") - 1]


@named(LEAKS)
def centred_mean(columns: Columns) -> np.ndarray:
    return np.convolve(columns["close"], np.ones(5) / 5)[2 : 2 + columns["close"].size]


@named(LEAKS)
def backward_filled(columns: Columns) -> np.ndarray:
    known = np.flatnonzero(np.arange(columns["close"].size) % 7 == 1)
    at = np.minimum(np.searchsorted(known, np.arange(columns["close"].size)), known.size - 1) if known.size else 0
    return columns["close"][known[at]] if known.size else columns["close"] * 0


@named(LEAKS)
def remembered(columns: Columns) -> np.ndarray:
    MEMO.update(zip(columns["timestamp"][:-1], following(columns)[:-1], strict=True))
    return np.array([MEMO.get(at, 0.0) for at in columns["timestamp"]])


@named(LEAKS)
def longest_history_so_far(columns: Columns) -> np.ndarray:
    HEIGHT["most"] = max(HEIGHT.get("most", 0.0), float(columns["close"].max()))
    return columns["close"] / HEIGHT["most"]


@named(LEAKS)
def other_in_each_process(columns: Columns) -> np.ndarray:
    return columns["close"] * 0 + id(MEMO) % 9_973


@named(LEAKS, rungs=("15m",))
def future_shift_of_a_finer_rung(columns: Columns) -> np.ndarray:
    return following(columns)


def daily(rows: list[tuple[float, float]], columns: Columns) -> np.ndarray:
    """The close of each bar's own day, joined by date."""
    days, closes = (np.array(side) for side in zip(*rows, strict=True))
    at = np.minimum(np.searchsorted(days, columns["timestamp"] // DAY), days.size - 1)
    return closes[at]


def parsed(text: str) -> list[tuple[float, float]]:
    return [(float(day), float(close)) for day, close in (line.split(",") for line in text.splitlines()[1:])]


@named(READERS)
def opened(columns: Columns) -> np.ndarray:
    with (HERE / "daily.csv").open() as file:
        return daily(parsed(file.read()), columns)


@named(READERS)
def by_polars(columns: Columns) -> np.ndarray:
    import polars as pl

    return daily(pl.read_csv(HERE / "daily.csv").rows(), columns)


@named(READERS)
def by_lazy_polars(columns: Columns) -> np.ndarray:
    from polars import scan_parquet

    return daily(scan_parquet(str(HERE / "daily.parquet")).collect().rows(), columns)


@named(READERS)
def by_pandas(columns: Columns) -> np.ndarray:
    import pandas as pd

    return daily(list(pd.read_csv(HERE / "daily.csv").itertuples(index=False, name=None)), columns)


@named(READERS)
def by_pandas_parquet(columns: Columns) -> np.ndarray:
    from pandas import read_parquet

    return daily(list(read_parquet(HERE / "daily.parquet").itertuples(index=False, name=None)), columns)


@named(READERS)
def by_numpy(columns: Columns) -> np.ndarray:
    return daily([tuple(row) for row in np.load(HERE / "daily.npy")], columns)


@named(READERS)
def by_duckdb(columns: Columns) -> np.ndarray:
    import duckdb

    return daily(duckdb.sql(f"SELECT * FROM read_csv('{HERE / 'daily.csv'}')").fetchall(), columns)  # noqa: S608


@named(READERS)
def by_duckdb_file(columns: Columns) -> np.ndarray:
    import duckdb

    with duckdb.connect(str(HERE / "daily.duckdb"), read_only=True) as base:
        return daily(base.sql("SELECT * FROM daily").fetchall(), columns)


@named(READERS)
def by_sqlite(columns: Columns) -> np.ndarray:
    with sqlite3.connect(HERE / "daily.sqlite") as base:
        return daily(base.execute("SELECT * FROM daily").fetchall(), columns)


@named(READERS)
def by_hdf5(columns: Columns) -> np.ndarray:
    import h5py

    with h5py.File(HERE / "daily.h5", "r") as file:
        return daily([tuple(row) for row in file["daily"][:]], columns)


@named(READERS)
def by_duckdb_connection(columns: Columns) -> np.ndarray:
    import duckdb

    with duckdb.connect() as base:
        return daily(base.execute(f"SELECT * FROM read_csv('{HERE / 'daily.csv'}')").fetchall(), columns)  # noqa: S608


@named(READERS)
def by_polars_context(columns: Columns) -> np.ndarray:
    import polars as pl

    asked = pl.SQLContext().execute(f"SELECT * FROM read_csv('{HERE / 'daily.csv'}')")  # noqa: S608
    return daily(asked.collect().rows(), columns)


@named(READERS)
def by_safetensors(columns: Columns) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(str(HERE / "daily.safetensors"), "np") as file:
        return daily([tuple(row) for row in file.get_tensor("daily")], columns)


@named(READERS)
def by_a_fitted_model(columns: Columns) -> np.ndarray:
    """A model that learned each day's close by heart, kept in the format of its library and read by native code."""
    import xgboost

    model = xgboost.Booster()
    model.load_model(str(HERE / "daily.ubj"))
    return model.predict(xgboost.DMatrix(columns["timestamp"][:, None] // DAY)).astype(np.float64)


@named(READERS)
def by_another_program(columns: Columns) -> np.ndarray:
    told = subprocess.run(["cat", str(HERE / "daily.csv")], capture_output=True, text=True, check=True)
    return daily(parsed(told.stdout), columns)


@named(READERS)
def by_a_list(columns: Columns) -> np.ndarray:
    import polars as pl

    return daily(pl.read_parquet([str(HERE / "daily.parquet")]).rows(), columns)


@named(READERS)
def by_a_file_system(columns: Columns) -> np.ndarray:
    from pyarrow import fs

    with fs.LocalFileSystem().open_input_file(str(HERE / "daily.csv")) as file:
        return daily(parsed(file.read().decode()), columns)


def made(name: str, names: list[str], read: Callable[[], float]) -> None:
    """A maker: what it makes shares one code object, and only some of it reads."""

    def scaled(columns: Columns) -> np.ndarray:
        return columns["close"] * 0 + read()

    scaled.__name__ = name
    named(names)(scaled)


made("made_to_read", READERS, lambda: float(len((HERE / "daily.csv").read_text())))
for number in range(3):
    made(f"made_of_{number}", HONEST, lambda number=number: float(number))


@named(HONEST)
def last_return(columns: Columns) -> np.ndarray:
    close = columns["close"]
    return np.append(0.0, close[1:] / close[:-1] - 1)


@named(HONEST)
def read_when_imported(columns: Columns) -> np.ndarray:
    """Honest in its values for a table that never changes; what opened it is named by its file, not by a feature."""
    return columns["close"] * 0 + len(AT_IMPORT)


@named(HONEST)
def new_in_session(columns: Columns) -> np.ndarray:
    opened = columns["session_open"]
    return np.append(True, opened[1:] != opened[:-1]).astype(float)


@named(HONEST, rungs=("15m",))
def honest_on_a_finer_rung(columns: Columns) -> np.ndarray:
    return np.sign(columns["close"] - np.append(columns["close"][:1], columns["close"][:-1]))
