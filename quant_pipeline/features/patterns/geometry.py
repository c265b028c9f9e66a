"""Geometry that the detectors share: mirroring, breakouts, what came before, straight lines and parabolas.

Tops are written once; a bottom is a top of the mirrored bars (prices negated, highs and lows exchanged). Everything is
measured in differences of price, so that neither the sign nor the scale of prices matters.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import PATTERN, POINTS, Bars, record
from quant_pipeline.features.patterns.zigzag import Ints, Pivots, zigzag
from quant_pipeline.jit import compiled

SCALES = (1.5, 2.25, 3.0, 4.5)
"""Swings, in mean true ranges: on hourly bars, five of them last from about one day to one week."""
FINE = SCALES[0]


@compiled
def mirrored(bars: Bars) -> Bars:
    """The bars upside down: a bottom becomes a top."""
    return Bars(-bars.open, -bars.low, -bars.high, -bars.close, bars.atr)


@compiled
def mirrored_swings(pivots: Pivots) -> Pivots:
    """The swings of the mirrored bars."""
    return Pivots(pivots.bar, pivots.known, -pivots.price, -pivots.kind)


@compiled
def swings(bars: Bars, multiple: float) -> Pivots:
    """Zigzag of swings of `multiple` mean true ranges."""
    return zigzag(bars.high, bars.low, bars.close, multiple * bars.atr)


@compiled
def lowest_before(bars: Bars, row: int, count: int) -> float:
    """Lowest low of the `count` bars before `row`, and of the bar itself."""
    lowest = bars.low[row]
    for i in range(max(0, row - count), row):
        lowest = min(lowest, bars.low[i])
    return float(lowest)


@compiled
def highest_before(bars: Bars, row: int, count: int) -> float:
    """Highest high of the `count` bars before `row`, and of the bar itself."""
    highest = bars.high[row]
    for i in range(max(0, row - count), row):
        highest = max(highest, bars.high[i])
    return float(highest)


@compiled
def close_below(bars: Bars, first: int, last: int, level: float, slope: float, ceiling: float) -> int:
    """First row from `first` to `last` that closes below `level + slope * (row - first)`.

    -1 where none does, or where a bar rises above `ceiling` before: the top was not the last one.
    """
    for row in range(first, min(last + 1, bars.close.size)):
        if bars.high[row] > ceiling:
            return -1
        if bars.close[row] < level + slope * (row - first):
            return row
    return -1


@compiled
def _is_told(events: list[FloatArray], pattern: int, rows: Ints) -> bool:
    """Whether a detection of `pattern` at swings in these rows is among the events."""
    for event in events:
        same = event[PATTERN] == pattern
        for k in range(rows.size):
            same = same and event[POINTS + 2 * k] == rows[k]
        if same:
            return True
    return False


@compiled
def record_swings(
    events: list[FloatArray],
    pattern: int,
    bars: Bars,
    pivots: Pivots,
    span: tuple[int, int],
    known: int,
    direction: int,
    confidence: float,
    sign: int,
) -> None:
    """Record the pattern of swings `span[0]` to `span[1]`, drawn with its breakout; `sign` is -1 where `bars` are mirrored.

    A coarser zigzag finds the same swings again and confirms them later: a shape is told once.
    """
    first, last = span
    if _is_told(events, pattern, pivots.bar[first : last + 1]):
        return
    rows, prices = np.empty(last - first + 2, np.int64), np.empty(last - first + 2)
    for k in range(first, last + 1):
        rows[k - first], prices[k - first] = pivots.bar[k], sign * pivots.price[k]
    rows[-1], prices[-1] = known, sign * bars.close[known]
    record(events, pattern, pivots.bar[last], known, direction * sign, confidence, rows, prices)


@compiled
def fitted_line(x: Ints, y: FloatArray) -> tuple[float, float]:
    """Least-squares line of two points or more: its value at `x[0]`, and its slope."""
    n, middle, level, across, along = x.size, 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        middle, level = middle + (x[k] - x[0]) / n, level + (y[k] - y[0]) / n
    for k in range(n):
        across += (x[k] - x[0] - middle) * (y[k] - y[0])
        along += (x[k] - x[0] - middle) ** 2
    slope = across / along
    return y[0] + level - slope * middle, slope


@compiled
def bowl(close: FloatArray, first: int, last: int) -> tuple[float, float, float]:
    """How well the closes of rows `first` to `last` make a bowl.

    Returns:
        R squared of the least-squares parabola (0 where it opens downwards), place of its lowest point from -1 (first row)
        to +1 (last row), and the share of closes in the lower half of the closes' range: 0.5 for a V, 0.7 for a parabola.
    """
    n = last - first + 1
    y = close[first : last + 1] - close[first]
    mean, half = y.mean(), 0.5 * (y.min() + y.max())
    square = (n + 1.0) / (3.0 * (n - 1.0))  # mean of x * x over n places from -1 to +1
    line, curve, lines, curves, total, low = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for k in range(n):
        x = 2.0 * k / (n - 1.0) - 1.0
        bend = x * x - square
        line, lines = line + x * (y[k] - mean), lines + x * x
        curve, curves = curve + bend * (y[k] - mean), curves + bend * bend
        total += (y[k] - mean) ** 2
        low += y[k] < half
    if curve <= 0.0 or total == 0.0:
        return 0.0, 0.0, 0.0
    explained = (line * line / lines + curve * curve / curves) / total
    return explained, -(line / lines) / (2.0 * curve / curves), low / n
