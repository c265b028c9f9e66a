"""Alignment of timeframes (document 001): whether month, week, day, four hours and hour point the same way."""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray, blank
from quant_pipeline.features.registry import Columns, feature

RUNGS = ("1M", "1w", "1d", "4h", "1h")
FAST, SLOW = 9, 21
"""Spans of document 001's averages, in bars."""
SPANS = 3
"""Spans after which an average is cut: 0.2 % of an EMA's weight is older. At one span it is 13 %, and a fifth of the
biases differ from those of the document's averages, which never forget; at three, one or two in a hundred."""


def above_average(close: FloatArray, span: int) -> FloatArray:
    """How far each close is above its EMA of `span`, taken over the last `SPANS` spans of bars, or as many as there are.

    The weights decay as an EMA's and are normalised over the bars that there are, so that a weekly average has its
    final value after a year of weeks, not after all of history. It is a sum of differences to the newest close:
    exactly zero where all are equal.
    """
    decay, bars = 1.0 - 2.0 / (span + 1), SPANS * span
    weights = decay ** np.arange(bars)
    out = np.zeros(close.size)
    for k in range(1, min(bars, close.size)):
        out[k:] += weights[k] * (close[k:] - close[:-k])
    out /= weights.cumsum()[np.minimum(np.arange(close.size), bars - 1)]
    return out


@feature("mtf_bias", "alignment", ("close",), SPANS * SLOW, rungs=RUNGS)
def mtf_bias(columns: Columns) -> FloatArray:
    """1 where close > EMA(9) > EMA(21), -1 where close < EMA(9) < EMA(21), else 0; each EMA over its last 27 or 63 bars.

    Document 001's directional bias of one timeframe. Valid from bar 21.
    """
    fast, slow = above_average(columns["close"], FAST), above_average(columns["close"], SLOW)
    bias = np.where((fast > 0.0) & (slow > fast), 1.0, np.where((fast < 0.0) & (slow < fast), -1.0, 0.0))
    return blank(bias, SLOW - 1)
