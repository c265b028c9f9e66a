"""Voting: a weighted mean of the base models' probabilities. The baseline that a stack has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quant_pipeline.errors import ConfigError
from quant_pipeline.models.contract import Floats
from quant_pipeline.models.probabilities import floored


def vote(p: Floats, weights: Sequence[float] | None = None) -> Floats:
    """Mean probabilities (n, 3) of base probabilities (n, M, 3).

    Args:
        p: probabilities of M models.
        weights: M non-negative numbers, not all 0; None for equal ones.

    Raises:
        ConfigError: weights that cannot be used.

    Example:
        >>> vote(np.array([[[0.2, 0.2, 0.6], [0.6, 0.2, 0.2]]]), (3, 1)).round(3).tolist()
        [[0.3, 0.2, 0.5]]
    """
    given = np.ones(p.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (p.shape[1],) or not np.isfinite(given).all() or (given < 0).any() or not given.any():
        raise ConfigError(
            "voting weights", found=list(given), wanted=f"{p.shape[1]} numbers >= 0, not all 0", mend="give one weight a model"
        )
    return floored((p * (given / given.sum())[None, :, None]).sum(axis=1))
