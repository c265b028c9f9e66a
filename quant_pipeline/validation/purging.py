"""Purge and embargo: which rows may stand beside a block of rows that they must know nothing about.

Times are int64 microseconds since 1970 UTC. A row's window runs from its decision to the moment when everything that
was learned from it is known.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.bars.moments import microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Windows(NamedTuple):
    """Windows of all rows, (n,) each, sorted by `start`: decision, and moment when the whole row is known."""

    start: Int64s
    end: Int64s

    def take(self, rows: Int64s) -> Windows:
        """The windows of `rows`, in that order."""
        return Windows(self.start[rows], self.end[rows])


class Removed(NamedTuple):
    """Rows that a block takes out of its neighbours, (n,) each: overlapping it, or only within the embargo of it."""

    purged: Flags
    embargoed: Flags

    @property
    def either(self) -> Flags:
        """Rows that must go."""
        return self.purged | self.embargoed


def label_windows(labels: pl.DataFrame) -> Windows:
    """Window of each row of LABELS, (n,).

    It ends at the later of `label_end` and `horizon_end`: the class is known at `label_end`, but `forward_return` of
    the same row, from which models learn the expected return, only at the vertical barrier.
    """
    ends = microseconds(labels["label_end"])
    if "horizon_end" in labels.columns:
        ends = np.maximum(ends, microseconds(labels["horizon_end"]))
    return Windows(microseconds(labels["decision_at"]), ends)


def removed_by(blocks: Iterable[Int64s], windows: Windows, embargo: timedelta) -> Removed:
    """Rows that may not be used beside any of `blocks` (row indices of one contiguous interval each).

    A block spans from its first decision to the last moment at which one of its rows is known. A row whose window
    overlaps that span is purged; one whose window comes within `embargo` of it, on either side, is embargoed. A window
    that ends at the very moment when the block begins does not overlap it: that label was known by then.

    Returns:
        Removed flags over all rows of `windows`; a block's own rows are among the purged.
    """
    purged = np.zeros(windows.start.size, dtype=bool)
    near = purged.copy()
    gap = embargo // timedelta(microseconds=1)
    for block in blocks:
        if not block.size:
            continue
        start, end = windows.start[block].min(), windows.end[block].max()
        purged |= (windows.end > start) & (windows.start < end)
        near |= (windows.end > start - gap) & (windows.start < end + gap)
    return Removed(purged, near & ~purged)
