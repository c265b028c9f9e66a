"""Harmonic patterns: nine figures of three to six swings whose lengths stand in given ratios.

Ratios are those of table 5.2 of the first source document, each with 5 % of tolerance; Gartley (1935), Pesavento (1997) and
Carney (2010) are its sources, and fill its dashes. Three of its headings are read as its sources have them:

* XD/XA is how far D comes back along XA, measured from A: |AD| / |XA|;
* the cypher's 0.786 is of XC, the move that D corrects: |CD| / |XC|;
* a drive extends the correction before it, 1.272 to 1.618 times.

The figure is complete at its last swing and known when the zigzag confirms that; a low there is bullish, a high bearish.
Swings of several sizes are read (`SCALES`); a figure that two of them show is told once, when the first confirms it.
Confidence is the mean over the figure's ratios of how near each is to the middle of what is allowed, 1 there and 0 at the
edges; where time belongs to the ideal, also of how even the durations are.
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
    stacked,
)
from quant_pipeline.features.patterns.geometry import SCALES, swings
from quant_pipeline.features.patterns.legs import bars_between, even, leg, record_once
from quant_pipeline.features.patterns.zigzag import LOOKBACK, Pivots
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.jit import compiled

TOLERANCE = 0.05
"""Share by which a ratio may miss what the table says."""
ANY = (0.0, np.inf)
"""A ratio that the table leaves open."""
RETRACEMENT = (0.382, 0.886)
FIVE_POINTS = np.array(
    [  # AB/XA, BC/AB, CD/BC, AD/XA, CD/XC
        [(0.618, 0.618), RETRACEMENT, (1.272, 1.618), (0.786, 0.786), ANY],  # gartley
        [(0.786, 0.786), RETRACEMENT, (1.618, 2.618), (1.272, 1.618), ANY],  # butterfly
        [(0.382, 0.5), RETRACEMENT, (1.618, 2.618), (0.886, 0.886), ANY],  # bat
        [(0.382, 0.618), RETRACEMENT, (2.24, 3.618), (1.618, 1.618), ANY],  # crab
        [ANY, (1.13, 1.618), (1.618, 2.24), ANY, ANY],  # shark
        [(0.382, 0.618), (1.13, 1.414), ANY, ANY, (0.786, 0.786)],  # cypher
    ]
)
AB_CD, THREE_DRIVES, WOLFE = 6, 7, 8
DRIVE = (1.272, 1.618)
OVERSHOOT = (1.0, 1.272)
"""A Wolfe wave's last leg, against the way from point 4 to the line through points 1 and 3."""
_ABOUT = "; at a low bullish, at a high bearish, known when that swing is confirmed (Carney 2010)"
PATTERNS = tuple(
    Pattern(f"harmonic_{name}", 0, definition + _ABOUT)
    for name, definition in (
        ("gartley", "XABCD with AB 0.618 and AD 0.786 of XA"),
        ("butterfly", "XABCD with AB 0.786 and AD 1.272 to 1.618 of XA"),
        ("bat", "XABCD with AB 0.382 to 0.5 and AD 0.886 of XA"),
        ("crab", "XABCD with AB 0.382 to 0.618 and AD 1.618 of XA"),
        ("shark", "XABCD with BC 1.13 to 1.618 of AB and CD 1.618 to 2.24 of BC"),
        ("cypher", "XABCD with AB 0.382 to 0.618 of XA, BC 1.13 to 1.414 of AB and CD 0.786 of XC"),
        ("ab_cd", "two equal legs AB and CD around a shorter BC"),
        ("three_drives", "three drives, the later two 1.272 to 1.618 of the corrections before them"),
        ("wolfe_wave", "a wedge of five swings, the last on or just beyond the line through the first and third"),
    )
)


@compiled
def _nearness(ratio: float, low: float, high: float) -> float:
    """1 in the middle of `low` to `high`, 0 at the edge of the tolerance around them, negative outside."""
    lowest, highest = low * (1.0 - TOLERANCE), high * (1.0 + TOLERANCE)
    return 1.0 - abs(2.0 * ratio - lowest - highest) / (highest - lowest)


@compiled
def _five_points(ratios: FloatArray, wanted: FloatArray) -> float:
    """Mean nearness of the bound ones among `ratios` to the (5, 2) `wanted`; 0 where any of them misses."""
    total, bound = 0.0, 0
    for k in range(ratios.size):
        if wanted[k, 1] < np.inf:
            near = _nearness(ratios[k], wanted[k, 0], wanted[k, 1])
            if near < 0.0:
                return 0.0
            total, bound = total + near, bound + 1
    return total / bound


