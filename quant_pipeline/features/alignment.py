"""Alignment of timeframes (document 001): whether month, week, day, four hours and hour point the same way."""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray, blank
from quant_pipeline.features.registry import Columns, feature

RUNGS = ("1M", "1w", "1d", "4h", "1h")
FAST, SLOW = 9, 21
"""Bars of document 001's averages."""


def above_average(close: FloatArray, span: int) -> FloatArray:
    """How far each close is above the exponential average of the last `span` closes.

    The weights decay as an EMA's of `span` and are normalised over `span` bars; the tail beyond, 13 % of a full EMA's
    weight, is dropped, so that a weekly average needs weeks and not years of history. It is a sum of differences to
    the newest close: exactly zero where all are equal.
    """
    weights = (1.0 - 2.0 / (span + 1)) ** np.arange(span)
    weights /= weights.sum()
    out = np.zeros(close.size)
    for k in range(1, min(span, close.size)):
        out[k:] += weights[k] * (close[k:] - close[:-k])
    return out


@feature("mtf_bias", "alignment", ("close",), SLOW, rungs=RUNGS)
def mtf_bias(columns: Columns) -> FloatArray:
    """1 where close > EMA(9) > EMA(21), -1 where close < EMA(9) < EMA(21), else 0; each EMA over its last 9 or 21 bars.

    Document 001's directional bias of one timeframe. Valid from bar 21.
    """
    fast, slow = above_average(columns["close"], FAST), above_average(columns["close"], SLOW)
    bias = np.where((fast > 0.0) & (slow > fast), 1.0, np.where((fast < 0.0) & (slow < fast), -1.0, 0.0))
    return blank(bias, SLOW - 1)
