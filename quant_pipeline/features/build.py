"""Any set of features on every rung, joined to the decision times of the primary rung.

A feature is computed on its own rung's bars, then read as of each decision: the last bar whose `known_at` is not
later. What one decision reads is a fixed number of bars per rung (`history_needed`), and no bit depends on older
ones, so an update from a tail, and a live window, give what a full recompute gives.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import Int64s, microseconds, require_columns, to_microseconds
from quant_pipeline.errors import DataError
from quant_pipeline.features.calendar import decision_columns
from quant_pipeline.features.registry import Columns, FeatureSpec, specs
from quant_pipeline.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from quant_pipeline.config.experiment import FeatureSettings
    from quant_pipeline.features.kernels import FloatArray

WORKERS = 2
"""Threads: the kernels release the GIL, two cores are what the pipeline is made for, and each thread holds temporaries."""
BLOCK = 16_384
"""Bars computed at once: 128 KiB a column, so that a feature's temporaries stay in the second-level cache."""
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, eq=False)
class _Rung:
    """The bars of one rung that the decisions need, and where each decision finds its own among them."""

    name: str
    columns: Columns
    row: Int64s  # per decision: row of the columns, negative before the first bar
    has_volume: bool


@dataclass(frozen=True, eq=False)
class _Task:
    """One column to compute."""

    spec: FeatureSpec
    rung: _Rung

    @property
    def column(self) -> str:
        return self.spec.column(self.rung.name)


def build_features(
    bars: Mapping[str, pl.DataFrame], settings: FeatureSettings, primary: str, calendar: str, *, since: datetime | None = None
) -> tuple[pl.DataFrame, Ledger]:
    """Compute the features of `settings.families` for every primary bar.

    Args:
        bars: RUNG BARS by rung, cleaned; `primary` is among them. Rungs finer and coarser than it both serve.
        settings: families and the rolling z-score.
        primary: rung whose bars are the samples; `decision_at` is their `known_at`.
        calendar: the symbol's market calendar, for the session features.
        since: only decisions later than this. Bars are read from `history_needed` before the first of them; the rows
            equal those of a call without `since`, bit for bit.

    Returns:
        FEATURES: timestamp, decision_at and one Float64 column per feature and rung, named and ordered as
        `registry.columns` says; null while too few bars came before. The ledger drops, as `warm_up`, the rows without a
        value from any bar; `notes["left_out"]` names the columns whose rung has no volume.

    Raises:
        DataError: no primary rung, missing columns, prices that are not positive and finite, unsorted `known_at`.
        ConfigError: an unknown family.
    """
    chosen = specs(settings.families)
    decisions = _decisions(bars, primary, since)
    need = history_needed(settings, tuple(bars))
    rungs = {name: _rung(name, frame, microseconds(decisions["decision_at"]), need[name]) for name, frame in bars.items()}
    wanted = [_Task(spec, rung) for spec in chosen for rung in rungs.values() if spec.on(rung.name, primary)]
    tasks = [task for task in wanted if task.rung.has_volume or not task.spec.needs_volume]
    values = _run(tasks, settings)
    rows = _rows_with_values(values, decisions.height)
    ledger = Ledger(rows_in=decisions.height, notes={"left_out": [task.column for task in wanted if task not in tasks]})
    ledger.drop("warm_up", decisions.height - decisions[rows].height)
    encodings = decision_columns(decisions, calendar)
    values |= {spec.name: spec.compute(encodings, settings) for spec in chosen if spec.on_decision}
    series = [pl.Series(name, values.pop(name)[rows], nan_to_null=True) for name in list(values)]
    return decisions[rows].select("timestamp", "decision_at").hstack(series), ledger


def history_needed(settings: FeatureSettings, ladder: Sequence[str]) -> dict[str, int]:
    """Bars of each rung that decide the features of one decision: the one known then, and those before it.

    Example:
        >>> history_needed(FeatureSettings(families=("momentum",)), ["1m", "1h"])
        {'1m': 770, '1h': 770}
    """
    chosen = [spec for spec in specs(settings.families) if not spec.on_decision]
    return {
        rung: max((spec.bars_needed(rung, settings) for spec in chosen if spec.on(rung, primary=rung)), default=0)
        for rung in ladder
    }