@compiled
def _ab_cd(pivots: Pivots, last: int) -> float:
    """Equal legs; that they also take equal time, and that BC is a usual retracement, makes them more like the ideal."""
    ab, bc, cd = leg(pivots, last - 2), leg(pivots, last - 1), leg(pivots, last)
    near = _nearness(cd / ab, 1.0, 1.0)
    if near < 0.0 or bc >= ab:
        return 0.0
    back = max(_nearness(bc / ab, RETRACEMENT[0], RETRACEMENT[1]), 0.0)
    return (near + back + even(bars_between(pivots, last - 3, last - 2), bars_between(pivots, last - 1, last))) / 3.0


@compiled
def _three_drives(pivots: Pivots, last: int) -> float:
    """Six swings: start, drive, correction, drive, correction, drive; the first correction leaves part of the first drive."""
    third = _nearness(leg(pivots, last) / leg(pivots, last - 1), DRIVE[0], DRIVE[1])
    second = _nearness(leg(pivots, last - 2) / leg(pivots, last - 3), DRIVE[0], DRIVE[1])
    if third < 0.0 or second < 0.0 or leg(pivots, last - 3) >= leg(pivots, last - 4):
        return 0.0
    return (second + third + even(bars_between(pivots, last - 4, last - 2), bars_between(pivots, last - 2, last))) / 3.0


@compiled
def _wolfe_wave(pivots: Pivots, last: int) -> float:
    """Points 3 beyond 1, 4 between 1 and 2, lines 1-3 and 2-4 not diverging, 5 at the first of them or a little beyond."""
    bar, price = pivots.bar[last - 4 : last + 1], -pivots.kind[last] * pivots.price[last - 4 : last + 1]
    lower, upper = (price[2] - price[0]) / (bar[2] - bar[0]), (price[3] - price[1]) / (bar[3] - bar[1])
    if lower >= 0.0 or upper > lower * (1.0 - TOLERANCE) or price[3] <= price[0]:
        return 0.0
    line = price[2] + lower * (bar[4] - bar[2])
    near = _nearness((price[3] - price[4]) / (price[3] - line), OVERSHOOT[0], OVERSHOOT[1])
    if near < 0.0:
        return 0.0
    return (near + even(bar[2] - bar[0], bar[4] - bar[2]) + even(bar[2] - bar[1], bar[3] - bar[2])) / 3.0


@compiled
def _record_five(events: list[FloatArray], pivots: Pivots, last: int) -> None:
    """The six figures of the table that differ in ratios only. B stays within XA in all of them."""
    x, a, b, c, d = pivots.price[last - 4 : last + 1]
    xa, ab, bc, cd = abs(a - x), abs(b - a), abs(c - b), abs(d - c)
    if ab < xa and RETRACEMENT[0] * (1.0 - TOLERANCE) * ab <= bc:
        ratios = np.array([ab / xa, bc / ab, cd / bc, abs(d - a) / xa, cd / abs(c - x)])
        for pattern in range(len(FIVE_POINTS)):
            record_once(events, pattern, pivots, 5, last, -pivots.kind[last], _five_points(ratios, FIVE_POINTS[pattern]))


@compiled
def find_harmonics(events: list[FloatArray], pivots: Pivots) -> None:
    """Record the figures that end at each swing."""
    for last in range(3, pivots.bar.size):
        record_once(events, AB_CD, pivots, 4, last, -pivots.kind[last], _ab_cd(pivots, last))
        if last >= 4:  # noqa: PLR2004 - X, A, B, C and D are five swings
            _record_five(events, pivots, last)
            record_once(events, WOLFE, pivots, 5, last, -pivots.kind[last], _wolfe_wave(pivots, last))
        if last >= 5:  # noqa: PLR2004 - three drives, two corrections and the start are six swings
            record_once(events, THREE_DRIVES, pivots, 6, last, -pivots.kind[last], _three_drives(pivots, last))


@compiled
def detect(bars: Bars) -> FloatArray:
    """(m, WIDTH) events of a stretch of bars."""
    events = no_events()
    for multiple in SCALES:
        find_harmonics(events, swings(bars, multiple))
    return stacked(events)


FAMILY = PatternFamily("harmonic_patterns", PATTERNS, detect)


@features(feature_meanings(PATTERNS), "harmonic_patterns", INPUTS, LOOKBACK, rungs=(PRIMARY,))
def harmonics(columns: Columns) -> FloatArray:
    """Detected, confidence and direction of the nine harmonic patterns."""
    return family_features(columns, FAMILY)
