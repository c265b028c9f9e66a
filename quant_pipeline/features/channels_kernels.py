"""Kernels of the channels that are states, not windows: parabolic SAR and the levels of the session before."""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.jit import compiled

SAR_STEP, SAR_LIMIT = 0.02, 0.2
"""Wilder's acceleration: what each new extreme adds, and the most it reaches."""


@compiled
def trailing_sar(high: FloatArray, low: FloatArray, window: int) -> FloatArray:
    """Wilder's parabolic SAR at each bar, started afresh `window` bars before it, (n,) prices.

    The recursion has no end of memory, but each reversal starts it anew: a run long enough to hold one agrees with the
    run over the whole history from then on. NaN for the first `window - 1` bars.
    """
    out = np.full(high.size, np.nan)
    for i in range(window - 1, high.size):
        first = i - window + 1
        out[i] = _sar(high[first : i + 1], low[first : i + 1])
    return out


@compiled
def _sar(high: FloatArray, low: FloatArray) -> float:
    """The SAR that stands at the last bar; the first two bars say which way the run starts (Wilder 1978, TA-Lib)."""
    down, up = low[0] - low[1], high[1] - high[0]
    rising = not (down > 0.0 and down > up)
    stop, extreme = (low[0], high[1]) if rising else (high[0], low[1])
    step, shown = SAR_STEP, np.nan
    for i in range(1, high.size):
        older = max(i - 1, 1)
        if (rising and low[i] <= stop) or (not rising and high[i] >= stop):
            shown = _outside(extreme, not rising, high, low, older, i)
            rising, step = not rising, SAR_STEP
            stop, extreme = shown, (high[i] if rising else low[i])
        else:
            shown = stop
            if (rising and high[i] > extreme) or (not rising and low[i] < extreme):
                extreme = high[i] if rising else low[i]
                step = min(step + SAR_STEP, SAR_LIMIT)
        stop = _outside(stop + step * (extreme - stop), rising, high, low, older, i)
    return shown


@compiled
def _outside(stop: float, rising: bool, high: FloatArray, low: FloatArray, older: int, newer: int) -> float:  # noqa: FBT001 - a kernel's state
    """`stop` moved out of the ranges of two bars: below their lows while rising, above their highs while falling."""
    if rising:
        return float(min(stop, low[older], low[newer]))
    return float(max(stop, high[older], high[newer]))


@compiled
def previous_session(high: FloatArray, low: FloatArray, close: FloatArray, session: FloatArray) -> FloatArray:
    """High (row 0), low (row 1) and close (row 2) of the session before each bar's own, (3, n); NaN in the first session."""
    out = np.full((3, close.size), np.nan)
    highest, lowest = -np.inf, np.inf
    for i in range(close.size):
        if i > 0 and session[i] != session[i - 1]:
            out[0, i], out[1, i], out[2, i] = highest, lowest, close[i - 1]
            highest, lowest = -np.inf, np.inf
        elif i > 0:
            out[:, i] = out[:, i - 1]
        highest, lowest = max(highest, high[i]), min(lowest, low[i])
    return out
