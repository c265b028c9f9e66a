"""Imputing and standardising by statistics of the training rows; the only scaler there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scaler:
    """Median imputation, then (x - mean) / std clipped to ±`clip` standard deviations.

    Attributes:
        median, mean, std: (F,) of the rows that it was fitted on; std is 1 where a column does not vary.
    """

    median: Floats
    mean: Floats
    std: Floats
    clip: float

    @classmethod
    def fit(cls, values: NDArray[Any], clip: float) -> Self:
        """Statistics of (n, F) training rows; a column of NaN only has median 0."""
        filled = values.astype(np.float64)
        absent = np.isnan(filled)
        empty = absent.all(axis=0)
        filled[:, empty] = 0.0
        median = np.nanmedian(filled, axis=0)
        filled = np.where(np.isnan(filled), median, filled)
        mean, std = filled.mean(axis=0), filled.std(axis=0)
        # a constant column keeps rounding dust in its std: 1e-9 of its size is no variation
        flat = std <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
        return cls(median, mean, np.where(flat, 1.0, std), clip)

    def transform(self, values: NDArray[Any]) -> Floats:
        """Scaled (n, F) float64 without NaN; each value depends on its own row and column only."""
        filled = np.where(np.isnan(values), self.median, values.astype(np.float64))
        scaled: Floats = np.clip((filled - self.mean) / self.std, -self.clip, self.clip)
        return scaled
