"""Chart patterns that end a trend at two or three extremes: double and triple tops and bottoms, head and shoulders.

Definitions follow Bulkowski, "Encyclopedia of Chart Patterns" (3rd ed. 2021), and Lo, Mamaysky & Wang (2000), with one
change: their tolerances in per cent of the price are shares of the pattern's own height here, so that they mean the same on
hourly and on daily bars. A pattern must come out of a trend: within twice its width before it, the price stood beyond the
neckline by a tenth of the height, and not beyond the extremes by more. The pattern is known at the first close beyond the
neckline, no later than its own width after its last extreme, and only if no new extreme came first. Confidence is one less
the mean of the deviations, each as a share of what is allowed.
"""

from __future__ import annotations

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import Bars, Pattern
from quant_pipeline.features.patterns.geometry import close_below, highest_before, lowest_before, record_swings
from quant_pipeline.features.patterns.zigzag import HIGH, Pivots
from quant_pipeline.jit import compiled

PATTERNS = (
    Pattern(
        "chart_head_and_shoulders",
        -1,
        "head and shoulders: three tops, the middle one highest, shoulders level and as far apart in time, known at the close "
        "below the line through the two lows between them (Bulkowski; Lo, Mamaysky & Wang 2000)",
    ),
    Pattern(
        "chart_inverse_head_and_shoulders",
        +1,
        "inverse head and shoulders: the same upside down, known at the close above the neckline (Bulkowski)",
    ),
    Pattern(
        "chart_double_top",
        -1,
        "double top: two tops at one level after a rise, known at the close below the low between them (Bulkowski)",
    ),
    Pattern(
        "chart_double_bottom",
        +1,
        "double bottom: two lows at one level after a fall, known at the close above the high between them (Bulkowski)",
    ),
    Pattern(
        "chart_triple_top",
        -1,
        "triple top: three tops at one level after a rise, known at the close below the lower of the two lows (Bulkowski)",
    ),
    Pattern(
        "chart_triple_bottom",
        +1,
        "triple bottom: three lows at one level after a fall, known at the close above the higher of the two highs (Bulkowski)",
    ),
)
LEAST_HEIGHT = 3.0
"""Mean true ranges: lower shapes are noise."""
LEVEL = 0.25
"""Tops of a double top are level when they differ by less than this share of the height; Bulkowski's 3 % of a 15 % height."""
TRIPLE_LEVEL = 0.2
RISE = 0.3
"""Share of the height by which each shoulder rises above the neckline's end beside it, at least."""
HEAD = 0.2
"""Share of the height by which the head rises above the higher shoulder, at least: more than what `LEVEL` calls level."""
SHOULDER = 0.35
"""Share of the height by which the shoulders, and the ends of the neckline, may differ."""
ASYMMETRY = 0.5
"""How far from the middle in time the middle extreme may be: 0.5 is from 25 % to 75 % of the way."""
BEFORE = 2
"""Widths of the pattern in which the trend before it is looked for."""
TREND = 0.1
"""Share of the height by which the price before the pattern was below its neckline, at least, and above its top, at most."""


@compiled
def find_reversals(events: list[FloatArray], bars: Bars, pivots: Pivots, sign: int, place: int) -> None:
    """Record the tops that end at each swing high; on mirrored bars (`sign` -1), the bottoms. `place`: of the first pattern."""
    bottom = 1 if sign < 0 else 0
    for last in range(2, pivots.bar.size):
        if pivots.kind[last] == HIGH:
            _double_top(events, bars, pivots, last, sign, place + 2 + bottom)
            if last >= 4:  # noqa: PLR2004 - three tops and the two lows between them are five swings
                _head_and_shoulders(events, bars, pivots, last, sign, place + bottom)
                _triple_top(events, bars, pivots, last, sign, place + 4 + bottom)


@compiled
def _off_middle(pivots: Pivots, first: int, middle: int, last: int) -> float:
    """0 where `middle` is halfway in time between the two others, 1 where it is at one of them."""
    return float(abs(2.0 * (pivots.bar[middle] - pivots.bar[first]) / (pivots.bar[last] - pivots.bar[first]) - 1.0))


