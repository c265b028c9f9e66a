"""Many features on many places at once: features that share one function are computed together, block by block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quant_pipeline.config.experiment import FeatureSettings
    from quant_pipeline.features.kernels import FloatArray
    from quant_pipeline.features.places import Place
    from quant_pipeline.features.registry import FeatureSpec

WORKERS = 2
"""Threads: the kernels release the GIL, two cores are what the pipeline is made for, and each thread holds temporaries."""
BLOCK = 16_384
"""Bars computed at once: 128 KiB a column, so that a feature's temporaries stay in the second-level cache."""
ALONE = 4_096
"""Bars up to which a place is computed in one thread: a live window's groups take microseconds, less than handing them over."""
BLOCK_PER_LOOKBACK = 8
"""A block is at least so many times the bars it reads before itself, so that long lookbacks are not read over and over."""


@dataclass(frozen=True, eq=False)
class Task:
    """One column to compute."""

    spec: FeatureSpec
    place: Place

    @property
    def column(self) -> str:
        """Name of the column."""
        return self.spec.column(self.place.name)


def run(tasks: Sequence[Task], settings: FeatureSettings) -> dict[str, FloatArray]:
    """Every task's column at every decision, NaN before its first bar, in the order of `tasks`; the longest places first.

    Raises:
        DataError: a value that is not defined, or a function that changes the columns that it was given.
    """
    together: dict[tuple[int, str], list[Task]] = {}
    for task in tasks:
        together.setdefault((id(task.spec.function), task.place.name), []).append(task)
    groups = sorted(together.values(), key=lambda group: -group[0].place.columns["close"].size)
    given = {id(task.place): {name: column.copy() for name, column in task.place.columns.items()} for task in _one_a_place(tasks)}
    try:
        parts = _each(groups, settings)
    finally:
        for task in _one_a_place(tasks):
            _check_unchanged(task.place, given[id(task.place)], [group[0].spec for group in groups])
    done = {column: values for part in parts for column, values in part.items()}
    return {task.column: done[task.column] for task in tasks}


def _each(groups: Sequence[Sequence[Task]], settings: FeatureSettings) -> list[dict[str, FloatArray]]:
    """Every group's columns, in two threads where a group has more than a live window's bars."""
    if not groups or groups[0][0].place.columns["close"].size <= ALONE:
        return [_group(group, settings) for group in groups]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda group: _group(group, settings), groups))


def _one_a_place(tasks: Sequence[Task]) -> list[Task]:
    return list({id(task.place): task for task in tasks}.values())


def _check_unchanged(place: Place, given: dict[str, FloatArray], suspects: Sequence[FeatureSpec]) -> None:
    """Features share their columns, so one that works in place changes what the others read, in whatever order they ran."""
    spoilt = [name for name, column in place.columns.items() if not np.array_equal(column, given[name], equal_nan=True)]
    if not spoilt:
        return
    guilty = sorted(spec.name for spec in suspects if set(spec.inputs) & set(spoilt) and _works_in_place(spec, given))
    raise DataError(
        f"feature {', '.join(guilty) or 'of ' + place.name}", found=f"it changes {', '.join(spoilt)} of {place.name} in place",
        wanted="inputs left as they are: other features read them too", mend=f"work on a copy: columns[{spoilt[0]!r}].copy()",
    )  # fmt: skip


def _works_in_place(spec: FeatureSpec, given: dict[str, FloatArray]) -> bool:
    tried = {name: given[name].copy() for name in spec.inputs if name in given}
    if len(tried) == len(spec.inputs):
        spec.raw(tried)
    return any(not np.array_equal(column, given[name], equal_nan=True) for name, column in tried.items())


def _group(tasks: Sequence[Task], settings: FeatureSettings) -> dict[str, FloatArray]:
    """The columns of tasks that share a function and a place."""
    computed = _compute(tasks, settings)
    row = tasks[0].place.row
    before = int(np.searchsorted(row, 0))
    columns = {}
    for task, values in zip(tasks, computed, strict=True):
        _check_defined(task, values)
        columns[task.column] = np.full(row.size, np.nan)
        columns[task.column][before:] = values[row[before:]]
    return columns


def _compute(tasks: Sequence[Task], settings: FeatureSettings) -> FloatArray:
    """(tasks, bars) values, block by block: each block reads what it needs before itself, as an update does."""
    place = tasks[0].place
    need = max(task.spec.bars_needed(place.name, settings) for task in tasks)
    columns = {name: place.columns[name] for name in tasks[0].spec.inputs}
    size = max(BLOCK, BLOCK_PER_LOOKBACK * need)
    out = np.empty((len(tasks), place.columns["close"].size))
    for first in range(0, out.shape[1], size):
        start = max(0, first - need + 1)
        raw = tasks[0].spec.raw({name: column[start : first + size] for name, column in columns.items()})
        for values, task in zip(out, tasks, strict=True):
            values[first : first + size] = task.spec.finish(raw, settings)[first - start :]
    return out


def _check_defined(task: Task, values: FloatArray) -> None:
    """A feature has no holes once it started, unless a null volume or an absent market made one."""
    known = np.isfinite(values)
    hole = ~known & np.logical_or.accumulate(known)
    may_have_holes = task.place.may_have_holes and (task.spec.needs_volume or not task.spec.on_bars)
    wrong = np.isinf(values) if may_have_holes else hole | np.isinf(values)
    if wrong.any():
        raise DataError(
            f"feature {task.column}", found=f"{values[wrong.argmax()]} at bar {wrong.argmax()}",
            wanted="a defined value on every clean bar", mend=f"give {task.spec.name} a value for such windows",
        )  # fmt: skip
