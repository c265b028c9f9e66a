"""The training reference: how each feature was distributed in the rows a bundle learned from, small enough to travel."""

from __future__ import annotations

import numpy as np
import polars as pl

from quant_pipeline.views.feature_matrix import FeatureMatrix

ROWS = 1_000  # a hundred values in each of ten PSI bins; 150 features take about half a megabyte


def feature_reference(view: FeatureMatrix, rows: int = ROWS) -> pl.DataFrame:
    """Order statistics of each feature, as a frame that drift measures may read like training rows.

    Args:
        view: the training rows.
        rows: rows of the reference; all of the view when it has fewer.

    Returns:
        `rows` rows and one Float64 column a feature: its sorted values at evenly spaced ranks, then nulls in the
        share that it lacked. Rows of the reference are no moments: only the columns, one by one, mean something.
    """
    size = min(rows, len(view))
    return pl.DataFrame({name: _ranked(view.values[:, index], size) for index, name in enumerate(view.columns)})


def _ranked(values: np.ndarray, size: int) -> pl.Series:
    present = np.sort(values[~np.isnan(values)]).astype(np.float64)
    kept = round(size * len(present) / max(len(values), 1))
    ranks = ((np.arange(kept) + 0.5) * len(present) / max(kept, 1)).astype(np.int64)
    return pl.concat([pl.Series(present[ranks]), pl.Series([None] * (size - kept), dtype=pl.Float64)])
