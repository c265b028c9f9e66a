"""Chart patterns between two straight boundaries: triangles, wedges and the rectangle.

Five alternating swings touch the boundaries, three one of them and two the other (Bulkowski asks for five touches; Lo,
Mamaysky & Wang 2000 use the same five extremes). Each boundary is the least-squares line through its touches. The gap
between the lines at the first swing is the height, the ruler of all tolerances. No close may leave the lines before the
last swing is known. The pattern is known at the first close outside, no later than its own width after its last swing and
before the lines meet; which side must break is part of each definition, and a break of the other side ends the pattern.
Confidence is one less the mean of the deviations, each as a share of what is allowed.
"""

from __future__ import annotations

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import Bars, Pattern
from quant_pipeline.features.patterns.geometry import fitted_line, record_swings
from quant_pipeline.features.patterns.zigzag import HIGH, Pivots
from quant_pipeline.jit import compiled

PATTERNS = (
    Pattern(
        "chart_ascending_triangle", +1, "ascending triangle: level highs, rising lows, known at the close above them (Bulkowski)"
    ),
    Pattern(
        "chart_descending_triangle", -1, "descending triangle: level lows, falling highs, known at the close below (Bulkowski)"
    ),
    Pattern(
        "chart_symmetric_triangle",
        0,
        "symmetric triangle: falling highs and rising lows of like slope, known at the close outside, whose side is its "
        "direction (Bulkowski; Lo, Mamaysky & Wang 2000)",
    ),
    Pattern("chart_rising_wedge", -1, "rising wedge: both boundaries rise and converge, known at the close below (Bulkowski)"),
    Pattern("chart_falling_wedge", +1, "falling wedge: both boundaries fall and converge, known at the close above (Bulkowski)"),
    Pattern(
        "chart_rectangle",
        0,
        "rectangle: level highs and level lows, known at the close outside, whose side is its direction (Bulkowski)",
    ),
)
PATTERN_SIDES = tuple(pattern.direction for pattern in PATTERNS)
ASCENDING, DESCENDING, SYMMETRIC, RISING, FALLING, RECTANGLE = range(6)
TOUCHES = 5
LEAST_HEIGHT = 3.0
"""Mean true ranges between the boundaries at the first swing."""
MISFIT = 0.15
"""Share of the height by which a touch may miss its line, and a close may leave it."""
FLAT = 0.18
"""A boundary is level when it moves by less than this share of the height over the pattern."""
LEVEL = 0.3
"""The same for both boundaries of a rectangle, and for the difference of their moves."""
SLOPED = 0.3
"""A boundary has a slope when it moves by more than this share of the height over the pattern."""
OPPOSED = 0.15
"""The same for each boundary of a symmetric triangle, which has two."""
STEEP = 1.2
"""A boundary that moves by more heights than this is a trend."""
LONGEST_LEG = 0.45
"""Share of the pattern's bars between two touches, at most: the price crosses all of the space between the lines."""
CLOSING, CLOSED = 0.35, 0.9
"""Share of the first gap that has closed at the last swing of a triangle or wedge, at least and at most."""


@compiled
def find_boundaries(events: list[FloatArray], bars: Bars, pivots: Pivots, place: int) -> None:
    """Record the triangles, wedges and rectangles that end at each swing; `place`: of the first pattern."""
    for last in range(TOUCHES - 1, pivots.bar.size):
        _between_lines(events, bars, pivots, last, place)