@compiled
def _after_rise(bars: Bars, pivots: Pivots, first: int, last: int, neckline: float, top: float) -> bool:
    """Whether, within `BEFORE` times the pattern's width before it, the price was below the neckline and never above the top."""
    start = pivots.bar[first]
    width, slack = BEFORE * (pivots.bar[last] - start), TREND * (top - neckline)
    return lowest_before(bars, start, width) <= neckline - slack and highest_before(bars, start, width) <= top + slack


@compiled
def _double_top(events: list[FloatArray], bars: Bars, pivots: Pivots, last: int, sign: int, pattern: int) -> None:
    left, valley, right = pivots.price[last - 2], pivots.price[last - 1], pivots.price[last]
    height = 0.5 * (left + right) - valley
    uneven = abs(left - right) / (LEVEL * height)
    skew = _off_middle(pivots, last - 2, last - 1, last) / ASYMMETRY
    first = pivots.known[last]
    if height < LEAST_HEIGHT * bars.atr[first] or uneven > 1.0 or skew > 1.0:
        return
    if not _after_rise(bars, pivots, last - 2, last, valley, max(left, right)):
        return
    end = 2 * pivots.bar[last] - pivots.bar[last - 2]
    known = close_below(bars, first, end, valley, 0.0, max(left, right))
    if known >= 0:
        record_swings(events, pattern, bars, pivots, (last - 2, last), known, -1, 1.0 - 0.5 * (uneven + skew), sign)


@compiled
def _triple_top(events: list[FloatArray], bars: Bars, pivots: Pivots, last: int, sign: int, pattern: int) -> None:
    price, first = pivots.price, pivots.known[last]
    highest = max(price[last - 4], price[last - 2], price[last])
    lowest = min(price[last - 4], price[last - 2], price[last])
    neckline = min(price[last - 3], price[last - 1])
    height = highest - neckline
    uneven = (highest - lowest) / (TRIPLE_LEVEL * height)
    valleys = abs(price[last - 3] - price[last - 1]) / (2.0 * SHOULDER * height)
    skew = _off_middle(pivots, last - 4, last - 2, last) / ASYMMETRY
    if height < LEAST_HEIGHT * bars.atr[first] or uneven > 1.0 or valleys > 1.0 or skew > 1.0:
        return
    if not _after_rise(bars, pivots, last - 4, last, neckline, highest):
        return
    end = 2 * pivots.bar[last] - pivots.bar[last - 4]
    known = close_below(bars, first, end, neckline, 0.0, highest)
    if known >= 0:
        confidence = 1.0 - (uneven + valleys + skew) / 3.0
        record_swings(events, pattern, bars, pivots, (last - 4, last), known, -1, confidence, sign)


@compiled
def _head_and_shoulders(events: list[FloatArray], bars: Bars, pivots: Pivots, last: int, sign: int, pattern: int) -> None:
    bar, price, first = pivots.bar, pivots.price, pivots.known[last]
    left, head, right = price[last - 4], price[last - 2], price[last]
    slope = (price[last - 1] - price[last - 3]) / (bar[last - 1] - bar[last - 3])
    height = head - price[last - 3] - slope * (bar[last - 2] - bar[last - 3])
    if height <= 0.0 or height < LEAST_HEIGHT * bars.atr[first] or head - max(left, right) < HEAD * height:
        return
    if min(left - price[last - 3], right - price[last - 1]) < RISE * height:
        return
    uneven = abs(left - right) / (SHOULDER * height)
    tilt = abs(price[last - 1] - price[last - 3]) / (SHOULDER * height)
    skew = _off_middle(pivots, last - 4, last - 2, last) / ASYMMETRY
    if uneven > 1.0 or tilt > 1.0 or skew > 1.0:
        return
    if not _after_rise(bars, pivots, last - 4, last, price[last - 3], head):
        return
    neckline = price[last - 1] + slope * (first - bar[last - 1])
    known = close_below(bars, first, 2 * bar[last] - bar[last - 4], neckline, slope, head)
    if known >= 0:
        confidence = 1.0 - (uneven + tilt + skew) / 3.0
        record_swings(events, pattern, bars, pivots, (last - 4, last), known, -1, confidence, sign)
