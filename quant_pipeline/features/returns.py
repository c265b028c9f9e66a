"""Returns: how far the close moved over the last bars, and where it stands between the Bollinger bands."""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray, blank, ratio, rolling_spread
from quant_pipeline.features.registry import PRIMARY, Columns, feature, features
from quant_pipeline.features.volatility import BOLLINGER_WIDTH, BOLLINGER_WINDOW

HORIZONS = (1, 2, 3, 5, 8, 13)
"""Primary bars over which log returns are taken: Fibonacci spacing, from one bar to two days of stock hours."""


@feature("return", "returns", ("close",), 2)
def last_return(columns: Columns) -> FloatArray:
    """Simple return of the last bar of each rung."""
    close = columns["close"]
    out = np.full(close.size, np.nan)
    out[1:] = close[1:] / close[:-1] - 1.0
    return out


def _register_log_return(bars: int) -> None:
    @features({f"log_return_{bars}": f"Log return over {bars} primary bars."}, "returns", ("close",), bars + 1, rungs=(PRIMARY,))
    def log_return(columns: Columns) -> FloatArray:
        level = np.log(columns["close"])
        out = np.full((1, level.size), np.nan)
        out[0, bars:] = level[bars:] - level[:-bars]
        return out


for _bars in HORIZONS:
    _register_log_return(_bars)


@feature("bb_position", "returns", ("close",), BOLLINGER_WINDOW)
def bb_position(columns: Columns) -> FloatArray:
    """Place of the close between the Bollinger bands: 0 the lower, 1 the upper, 0.5 the middle and where they meet."""
    close = columns["close"]
    mean, square = rolling_spread(close, BOLLINGER_WINDOW)
    width = 2 * BOLLINGER_WIDTH * np.sqrt(square / BOLLINGER_WINDOW)
    return blank(0.5 + ratio(close - mean, width, 0.0), BOLLINGER_WINDOW - 1)
