"""Numba kernels of the skill metrics. Each takes row counts (resamples, rows) and gives one value per resample.

Sorting happens once, outside: a kernel walks rows in a fixed order and counts, so ranks and ties of every resample
are exact at the price of one pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.jit import compiled

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ECE_BINS = 10
CONSTANT = 1e-30  # a variance below this is rounding, not spread


def ones(rows: int) -> Counts:
    """The counts of a point estimate: every row once, (1, rows)."""
    return np.ones((1, rows), dtype=np.int32)


def groups(values: Floats) -> tuple[Ints, Flags]:
    """Rows in ascending order of value, and where in that order a run of equal values ends."""
    order = np.argsort(values, kind="stable")
    ordered = np.asarray(values)[order]
    return order.astype(np.int64), np.append(ordered[1:] != ordered[:-1], True)


@compiled
def means(values: Floats, counts: Counts) -> Floats:
    """Mean of the rows' values, in (resamples,)."""
    out = np.empty(len(counts))
    for b in range(len(counts)):
        total, rows = 0.0, 0
        for i in range(len(values)):
            total += counts[b, i] * values[i]
            rows += counts[b, i]
        out[b] = total / rows
    return out


@compiled
def confusion(cells: Ints, counts: Counts) -> Floats:
    """Rows by outcome and forecast, (resamples, 3, 3); `cells` (rows,) holds 3 x outcome + forecast."""
    out = np.zeros((len(counts), 9))
    for b in range(len(counts)):
        for i in range(len(cells)):
            out[b, cells[i]] += counts[b, i]
    return out.reshape((len(counts), 3, 3))


@compiled
def ece(bins: Ints, gap: Floats, counts: Counts) -> Floats:
    """Expected calibration error from each row's confidence bin and gap (confidence - hit), in (resamples,)."""
    out = np.empty(len(counts))
    for b in range(len(counts)):
        total, rows = np.zeros(ECE_BINS), 0
        for i in range(len(bins)):
            total[bins[i]] += counts[b, i] * gap[i]
            rows += counts[b, i]
        out[b] = np.abs(total).sum() / rows
    return out


@compiled
def auc(order: Ints, run_ends: Flags, positive: Flags, counts: Counts) -> Floats:
    """Area under the ROC curve from ordered rows (see `groups`), ties half, in (resamples,); NaN when one side is empty."""
    out = np.empty(len(counts))
    for b in range(len(counts)):
        wins, ups, downs, run_ups, run_downs = 0.0, 0, 0, 0, 0
        for k in range(len(order)):
            row = order[k]
            if positive[row]:
                run_ups += counts[b, row]
            else:
                run_downs += counts[b, row]
            if run_ends[k]:
                wins += run_ups * (downs + 0.5 * run_downs)
                ups, downs, run_ups, run_downs = ups + run_ups, downs + run_downs, 0, 0
        out[b] = wins / (ups * downs) if ups * downs > 0 else np.nan
    return out


@compiled
def midranks(order: Ints, run_ends: Flags, counts: Counts, out: Floats) -> None:
    """Ranks of the resampled rows, 1 for the smallest, ties sharing the middle, less their mean."""
    before, run, first = 0, 0, 0
    for k in range(len(order)):
        run += counts[order[k]]
        if run_ends[k]:
            for j in range(first, k + 1):
                out[order[j]] = before + 0.5 * (run + 1)
            before, run, first = before + run, 0, k + 1
    for k in range(len(order)):
        out[k] -= 0.5 * (before + 1)


@compiled
def spearman(order_x: Ints, ends_x: Flags, order_y: Ints, ends_y: Flags, counts: Counts) -> Floats:
    """Rank correlation from two orders (see `groups`), in (resamples,); NaN when one side is constant."""
    out, x, y = np.empty(len(counts)), np.empty(len(order_x)), np.empty(len(order_x))
    for b in range(len(counts)):
        midranks(order_x, ends_x, counts[b], x)
        midranks(order_y, ends_y, counts[b], y)
        xy, xx, yy = 0.0, 0.0, 0.0
        for i in range(len(x)):
            c = counts[b, i]
            xy, xx, yy = xy + c * x[i] * y[i], xx + c * x[i] * x[i], yy + c * y[i] * y[i]
        out[b] = xy / np.sqrt(xx * yy) if xx > 0 and yy > 0 else np.nan
    return out


@compiled
def pearson(x: Floats, y: Floats, counts: Counts) -> Floats:
    """Linear correlation, in (resamples,); NaN when one side is constant."""
    out = np.empty(len(counts))
    for b in range(len(counts)):
        rows, sx, sy = 0, 0.0, 0.0
        for i in range(len(x)):
            rows, sx, sy = rows + counts[b, i], sx + counts[b, i] * x[i], sy + counts[b, i] * y[i]
        mx, my, xy, xx, yy = sx / rows, sy / rows, 0.0, 0.0, 0.0
        for i in range(len(x)):
            c, dx, dy = counts[b, i], x[i] - mx, y[i] - my
            xy, xx, yy = xy + c * dx * dy, xx + c * dx * dx, yy + c * dy * dy
        out[b] = xy / np.sqrt(xx * yy) if xx > CONSTANT * rows and yy > CONSTANT * rows else np.nan
    return out
