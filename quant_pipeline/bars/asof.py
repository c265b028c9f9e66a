"""The ONE point-in-time join: every table meets another here, backward on `known_at`, and nowhere else."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import NEVER, Int64s, microseconds, require_columns
from quant_pipeline.errors import DataError
from quant_pipeline.jit import compiled

_MICROSECOND = timedelta(microseconds=1)
_FOREVER = np.iinfo(np.int64).max


def asof_index(at: Int64s, known_at: Int64s, max_age_us: int | None = None) -> Int64s:
    """For each moment of `at`, the last row of `known_at` that is not later; -1 where there is none.

    Args:
        at: Moments of use, int64 microseconds UTC (n,), in any order (sorted is fastest); `NEVER` finds nothing.
        known_at: Moments from which each row of the other table may be used, sorted, (m,). Ties: the last row wins.
        max_age_us: Rows older than this (at - known_at > max_age_us) count as absent; None keeps every age.

    Returns:
        int64 (n,) of row indices into `known_at`, or -1.

    Raises:
        DataError: `known_at` is not sorted or holds a null, or `max_age_us` is negative.

    Example:
        >>> asof_index(np.array([5, 10, 11]), np.array([6, 10, 10]), max_age_us=0)
        array([-1,  2, -1])
    """
    if max_age_us is not None and max_age_us < 0:
        raise DataError("max_age", found=max_age_us, wanted="zero or more microseconds", mend="pass None to keep every age")
    wrong = _first_unsorted(known_at)
    if wrong >= 0:
        raise DataError(
            "known_at", found=f"row {wrong} null or earlier than the row before it", wanted="a sorted column without nulls",
            mend="sort the right-hand table by known_at where it is made",
        )  # fmt: skip
    return _last_known(at, known_at, _FOREVER if max_age_us is None else max_age_us)


def asof_join(
    left: pl.DataFrame, right: pl.DataFrame, *, at: str = "decision_at", max_age: timedelta | None = None, suffix: str = ""
) -> pl.DataFrame:
    """`left` with the columns of the newest row of `right` that was known at `left[at]`; null where there is none.

    The newest row is taken whole: a null in it stays null, an older value never fills it.

    Args:
        left: Any table with the moment-of-use column `at`; its rows and their order stay as they are.
        right: Table with `known_at`, sorted by it.
        at: Name of the moment of use in `left` (Datetime us UTC).
        max_age: Rows of `right` older than this at the moment of use count as absent; exactly this old still counts.
        suffix: Appended to every column of `right`, whose known_at then comes along; without it known_at stays behind.

    Raises:
        DataError: a missing column, a dtype other than Datetime("us", "UTC"), unsorted or null known_at, or a column
            name on both sides.
    """
    require_columns(left, (at,), "left table of the as-of join")
    require_columns(right, ("known_at",), "right table of the as-of join")
    taken = right.rename(lambda name: name + suffix) if suffix else right.drop("known_at")
    clash = sorted(set(left.columns) & set(taken.columns))
    if clash:
        raise DataError(
            "as-of join", found=f"{', '.join(clash)} on both sides", wanted="distinct column names",
            mend="select the columns needed from the right-hand table, or pass a suffix",
        )  # fmt: skip
    age = None if max_age is None else max_age // _MICROSECOND
    row = pl.Series("row", asof_index(microseconds(left[at]), microseconds(right["known_at"]), age))
    found = pl.DataFrame(row).select(pl.when(pl.col("row") >= 0).then(pl.col("row"))).to_series()
    return left.hstack([column.gather(found) for column in taken])


@compiled
def _first_unsorted(known_at: Int64s) -> int:
    previous = NEVER + 1  # a null is NEVER, so even the first row may be wrong
    for row in range(len(known_at)):
        if known_at[row] < previous:
            return row
        previous = known_at[row]
    return -1


@compiled
def _last_known(at: Int64s, known_at: Int64s, max_age: int) -> Int64s:
    """Walk both sides together: a step doubles until it passes `at`, then halves, so order only costs speed."""
    rows = np.empty(len(at), np.int64)
    size, after = len(known_at), 0  # `after`: rows of known_at that are <= at
    for i in range(len(at)):
        moment, low, high = at[i], 0, size
        if after > 0 and known_at[after - 1] > moment:
            high = after - 1
        else:
            low, step = after, 1
            while low < size and known_at[min(low + step, size) - 1] <= moment:
                low, step = min(low + step, size), 2 * step
            high = min(low + step, size)
        while low < high:
            middle = (low + high) // 2
            if known_at[middle] <= moment:
                low = middle + 1
            else:
                high = middle
        after = low
        fresh = after > 0 and moment - known_at[after - 1] <= max_age
        rows[i] = after - 1 if fresh else -1
    return rows
