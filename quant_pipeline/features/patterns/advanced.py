"""The five advanced chart patterns: Quasimodo, dead cat bounce, island reversal, tower top, tower bottom.

Shapes are those of the table in the requirements with the lengths and levels that it leaves open taken from Bulkowski,
"Encyclopedia of Chart Patterns" (dead cat bounce, island reversal), and Nison, "Japanese Candlestick Charting Techniques"
(towers). Confidence is one less the mean of the deviations, each as a share of what is allowed.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import (
    INPUTS,
    Bars,
    Pattern,
    PatternFamily,
    family_features,
    feature_meanings,
    no_events,
    record,
    stacked,
)
from quant_pipeline.features.patterns.geometry import (
    SCALES,
    close_below,
    lowest_before,
    mirrored,
    mirrored_swings,
    record_swings,
    swings,
)
from quant_pipeline.features.patterns.zigzag import HIGH, LOOKBACK, Pivots
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.jit import compiled

PATTERNS = (
    Pattern(
        "advanced_quasimodo",
        0,
        "Quasimodo: in a rise a top, a higher top, then a lower low that breaks the structure, and a third top back at the level "
        "of the first, known when that swing is confirmed; or upside down; its direction is away from the third extreme",
    ),
    Pattern(
        "advanced_dead_cat_bounce",
        -1,
        "dead cat bounce: a fall of 5 % or of 8 mean true ranges, whichever is less, within 30 bars, a bounce of less than "
        "38.2 % of it, known at the close below the fall's low (Bulkowski)",
    ),
    Pattern(
        "advanced_island_reversal",
        0,
        "island reversal: up to 20 bars that a gap on each side isolates above (or below) all others, known at the close of the "
        "bar after the second gap (Bulkowski)",
    ),
    Pattern(
        "advanced_tower_top",
        -1,
        "tower top: a strong rise of at most 3 bars, 2 or 3 bars that rest at its top, a strong fall of at most 3 bars, known at "
        "the close that completes the fall (Nison)",
    ),
    Pattern("advanced_tower_bottom", +1, "tower bottom: the same upside down (Nison)"),
)
QUASIMODO, DEAD_CAT, ISLAND, TOWER = range(4)
LEAST_HEIGHT = 3.0
"""Mean true ranges from the Quasimodo's head to its lower low."""
BREAK = 0.1
"""Share of that height by which the second top, and the second low, must exceed the first."""
SHOULDER = 0.2
"""Share of that height by which the third top may differ from the first."""
FALL_SHARE, FALL_RANGES = 0.05, 8.0
"""The document's 5 % suits daily bars; hourly bars rarely fall as far, so that 8 mean true ranges also count."""
FALL_BARS = 30
BOUNCE = 0.382
ISLAND_BARS = 20
ISLAND_GAP = 0.1
"""Mean true ranges that each of the island's gaps measures, at least."""
TOWER_MOVE = 2.0
"""Mean true ranges from first open to last close of each flank."""
FLANK_BARS = 3
REST_SHARE = 0.5
"""Range of the resting bars as a share of the rise, at most."""
TOWER_CONTEXT = 20
"""Bars before the tower that all stay below its top."""


@compiled
def detect(bars: Bars) -> FloatArray:
    """Every advanced pattern of a stretch of bars, (m, WIDTH) events."""
    events = no_events()
    flipped = mirrored(bars)
    for multiple in SCALES:
        pivots = swings(bars, multiple)
        for sign, side, turns in ((1, bars, pivots), (-1, flipped, mirrored_swings(pivots))):
            _find_quasimodo(events, side, turns, sign)
        _find_dead_cats(events, bars, pivots)
    for sign, side in ((1, bars), (-1, flipped)):
        _find_islands(events, side, sign)
        _find_towers(events, side, sign)
    return stacked(events)


@compiled
def _find_quasimodo(events: list[FloatArray], bars: Bars, pivots: Pivots, sign: int) -> None:
    """Tops at `first`, higher, back at `first`, with a lower low before the last; on mirrored bars, lows."""
    price = pivots.price
    for last in range(4, price.size):
        first, low, head, lower = price[last - 4], price[last - 3], price[last - 2], price[last - 1]
        height = head - lower
        if pivots.kind[last] != HIGH or height < LEAST_HEIGHT * bars.atr[pivots.known[last]]:
            continue
        uneven = abs(price[last] - first) / (SHOULDER * height)
        if head - max(first, price[last]) < BREAK * height or low - lower < BREAK * height or uneven > 1.0:
            continue
        start = pivots.bar[last - 4]
        if lowest_before(bars, start, pivots.bar[last] - start) < low:
            record_swings(events, QUASIMODO, bars, pivots, (last - 4, last), pivots.known[last], -1, 1.0 - uneven, sign)


@compiled
def _find_dead_cats(events: list[FloatArray], bars: Bars, pivots: Pivots) -> None:
    """A steep fall, a small bounce, and the close below the fall's low."""
    bar, price = pivots.bar, pivots.price
    for last in range(2, price.size):
        fall, bounce = price[last - 2] - price[last - 1], price[last] - price[last - 1]
        first = pivots.known[last]
        enough = min(FALL_SHARE * price[last - 2], FALL_RANGES * bars.atr[first])
        if pivots.kind[last] != HIGH or fall < enough or bounce > BOUNCE * fall or bar[last - 1] - bar[last - 2] > FALL_BARS:
            continue
        known = close_below(bars, first, bar[last] + FALL_BARS, price[last - 1], 0.0, price[last])
        if known >= 0:
            confidence = 1.0 - 0.5 * bounce / (BOUNCE * fall) - 0.5 * (bar[last - 1] - bar[last - 2]) / FALL_BARS
            record_swings(events, DEAD_CAT, bars, pivots, (last - 2, last), known, -1, confidence, 1)


