"""Volume: distance from the session's VWAP, on-balance volume, volume ratio and volume z-score.

None is computed from the level of a sum that grows for ever: VWAP starts anew with each session, the others
look back 20 bars and are divided by the volume of those bars. A symbol without volume has none of them; a bar
whose volume is null spoils the windows that hold it, and for VWAP the rest of its session.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.config.timeframes import minutes
from quant_pipeline.features.kernels import FloatArray, blank, change, decayed_sum, ratio, rolling_mean, session_average
from quant_pipeline.features.registry import Columns, feature
from quant_pipeline.features.zscore import rolling_zscore

VOLUME_WINDOW = 20
SESSION_MINUTES = 1_440
"""The longest session: 24/7 markets have one per UTC day, every exchange closes at least once in 24 hours."""


def session_bars(rung: str) -> int:
    """Most bars of `rung` that one session can hold.

    Example:
        >>> session_bars("25m"), session_bars("1d")
        (58, 1)
    """
    return -(-SESSION_MINUTES // minutes(rung))


@feature(
    "vwap_distance",
    "volume",
    ("high", "low", "close", "volume", "session_open"),
    session_bars,
    zscore=True,
    needs_volume=True,
)
def vwap_distance(columns: Columns) -> FloatArray:
    """Close over the volume-weighted average price of its session so far, less one.

    A bar's price is its typical one, (high + low + close) / 3; until the session's first volume, that of the bar itself.
    """
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3
    return columns["close"] / session_average(typical, columns["volume"], columns["session_open"]) - 1.0


@feature("obv", "volume", ("close", "volume"), VOLUME_WINDOW + 1, needs_volume=True)
def obv(columns: Columns) -> FloatArray:
    """On-balance volume of 20 bars as a share of their volume: -1 (all sold) to 1 (all bought), 0 without volume."""
    signed = np.sign(change(columns["close"])) * columns["volume"]
    balance = decayed_sum(signed, VOLUME_WINDOW, 1.0)
    total = decayed_sum(columns["volume"], VOLUME_WINDOW, 1.0)
    return blank(ratio(balance, total, 0.0), VOLUME_WINDOW)


@feature("volume_ratio", "volume", ("volume",), VOLUME_WINDOW, needs_volume=True)
def volume_ratio(columns: Columns) -> FloatArray:
    """Volume over its mean of 20 bars: 0 to 20, 1 is usual, and 1 where nothing was traded in any of them."""
    mean = rolling_mean(columns["volume"], VOLUME_WINDOW)
    return blank(ratio(columns["volume"], mean, 1.0), VOLUME_WINDOW - 1)


@feature("volume_zscore", "volume", ("volume",), VOLUME_WINDOW, needs_volume=True)
def volume_zscore(columns: Columns) -> FloatArray:
    """Volume in population standard deviations from its mean of 20 bars: at most 4.4 in size, 0 where it is constant."""
    return rolling_zscore(columns["volume"], VOLUME_WINDOW, VOLUME_WINDOW)
