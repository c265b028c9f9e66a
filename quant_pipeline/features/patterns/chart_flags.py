"""Flags and pennants: a short rest after a steep move, known when the close leaves the rest in the move's direction.

Bulkowski's "Encyclopedia of Chart Patterns" (3rd ed. 2021): a pole, steep and quick; then parallel boundaries that drift
against it (flag) or boundaries that meet (pennant), three weeks of daily bars at most. His per cent are mean true ranges
and shares of the pole here. The boundaries are the least-squares lines through the highs and through the lows of the rest,
each moved outwards until all bars lie within. Written for rises; falls are the mirrored bars. Confidence is one less the
mean of two deviations, each as a share of what is allowed: how wide the rest is, and how far its boundaries are from
parallel (flag) or from meeting (pennant).
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import Bars, Pattern, record
from quant_pipeline.features.patterns.geometry import fitted_line
from quant_pipeline.features.patterns.zigzag import Ints
from quant_pipeline.jit import compiled

PATTERNS = (
    Pattern(
        "chart_bull_flag",
        +1,
        "bull flag: a steep rise, then 5 to 20 bars between parallel lines that drift down or sideways, known at the close above "
        "them (Bulkowski)",
    ),
    Pattern("chart_bear_flag", -1, "bear flag: the same upside down after a steep fall, known at the close below (Bulkowski)"),
    Pattern(
        "chart_pennant",
        0,
        "pennant: a steep move, then 5 to 20 bars between lines that meet, known at the close beyond them in the move's "
        "direction (Bulkowski)",
    ),
)
FLAG, PENNANT = 0, 2
POLE_BARS = 12
POLE = 5.0
"""Mean true ranges that the pole covers, at least: in 12 bars, a rare move."""
STRAIGHT = 0.5
"""Net move of the pole as a share of the sum of its closes' moves, at least."""
REST_MIN, REST_MAX = 5, 20
"""Bars of the rest; longer ones are rectangles."""
WIDTH_SHARE = 0.4
"""Share of the pole that the gap between the boundaries may reach; the retracement may reach half of it."""
RETRACED = 0.5
DRIFT_UP = 0.05
"""Share of the pole by which a flag may drift with the trend."""
PARALLEL = 0.35
"""A flag's last gap differs from its first by less than this share."""
MEETING = 0.5
"""A pennant's last gap is at most this share of its first."""


@compiled
def find_flags(events: list[FloatArray], bars: Bars, sign: int, place: int) -> None:
    """Record the rests after each pole; `place`: of the first pattern, `sign` -1 where `bars` are mirrored."""
    for top in range(1, bars.close.size - REST_MIN):
        if bars.high[top + 1] > bars.high[top] or bars.high[top - 1] >= bars.high[top]:
            continue
        foot = _foot(bars, top)
        pole = bars.high[top] - bars.low[foot]
        if foot < top and pole >= POLE * bars.atr[top] and _straight(bars.close, foot, top):
            _after_pole(events, bars, foot, top, pole, sign, place)


@compiled
def _foot(bars: Bars, top: int) -> int:
    """Row of the lowest low of the bars before `top`; `top` itself where one of those since was higher."""
    foot = top
    for row in range(top - 1, max(-1, top - POLE_BARS - 1), -1):
        if bars.high[row] >= bars.high[top]:
            break
        if bars.low[row] < bars.low[foot]:
            foot = row
    return foot


@compiled
def _straight(close: FloatArray, foot: int, top: int) -> bool:
    """Whether the closes went mostly one way from `foot` to `top`."""
    travelled = 0.0
    for row in range(foot + 1, top + 1):
        travelled += abs(close[row] - close[row - 1])
    return bool(close[top] - close[foot] >= STRAIGHT * travelled)


@compiled
def _after_pole(events: list[FloatArray], bars: Bars, foot: int, top: int, pole: float, sign: int, place: int) -> None:
    """Follow the rest bar by bar until a close leaves it, it retraces too much, or it lasts too long."""
    for row in range(top + 2, min(top + REST_MAX + 2, bars.close.size)):
        if bars.high[row - 1] > bars.high[top] or bars.low[row - 1] < bars.high[top] - RETRACED * pole:
            return
        if row <= top + REST_MIN:
            continue
        upper, lower = _envelope(bars, top + 1, row)
        if bars.close[row] <= upper[0] + upper[1] * (row - top - 1):
            continue
        span = row - top - 2
        first, last = upper[0] - lower[0], upper[0] - lower[0] + (upper[1] - lower[1]) * span
        drift = 0.5 * (upper[1] + lower[1]) * span
        shape, deviation = _shape(first, last, drift, upper[1], lower[1], pole)
        if shape >= 0:
            pattern = place + shape + (1 if shape == FLAG and sign < 0 else 0)
            corners = _corners(foot, top, row)
            ends = np.array(
                [
                    bars.low[foot],
                    bars.high[top],
                    upper[0],
                    lower[0],
                    lower[0] + lower[1] * span,
                    upper[0] + upper[1] * span,
                    bars.close[row],
                ]
            )
            confidence = 1.0 - 0.5 * (max(first, last) / (WIDTH_SHARE * pole) + deviation)
            record(events, pattern, top, row, sign, confidence, corners, sign * ends)
        return


@compiled
def _corners(foot: int, top: int, row: int) -> Ints:
    """Rows of the pole's ends, the rest's four corners and the breakout."""
    return np.array([foot, top, top + 1, top + 1, row - 1, row - 1, row])


@compiled
def _envelope(bars: Bars, first: int, end: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lines above all highs and below all lows of rows `first` to `end` - 1: price at row `first`, slope."""
    rows = np.arange(first, end)
    high, low = bars.high[first:end], bars.low[first:end]
    top, rise = fitted_line(rows, high)
    bottom, fall = fitted_line(rows, low)
    above, below = 0.0, 0.0
    for k in range(rows.size):
        above = max(above, high[k] - top - rise * k)
        below = max(below, bottom + fall * k - low[k])
    return (top + above, rise), (bottom - below, fall)


@compiled
def _shape(first: float, last: float, drift: float, upper: float, lower: float, pole: float) -> tuple[int, float]:
    """Flag or pennant and its deviation, 0 to 1, from the first and last gap, the drift and both slopes; (-1, 0) for neither."""
    if first <= 0.0 or max(first, last) > WIDTH_SHARE * pole:
        return -1, 0.0
    kept = last / first
    if abs(kept - 1.0) <= PARALLEL and drift <= DRIFT_UP * pole:
        return FLAG, abs(kept - 1.0) / PARALLEL
    if 0.0 <= kept <= MEETING and upper < 0.0 < lower:
        return PENNANT, kept / MEETING
    return -1, 0.0