@compiled
def _find_islands(events: list[FloatArray], bars: Bars, sign: int) -> None:
    """Islands above, one for each bar that gaps down; on mirrored bars, islands below."""
    for row in range(1, bars.close.size):
        gap = bars.low[row - 1] - bars.high[row]
        if gap > 0.0 and gap >= ISLAND_GAP * bars.atr[row]:
            _island_before(events, bars, row, sign)


@compiled
def _island_before(events: list[FloatArray], bars: Bars, row: int, sign: int) -> None:
    """The island that ends with the gap down before `row`; the gap up before it is the newest that leaves it above both."""
    least, floor = ISLAND_GAP * bars.atr[row], bars.low[row - 1]
    for first in range(row - 1, max(0, row - ISLAND_BARS - 1), -1):
        floor = min(floor, bars.low[first])
        if floor - bars.high[row] < least:
            return
        if floor - bars.high[first - 1] >= least:
            uneven = abs(bars.high[first - 1] - bars.high[row]) / (floor - min(bars.high[first - 1], bars.high[row]))
            top = first + int(np.argmax(bars.high[first:row]))
            rows = np.array([first - 1, first, top, row - 1, row])
            prices = np.array([bars.high[first - 1], bars.low[first], bars.high[top], bars.low[row - 1], bars.high[row]])
            record(events, ISLAND, top, row, -sign, 1.0 - uneven, rows, sign * prices)
            return


@compiled
def _find_towers(events: list[FloatArray], bars: Bars, sign: int) -> None:
    """Tower tops; on mirrored bars, tower bottoms."""
    for row in range(2 * FLANK_BARS, bars.close.size):
        fallen = max(bars.open[row - 2], bars.open[row - 1], bars.open[row]) - bars.close[row]
        if fallen > 0.0 and bars.close[row] < bars.open[row] and fallen >= TOWER_MOVE * bars.atr[row]:
            _tower_before(events, bars, row, sign)


@compiled
def _tower_before(events: list[FloatArray], bars: Bars, row: int, sign: int) -> None:
    """A tower whose fall is completed by the close of `row`; of several, the one of the shortest fall and rest."""
    pattern = TOWER + (1 if sign < 0 else 0)
    least = TOWER_MOVE * bars.atr[row]
    for fall in range(1, FLANK_BARS + 1):
        first = row - fall + 1
        if first < FLANK_BARS or bars.close[first] >= bars.open[first]:
            return
        if bars.open[first] - bars.close[row] < least:
            continue
        if fall > 1 and bars.open[first] - bars.close[row - 1] >= least:
            return  # the fall was complete a bar ago
        for rest in (2, 3):
            start = _tower_start(bars, first, rest, least)
            if start >= 0:
                _record_tower(events, bars, (start, first - rest, first, row), pattern, sign)
                return


@compiled
def _tower_start(bars: Bars, fall: int, rest: int, least: float) -> int:
    """First row of a rise of `least` that ends where the `rest` bars before row `fall` begin; -1 for no tower."""
    end = fall - rest
    top, bottom = np.max(bars.high[end:fall]), np.min(bars.low[end:fall])
    for start in range(end - 1, max(end - FLANK_BARS, 0) - 1, -1):
        if bars.close[start] <= bars.open[start]:
            return -1
        rise = bars.close[end - 1] - bars.open[start]
        if rise < least or top - bottom > REST_SHARE * rise or bottom < bars.close[end - 1] - REST_SHARE * rise:
            continue
        before = bars.high[max(0, start - TOWER_CONTEXT) : start]
        if before.size and np.max(before) < bars.close[end - 1]:
            return start
    return -1


@compiled
def _record_tower(events: list[FloatArray], bars: Bars, corners: tuple[int, int, int, int], pattern: int, sign: int) -> None:
    start, rest, fall, row = corners
    rise, drop = bars.close[rest - 1] - bars.open[start], bars.open[fall] - bars.close[row]
    span = np.max(bars.high[rest:fall]) - np.min(bars.low[rest:fall])
    top = rest + int(np.argmax(bars.high[rest:fall]))
    rows = np.array([start, rest - 1, fall, row])
    prices = np.array([bars.open[start], bars.close[rest - 1], bars.open[fall], bars.close[row]])
    uneven = abs(rise - drop) / max(rise, drop)
    record(events, pattern, top, row, -sign, 1.0 - 0.5 * (uneven + span / (REST_SHARE * rise)), rows, sign * prices)


FAMILY = PatternFamily("advanced_patterns", PATTERNS, detect)


@features(feature_meanings(PATTERNS), FAMILY.name, INPUTS, LOOKBACK, rungs=(PRIMARY,))
def advanced_patterns(columns: Columns) -> FloatArray:
    """Detection, decayed confidence and direction of the five advanced patterns on the primary bars."""
    return family_features(columns, FAMILY)
