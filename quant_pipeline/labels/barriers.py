"""Numba kernels of the triple barrier: average true range, path blocks, and the walk of two trades along the path.

Times are int64 microseconds since the epoch. A *block* is the run of path bars that become known inside one primary
bar; its extremes let a walk skip it whole, so a walk costs one step per primary bar until a barrier is near.

Results are allocated by NumPy and filled by kernels: NumPy asks the system for huge pages where Numba does not, and for
a year of minutes the page faults would cost over half as much as the walk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.jit import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Small = npt.NDArray[np.int8]

WARM_UP, NO_RANGE, WINDOW_OPEN, NO_PATH = 0, 1, 2, 3
UPPER, LOWER, VERTICAL = 0, 1, 2
CHUNK = 1_024  # floats that stay in the first-level cache


class Prices(NamedTuple):
    """Extremes and closes of primary bars, (n,) each."""

    high: Floats
    low: Floats
    close: Floats


class Path(NamedTuple):
    """Bars that a trade lives through, (m,) each: open time, time known, prices."""

    opens_at: Ints
    known_at: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats


class Blocks(NamedTuple):
    """Where each primary bar lies on the path, (n,) each.

    cut: path bars known by the primary bar's close. entry: first path bar that opens at or after it.
    top, bottom: extremes of the path bars known since the close before.
    """

    cut: Places
    entry: Places
    top: Floats
    bottom: Floats


class Course(NamedTuple):
    """Primary bars (n,) laid on their path, ready to be labelled; the first `covered` of them have a path."""

    opens_at: Ints
    closes_at: Ints
    atr: Floats
    path: Path
    blocks: Blocks
    covered: int


class Rules(NamedTuple):
    """Barriers in multiples of ATR, horizon in primary bars, round-trip cost as a fraction of the entry price."""

    tp_atr: float
    sl_atr: float
    max_bars: int
    cost: float
    two_sided: bool


class Barriers(NamedTuple):
    """Prices `up` > `down` of one trade; `stop` (UPPER or LOWER) wins where one path bar holds both."""

    up: float
    down: float
    stop: int


class Outcomes(NamedTuple):
    """One element per kept sample, (k,) each; `row` is its primary bar, `dropped` counts the others by reason code."""

    row: Places
    entry: Places
    label: Small
    touched: Small
    label_end: Ints
    long_return: Floats
    short_return: Floats
    forward_return: Floats
    dropped: Ints


def simple_atr(high: Floats, low: Floats, close: Floats, period: int) -> Floats:
    """Mean true range of the last `period` bars, NaN for the first `period` bars (the first has no close before).

    A plain mean, not Wilder's recursion: it depends on `period + 1` bars and on nothing older, so the same bar has
    the same value, bit for bit, in every window of history that holds those bars.
    """
    true_range, atr = np.empty((2, high.size))
    _mean_range(Prices(high, low, close), period, true_range, atr)
    return atr


@compiled
def _mean_range(bars: Prices, period: int, true_range: Floats, atr: Floats) -> None:
    for i in range(1, atr.size):
        before = bars.close[i - 1]
        true_range[i] = max(bars.high[i] - bars.low[i], abs(bars.high[i] - before), abs(bars.low[i] - before))
    atr[:period] = np.nan
    for start in range(period, atr.size, CHUNK):
        mean = atr[start : start + CHUNK]
        mean[:] = 0.0
        for back in range(period):  # whole chunks at a time: four additions per processor cycle instead of one in four
            mean += true_range[start - back : start - back + mean.size]
        mean /= period


def path_blocks(closes_at: Ints, path: Path) -> Blocks:
    """Lay the path (m bars) under the primary bars that close at `closes_at` (n,); both sorted by time."""
    n = closes_at.size
    blocks = Blocks(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n), np.empty(n))
    _lay(closes_at, path, blocks)
    return blocks


@compiled
def _lay(closes_at: Ints, path: Path, blocks: Blocks) -> None:
    known, opened, m = 0, 0, path.known_at.size
    for j in range(closes_at.size):
        top, bottom = -np.inf, np.inf
        while known < m and path.known_at[known] <= closes_at[j]:
            top, bottom = max(top, path.high[known]), min(bottom, path.low[known])
            known += 1
        while opened < m and path.opens_at[opened] < closes_at[j]:
            opened += 1
        blocks.cut[j], blocks.entry[j] = known, opened
        blocks.top[j], blocks.bottom[j] = top, bottom


@compiled
def first_touch(path: Path, blocks: Blocks, sample: int, last: int, trade: Barriers) -> tuple[int, int, float]:
    """First barrier that the path meets from the entry of `sample` to the close of primary bar `last`.

    A path bar that opens beyond a barrier fills at that open, and its open comes before its extremes.
    Returns (path bar, barrier, price), or (last path bar, VERTICAL, its close).
    """
    entry = blocks.entry[sample]
    for j in range(sample + 1, last + 1):
        if blocks.top[j] < trade.up and blocks.bottom[j] > trade.down:
            continue
        for k in range(max(entry, blocks.cut[j - 1]), blocks.cut[j]):
            if path.open[k] >= trade.up:
                return k, UPPER, path.open[k]
            if path.open[k] <= trade.down:
                return k, LOWER, path.open[k]
            above, below = path.high[k] >= trade.up, path.low[k] <= trade.down
            if above and (trade.stop == UPPER or not below):
                return k, UPPER, trade.up
            if below:
                return k, LOWER, trade.down
    end = blocks.cut[last] - 1
    return end, VERTICAL, path.close[end]


@compiled
def verdict(long_bar: int, long_touch: int, short_bar: int, short_touch: int) -> int:
    """Two-sided label: 1 long trade took its profit, -1 short trade did, 0 neither.

    Both can only when the take-profit is nearer than the stop: then the earlier one decides, and a tie is 0.
    """
    won_long, won_short = long_touch == UPPER, short_touch == LOWER
    if won_long and won_short:
        return int(np.sign(short_bar - long_bar))
    return int(won_long) - int(won_short)


@compiled
def drop_reason(course: Course, sample: int, max_bars: int) -> int:
    """Why a sample cannot be labelled, or -1."""
    if np.isnan(course.atr[sample]):
        return WARM_UP
    if course.atr[sample] <= 0.0:
        return NO_RANGE
    if sample + max_bars >= course.covered:
        return WINDOW_OPEN
    return NO_PATH if course.blocks.entry[sample] >= course.blocks.cut[sample + 1] else -1


def allocate(n: int) -> Outcomes:
    """Room for the outcomes of `n` samples."""
    row, entry = np.empty((2, n), np.int32)
    label, touched = np.empty((2, n), np.int8)
    ends, long, short, forward = np.empty((4, n))
    return Outcomes(row, entry, label, touched, ends.view(np.int64), long, short, forward, np.zeros(4, np.int64))


@compiled
def walk_all(course: Course, rules: Rules, out: Outcomes) -> int:
    """Label every primary bar into `out`; returns the number kept, which is how many elements of each array are filled.

    See `label_bars` for the meaning of the barriers.
    """
    path, blocks, closes_at = course.path, course.blocks, course.closes_at
    kept = 0
    for i in range(closes_at.size):
        reason = drop_reason(course, i, rules.max_bars)
        if reason >= 0:
            out.dropped[reason] += 1
            continue
        last, entry = i + rules.max_bars, blocks.entry[i]
        price = path.open[entry]
        take = rules.tp_atr * course.atr[i] + rules.cost * price
        stop = rules.sl_atr * course.atr[i] - rules.cost * price
        bar, touched, left = first_touch(path, blocks, i, last, Barriers(price + take, price - stop, LOWER))
        short_bar, short_touched, short_left = first_touch(path, blocks, i, last, Barriers(price + stop, price - take, UPPER))
        end = closes_at[last] if touched == VERTICAL else path.known_at[bar]
        label = 1 if touched == UPPER else -1 if touched == LOWER else 0
        if rules.two_sided:
            label = verdict(bar, touched, short_bar, short_touched)
            touched = UPPER if label == 1 else LOWER if label == -1 else VERTICAL
            end = max(end, closes_at[last] if short_touched == VERTICAL else path.known_at[short_bar])
        out.row[kept], out.entry[kept], out.label[kept], out.touched[kept] = i, entry, label, touched
        out.label_end[kept] = end
        out.long_return[kept] = (left - price) / price - rules.cost
        out.short_return[kept] = (price - short_left) / price - rules.cost
        out.forward_return[kept] = path.close[blocks.cut[last] - 1] / price - 1.0
        kept += 1
    return kept