@compiled
def _between_lines(events: list[FloatArray], bars: Bars, pivots: Pivots, last: int, place: int) -> None:
    first = last - TOUCHES + 1
    start, width = pivots.bar[first], pivots.bar[last] - pivots.bar[first]
    upper, lower, miss = _lines(pivots, first, last)
    height = upper[0] - lower[0]
    if _longest_leg(pivots, first, last) > LONGEST_LEG * width:
        return
    if height <= 0.0 or height < LEAST_HEIGHT * bars.atr[pivots.known[last]] or miss > MISFIT * height:
        return
    up, down = upper[1] * width / height, lower[1] * width / height
    shape, deviation = _shape(up, down)
    if shape < 0 or not _inside(bars, start, pivots.known[last] - 1, upper, lower, MISFIT * height):
        return
    known, direction = _breakout(bars, pivots.known[last], pivots.bar[last] + width, start, upper, lower)
    expected = PATTERN_SIDES[shape]
    if direction != 0 and expected in (0, direction):
        confidence = 1.0 - 0.5 * (miss / (MISFIT * height) + deviation)
        record_swings(events, place + shape, bars, pivots, (first, last), known, direction, confidence, 1)


@compiled
def _longest_leg(pivots: Pivots, first: int, last: int) -> int:
    """Bars of the longest leg between the swings `first` to `last`."""
    longest = 0
    for k in range(first, last):
        longest = max(longest, pivots.bar[k + 1] - pivots.bar[k])
    return longest


@compiled
def _lines(pivots: Pivots, first: int, last: int) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Upper and lower boundary (price at the first swing, slope per bar), and the largest miss of a touch."""
    start, miss = pivots.bar[first], 0.0
    x, y = pivots.bar[first : last + 1 : 2], pivots.price[first : last + 1 : 2]
    level, slope = fitted_line(x, y)
    for k in range(x.size):
        miss = max(miss, abs(y[k] - level - slope * (x[k] - x[0])))
    a, b = first + 1, last - 1
    other = (pivots.price[b] - pivots.price[a]) / (pivots.bar[b] - pivots.bar[a])
    outer = (level, slope)
    inner = (pivots.price[a] - other * (pivots.bar[a] - start), other)
    if pivots.kind[first] == HIGH:
        return outer, inner, miss
    return inner, outer, miss


@compiled
def _shape(up: float, down: float) -> tuple[int, float]:
    """Name and deviation, 0 to 1, of the shape whose boundaries move by `up` and `down` heights; (-1, 0) for none."""
    closed = down - up
    shape, deviation = -1, 0.0
    if abs(up) <= LEVEL and abs(down) <= LEVEL and abs(closed) <= LEVEL:
        shape, deviation = RECTANGLE, max(abs(up), abs(down)) / LEVEL
    elif not CLOSING <= closed <= CLOSED or max(abs(up), abs(down)) > STEEP:
        pass
    elif abs(up) <= FLAT and down >= SLOPED:
        shape, deviation = ASCENDING, abs(up) / FLAT
    elif abs(down) <= FLAT and up <= -SLOPED:
        shape, deviation = DESCENDING, abs(down) / FLAT
    elif up <= -OPPOSED and down >= OPPOSED:
        shape, deviation = SYMMETRIC, abs(up + down) / closed
    elif up >= SLOPED and down >= SLOPED:
        shape, deviation = RISING, 1.0 - closed
    elif up <= -SLOPED and down <= -SLOPED:
        shape, deviation = FALLING, 1.0 - closed
    return shape, deviation


@compiled
def _inside(bars: Bars, first: int, last: int, upper: tuple[float, float], lower: tuple[float, float], allowed: float) -> bool:
    """Whether the closes of rows `first` to `last` stay between the lines, which start at row `first`."""
    for row in range(first, last + 1):
        x = row - first
        if bars.close[row] > upper[0] + upper[1] * x + allowed or bars.close[row] < lower[0] + lower[1] * x - allowed:
            return False
    return True


@compiled
def _breakout(
    bars: Bars, first: int, last: int, start: int, upper: tuple[float, float], lower: tuple[float, float]
) -> tuple[int, int]:
    """Row and side of the first close outside the lines from row `first` to `last`; side 0 where none comes before they meet."""
    for row in range(first, min(last + 1, bars.close.size)):
        top, bottom = upper[0] + upper[1] * (row - start), lower[0] + lower[1] * (row - start)
        if top <= bottom:
            break
        if bars.close[row] > top:
            return row, 1
        if bars.close[row] < bottom:
            return row, -1
    return -1, 0
