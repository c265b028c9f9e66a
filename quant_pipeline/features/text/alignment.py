"""Which articles a decision may read: those that became known in the window that ends with it, newest first."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import Int64s
from quant_pipeline.errors import DataError

WINDOW = timedelta(hours=24)
MOST = 10
"""Articles a decision reads at most (document 000, 6.3)."""


def align_news(
    decision_at: Int64s, known_at: Int64s, *, window: timedelta = WINDOW, most: int = MOST
) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """For each decision t the newest articles with t - `window` < known_at <= t (document 000, 6.3).

    Args:
        decision_at: (n,) microseconds UTC, in any order.
        known_at: (m,) microseconds UTC of the articles, sorted; of equal ones the later row is the newer.
        window: how far back a decision looks; an article exactly that old is out.
        most: articles per decision at most.

    Returns:
        (n, most) int64 rows of the articles, newest first, -1 where there is none; and the (n, most) mask of those that
        are there.

    Raises:
        DataError: unsorted `known_at`, or a window or `most` that is not positive.

    Example:
        >>> align_news(np.array([10, 20]), np.array([4, 10, 15]), window=timedelta(microseconds=6), most=2)
        (array([[ 1, -1], [ 2, -1]]), array([[ True, False], [ True, False]]))
    """
    width = window // timedelta(microseconds=1)
    if width <= 0 or most <= 0:
        raise DataError(
            "alignment of news", found=f"window {window}, most {most}", wanted="both above zero", mend="correct the settings"
        )
    if not known_at.size:
        return np.full((len(decision_at), most), -1), np.zeros((len(decision_at), most), np.bool_)
    rows = asof_index(decision_at, known_at)[:, None] - np.arange(most)  # (n, most)
    young = known_at[np.maximum(rows, 0)] > (decision_at - width)[:, None]
    mask = (rows >= 0) & young
    return np.where(mask, rows, -1), mask