def _decisions(bars: Mapping[str, pl.DataFrame], primary: str, since: datetime | None) -> pl.DataFrame:
    if primary not in bars:
        raise DataError(
            "features", found=f"rungs {', '.join(bars)}", wanted=f"the primary rung {primary} too", mend="build its bars first"
        )
    require_columns(bars[primary], ("timestamp", "known_at", "session_open", "session_close"), f"bars/{primary}")
    decisions = bars[primary].select("timestamp", pl.col("known_at").alias("decision_at"), "session_open", "session_close")
    if since is None:
        return decisions
    at = microseconds(decisions["decision_at"])
    return decisions.slice(int(np.searchsorted(at, to_microseconds(since, "since"), side="right")))


def _rung(name: str, frame: pl.DataFrame, at: Int64s, need: int) -> _Rung:
    """Cut `frame` to the bars that decide the features of the (sorted) moments `at`."""
    require_columns(frame, (*PRICES, "volume", "session_open", "known_at"), f"bars/{name}")
    row = asof_index(at, microseconds(frame["known_at"]))
    first, last = (int(row[0]), int(row[-1])) if row.size else (0, -1)
    start = max(0, first - need + 1)
    cut = frame.slice(start, max(0, last + 1 - start))
    columns = {column: cut[column].to_numpy(writable=True) for column in (*PRICES, "volume")}
    columns["session_open"] = microseconds(cut["session_open"]).astype(np.float64)  # exact: 2**53 us is the year 2255
    _check(name, cut, columns)
    return _Rung(name, columns, row - start, has_volume=frame["volume"].null_count() < max(frame.height, 1))


def _check(rung: str, frame: pl.DataFrame, columns: Columns) -> None:
    """Raise `DataError` at the first price or volume that no clean bar holds."""
    for name in (*PRICES, "volume"):
        values = columns[name]
        wrong = ~((values > 0) & (values < np.inf)) if name != "volume" else (values < 0) | (values == np.inf)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"bars/{rung}: {name}", found=f"{values[row]} at {frame['timestamp'][row]}",
                wanted="cleaned bars: positive finite prices, volume null or not negative",
                mend="pass the bars through clean_bars",
            )  # fmt: skip


def _run(tasks: Sequence[_Task], settings: FeatureSettings) -> dict[str, FloatArray]:
    """Compute every task's column for every decision, the longest rungs first, in the order of `tasks`."""
    order = sorted(tasks, key=lambda task: -task.rung.columns["close"].size)
    with ThreadPoolExecutor(WORKERS) as pool:
        done = dict(zip((task.column for task in order), pool.map(lambda task: _column(task, settings), order), strict=True))
    return {task.column: done[task.column] for task in tasks}


def _column(task: _Task, settings: FeatureSettings) -> FloatArray:
    """One column at every decision, and NaN before its first bar."""
    values = _compute(task, settings)
    _check_defined(task, values)
    row = task.rung.row
    out = np.full(row.size, np.nan)
    before = int(np.searchsorted(row, 0))
    out[before:] = values[row[before:]]
    return out


def _compute(task: _Task, settings: FeatureSettings) -> FloatArray:
    """The feature on the rung's bars, block by block: each block reads what it needs before itself, as an update does."""
    need = task.spec.bars_needed(task.rung.name, settings)
    columns = {name: task.rung.columns[name] for name in task.spec.inputs}
    out = np.empty(task.rung.columns["close"].size)
    for first in range(0, out.size, BLOCK):
        start = max(0, first - need + 1)
        block = {name: column[start : first + BLOCK] for name, column in columns.items()}
        out[first : first + BLOCK] = task.spec.compute(block, settings)[first - start :]
    return out


def _check_defined(task: _Task, values: FloatArray) -> None:
    """A feature has no holes once it started, unless a null volume made one."""
    known = np.isfinite(values)
    hole = ~known & np.logical_or.accumulate(known)
    may_have_holes = task.spec.needs_volume and bool(np.isnan(task.rung.columns["volume"]).any())
    wrong = np.isinf(values) if may_have_holes else hole | np.isinf(values)
    if wrong.any():
        raise DataError(
            f"feature {task.column}", found=f"{values[wrong.argmax()]} at bar {wrong.argmax()}",
            wanted="a defined value on every clean bar", mend=f"give {task.spec.name} a value for such windows",
        )  # fmt: skip


def _rows_with_values(values: Mapping[str, FloatArray], rows: int) -> slice | Int64s:
    """Rows where any of `values` is there; a slice when only leading rows are without, so that nothing is copied."""
    empty = np.arange(rows if values else 0)
    for column in values.values():
        empty = empty[np.isnan(column[empty])]
    if empty.size == 0 or empty[-1] == empty.size - 1:
        return slice(empty.size, None)
    return np.delete(np.arange(rows), empty)
