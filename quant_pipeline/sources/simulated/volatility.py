"""How volatility moves: a slow log-normal deviation times a Markov regime, and what is expected of both."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.sources.simulated.couplings import decay

if TYPE_CHECKING:
    from quant_pipeline.sources.simulated.noise import Floats

# calm, usual, stressed: multiplier of volatility and mean stay in trading minutes
MULTIPLIER = np.array([0.70, 1.00, 1.80])
_STAY = np.array([3_000.0, 3_000.0, 1_000.0])
_LEAVE_TO = np.array([[0.0, 1.0, 0.0], [0.65, 0.0, 0.35], [0.0, 1.0, 0.0]])
_HALF_LIFE, DEVIATION = 500.0, 0.30  # of the log-volatility, in trading minutes; stationary
_VOLUME_HALF_LIFE, VOLUME_DEVIATION = 30.0, 0.60
MEMORY = decay(_HALF_LIFE)
_VOLUME_MEMORY = decay(_VOLUME_HALF_LIFE)
COMMON = 0.5  # correlation of every symbol's volatility shock with the common one

TRANSITION = np.diag(1 - 1 / _STAY) + _LEAVE_TO / _STAY[:, None]
CUMULATIVE = np.cumsum(TRANSITION, axis=1)
# memory and step of the log-volatility, then of the log-volume
CALM = np.array(
    [
        MEMORY,
        DEVIATION * np.sqrt(1 - MEMORY**2),
        _VOLUME_MEMORY,
        VOLUME_DEVIATION * np.sqrt(1 - _VOLUME_MEMORY**2),
    ]
)


def mean_square() -> float:
    """Long-run mean of the squared volatility, in units of the usual one."""
    stationary = np.linalg.matrix_power(TRANSITION, 2**22)[0]
    return float(stationary @ MULTIPLIER**2 * np.exp(2 * DEVIATION**2))


@lru_cache(maxsize=32)
def expected(horizon: int) -> tuple[Floats, Floats]:
    """Expected volatility and squared volatility 1 to `horizon` minutes ahead by regime now, (horizon, R) each.

    In units of the usual volatility, for a log-volatility deviation h that is 0 now; for another one they grow by
    exp(h * MEMORY**k) and by its square.
    """
    first, second = MULTIPLIER, MULTIPLIER**2
    level, square = np.empty((horizon, len(first))), np.empty((horizon, len(first)))
    for k in range(horizon):
        first, second = TRANSITION @ first, TRANSITION @ second
        spread = DEVIATION**2 * (1 - MEMORY ** (2 * (k + 1)))
        level[k], square[k] = first * np.exp(spread / 2), second * np.exp(2 * spread)
    return level, square
