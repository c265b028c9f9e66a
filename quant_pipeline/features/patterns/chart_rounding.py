"""Round shapes: cup with handle, rounding top, rounding bottom.

Definitions follow O'Neil, "How to Make Money in Stocks" (cup with handle), and Bulkowski, "Encyclopedia of Chart Patterns"
(3rd ed. 2021). Roundness is measured: the least-squares parabola explains most of the closes between the rims, its lowest
point is near the middle, and most closes lie in the lower half, as they do not in a V. Confidence is one less the mean of
the deviations, each as a share of what is allowed.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import Bars, Pattern, record
from quant_pipeline.features.patterns.geometry import bowl, highest_before, lowest_before
from quant_pipeline.features.patterns.zigzag import HIGH, Ints, Pivots
from quant_pipeline.jit import compiled

PATTERNS = (
    Pattern(
        "chart_cup_and_handle",
        +1,
        "cup and handle: after a rise, a bowl whose rims are level, then a small dip in its upper half, known at the close above "
        "the right rim (O'Neil; Bulkowski)",
    ),
    Pattern(
        "chart_rounding_top",
        -1,
        "rounding top: a long dome from a swing low, known at the close back below that low (Bulkowski)",
    ),
    Pattern(
        "chart_rounding_bottom",
        +1,
        "rounding bottom: a long bowl from a swing high, known at the close back above that high (Bulkowski)",
    ),
)
CUP, TOP, BOTTOM = range(3)
LEAST_BARS, MOST_BARS = 30, 250
"""Bars from rim to rim: seven weeks of daily bars (O'Neil), and what the reach holds."""
LEAST_DEPTH = 4.0
"""Mean true ranges."""
ROUND = 0.7
"""R squared of the parabola, at least."""
OFF_CENTRE = 0.4
"""Place of the parabola's lowest point, -1 to +1, may be this far from the middle."""
LOW_SHARE = 0.58
"""Share of the closes in the lower half, at least: 0.5 is a V, 0.7 a parabola."""
RIMS = 0.2
"""Share of the depth by which the rims may differ."""
HANDLE_DEPTH = 0.5
"""Share of the depth that the handle may retrace: it stays in the upper half (O'Neil)."""
HANDLE_BARS = 0.5
"""Handle's length as a share of the cup's, at most."""
RISE = 0.5
"""Rise before the cup as a share of its depth, at least; what came before is not above the rim either."""


@compiled
def find_rounding(events: list[FloatArray], bars: Bars, pivots: Pivots, sign: int, place: int) -> None:
    """Record the bowls between the swing highs; domes, of mirrored bars (`sign` -1). `place`: of the first pattern."""
    for k in range(pivots.bar.size):
        if pivots.kind[k] == HIGH:
            _bowl_from(events, bars, pivots, k, sign, place)
            if sign > 0:
                _cup_to(events, bars, pivots, k, place + CUP)


@compiled
def _roundness(bars: Bars, first: int, last: int) -> float:
    """Mean deviation from a round bowl, 0 to 1, over rows `first` to `last`; 2 for what is not one."""
    explained, centre, low = bowl(bars.close, first, last)
    if explained < ROUND or abs(centre) > OFF_CENTRE or low < LOW_SHARE:
        return 2.0
    return 0.5 * ((1.0 - explained) / (1.0 - ROUND) + abs(centre) / OFF_CENTRE)


@compiled
def _bowl_from(events: list[FloatArray], bars: Bars, pivots: Pivots, left: int, sign: int, place: int) -> None:
    """The bowl from a swing high to the first close above it."""
    start, rim = pivots.bar[left], pivots.price[left]
    bottom, known = start, -1
    for row in range(start + 1, min(start + MOST_BARS + 1, bars.close.size)):
        if bars.close[row] > rim:
            known = row
            break
        if bars.low[row] < bars.low[bottom]:
            bottom = row
    if known < start + LEAST_BARS or rim - bars.low[bottom] < LEAST_DEPTH * bars.atr[known]:
        return
    deviation = _roundness(bars, start, known)
    if deviation <= 1.0:
        rows = np.array([start, (start + bottom) // 2, bottom, (bottom + known) // 2, known])
        pattern = place + (BOTTOM if sign > 0 else TOP)
        record(events, pattern, bottom, known, sign, 1.0 - deviation, rows, sign * _outline(bars, rows, rim))


@compiled
def _outline(bars: Bars, rows: Ints, rim: float) -> FloatArray:
    """Prices to draw a bowl by: the rim, lows down and up, and the last close."""
    prices = bars.low[rows]
    prices[0], prices[-1] = rim, bars.close[rows[-1]]
    return prices


@compiled
def _cup_to(events: list[FloatArray], bars: Bars, pivots: Pivots, right: int, pattern: int) -> None:
    """The cup whose right rim is a swing high, and the breakout after its handle."""
    left = _left_rim(pivots, right)
    if left < 0:
        return
    start, end, rim = pivots.bar[left], pivots.bar[right], pivots.price[right]
    bottom = start + np.argmin(bars.low[start : end + 1])
    depth = rim - bars.low[bottom]
    uneven = abs(pivots.price[left] - rim) / (RIMS * depth)
    if end - start < LEAST_BARS or uneven > 1.0 or depth < LEAST_DEPTH * bars.atr[pivots.known[right]]:
        return
    if lowest_before(bars, start, end - start) > pivots.price[left] - RISE * depth:
        return
    if highest_before(bars, start, end - start) > pivots.price[left] + RIMS * depth:
        return
    deviation = _roundness(bars, start, end)
    known = _after_handle(bars, pivots.known[right], end, int((end - start) * HANDLE_BARS), rim, rim - HANDLE_DEPTH * depth)
    if deviation <= 1.0 and known >= 0:
        dip = end + np.argmin(bars.low[end:known])
        rows = np.array([start, (start + bottom) // 2, bottom, (bottom + end) // 2, end, dip, known])
        prices = _outline(bars, rows, pivots.price[left])
        prices[4] = rim
        record(events, pattern, dip, known, 1, 1.0 - (2.0 * deviation + uneven) / 3.0, rows, prices)


@compiled
def _left_rim(pivots: Pivots, right: int) -> int:
    """The newest swing high before `right` that the bowl between them does not reach; -1 for none within the reach."""
    deepest = pivots.price[right]
    for k in range(right - 1, -1, -1):
        if pivots.bar[right] - pivots.bar[k] > MOST_BARS:
            break
        deepest = min(deepest, pivots.price[k])
        if pivots.kind[k] == HIGH and pivots.price[k] >= pivots.price[right] - RIMS * (pivots.price[right] - deepest):
            return k
    return -1


@compiled
def _after_handle(bars: Bars, first: int, rim_row: int, most: int, rim: float, floor: float) -> int:
    """First close above the rim from row `first`, within `most` bars of the rim and with no low below `floor`; -1 for none."""
    for row in range(rim_row + 1, min(rim_row + most + 1, bars.close.size)):
        if bars.low[row] < floor:
            return -1
        if row >= first and bars.close[row] > rim:
            return row
    return -1
