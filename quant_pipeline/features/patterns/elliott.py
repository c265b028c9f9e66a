"""Elliott waves: five waves of an impulse, and three of a correction, on confirmed swings.

The rules are those that Frost & Prechter, "Elliott Wave Principle" (1978), call inviolable, with the usual depth of wave 2:
it takes back 50 to 78.6 % of wave 1, wave 3 is never the shortest of the three that go with the trend, wave 4 stays clear
of wave 1, and each of the waves 3 and 5 goes beyond the one before. A correction takes back part of the leg that it
follows: B part of A, C beyond the end of A, all of it less than the leg.

A pattern is complete at its last swing and known when the zigzag confirms that. Its direction is that of the trend: of the
five waves, or of the leg that was corrected. Swings of several sizes are read
(`SCALES`); a pattern that two of them show is told once, when the first confirms it. Confidence is the mean of
how near the lengths are to the usual Fibonacci ratios: 1 there, 0 at half or twice them.
"""

from __future__ import annotations

import math

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import (
    INPUTS,
    Bars,
    Pattern,
    PatternFamily,
    blocks,
    family_features,
    feature_meanings,
    no_events,
    stacked,
)
from quant_pipeline.features.patterns.geometry import SCALES, swings
from quant_pipeline.features.patterns.legs import leg, record_once
from quant_pipeline.features.patterns.zigzag import LOOKBACK, Pivots, average_range
from quant_pipeline.features.registry import PRIMARY, Columns, feature, features
from quant_pipeline.jit import compiled

IMPULSE, CORRECTIVE = 0, 1
PATTERNS = (
    Pattern(
        "elliott_impulse",
        0,
        "five waves with the trend: 2 takes back 50 to 78.6 % of 1, 3 is not the shortest, 4 stays clear of 1; the sign is "
        "that of the trend, known when the end of wave 5 is confirmed (Frost & Prechter 1978)",
    ),
    Pattern(
        "elliott_corrective",
        0,
        "three waves against a longer leg: B takes back part of A, C goes beyond A; the sign is that of the leg, known when "
        "the end of wave C is confirmed (Frost & Prechter 1978)",
    ),
)
SECOND = (0.5, 0.786)
"""Share of wave 1 that wave 2 takes back."""
SECOND_USUAL, THIRD_USUAL, FOURTH_USUAL = 0.618, 1.618, 0.382
"""Of wave 1, of wave 1 and of wave 3."""
B_USUAL, C_USUAL, DEPTH_USUAL = 0.618, 1.0, 0.5
"""Of wave A, of wave A, and of the whole correction of the leg before it."""
WAVES = 5
POSITION_SWINGS = 3.0
"""Mean true ranges of the swings whose position in an impulse is counted: one size, so that the count has one meaning."""


@compiled
def _like(ratio: float, usual: float) -> float:
    """1 where they are equal, 0 where one is twice the other or more."""
    return max(0.0, 1.0 - abs(math.log2(ratio / usual)))


@compiled
def _waves(pivots: Pivots, last: int, count: int) -> bool:
    """Whether the `count` legs that end at the swing `last` obey the rules as waves 1 to `count`."""
    start, price = last - count, pivots.price
    sign = pivots.kind[start + 1]  # wave 1 ends in a high where the trend is up
    first = leg(pivots, start + 1)
    if count >= 2 and not SECOND[0] * first <= leg(pivots, start + 2) <= SECOND[1] * first:  # noqa: PLR2004 - a wave's number
        return False
    if count >= 3 and sign * (price[start + 3] - price[start + 1]) <= 0.0:  # noqa: PLR2004
        return False
    if count >= 4 and sign * (price[start + 4] - price[start + 1]) <= 0.0:  # noqa: PLR2004
        return False
    if count < WAVES:
        return True
    shorter = min(first, leg(pivots, last))
    return bool(sign * (price[last] - price[last - 2]) > 0.0 and leg(pivots, start + 3) >= shorter)


@compiled
def _impulse(pivots: Pivots, last: int) -> float:
    """Confidence of an impulse that ends at the swing `last`; 0 where there is none."""
    if not _waves(pivots, last, WAVES):
        return 0.0
    first, second, third, fourth = leg(pivots, last - 4), leg(pivots, last - 3), leg(pivots, last - 2), leg(pivots, last - 1)
    marks = _like(second / first, SECOND_USUAL) + _like(third / first, THIRD_USUAL) + _like(fourth / third, FOURTH_USUAL)
    return max(marks / 3.0, 0.01)


@compiled
def _corrective(pivots: Pivots, last: int) -> float:
    """Confidence of a correction whose C ends at the swing `last`, after the leg that ends three swings before; 0 for none."""
    trend, a, b, c = leg(pivots, last - 3), leg(pivots, last - 2), leg(pivots, last - 1), leg(pivots, last)
    depth = a - b + c
    if b >= a or c <= b or depth >= trend:
        return 0.0
    return max((_like(b / a, B_USUAL) + _like(c / a, C_USUAL) + _like(depth / trend, DEPTH_USUAL)) / 3.0, 0.01)


@compiled
def find_waves(events: list[FloatArray], pivots: Pivots) -> None:
    """Record the impulses and the corrections that end at each swing."""
    for last in range(4, pivots.bar.size):
        record_once(events, CORRECTIVE, pivots, 5, last, -pivots.kind[last], _corrective(pivots, last))
        if last >= WAVES:
            record_once(events, IMPULSE, pivots, WAVES + 1, last, pivots.kind[last], _impulse(pivots, last))


@compiled
def detect(bars: Bars) -> FloatArray:
    """(m, WIDTH) events of a stretch of bars."""
    events = no_events()
    for multiple in SCALES:
        find_waves(events, swings(bars, multiple))
    return stacked(events)


FAMILY = PatternFamily("elliott_waves", PATTERNS, detect)


@features(feature_meanings(PATTERNS), "elliott_waves", INPUTS, LOOKBACK, rungs=(PRIMARY,))
def elliott(columns: Columns) -> FloatArray:
    """Detected, confidence and direction of the impulse and of the correction."""
    return family_features(columns, FAMILY)


@compiled
def _positions(bars: Bars, first: int) -> FloatArray:
    """Waves completed, signed, at the rows from `first` on."""
    pivots = swings(bars, POSITION_SWINGS)
    out = np.zeros(bars.close.size - first)
    for k in range(pivots.bar.size):
        count = min(k, WAVES)
        while count > 0 and not _waves(pivots, k, count):
            count -= 1
        if count > 0:
            out[max(pivots.known[k] - first, 0) :] = count * pivots.kind[k - count + 1]
    return out


@feature("elliott_wave_position", "elliott_waves", INPUTS, LOOKBACK, rungs=(PRIMARY,))
def elliott_wave_position(columns: Columns) -> FloatArray:
    """Waves of an impulse that the confirmed swings complete, -5 to 5, the sign that of the trend (Frost & Prechter).

    0 before two swings. The most that fit count: after any leg at least wave 1 of a new impulse is complete.
    """
    high, low, close = columns["high"], columns["low"], columns["close"]
    bars = Bars(columns["open"], high, low, close, average_range(high, low, close))
    out = np.full(close.size, np.nan)
    for start, first, end in blocks(columns["anchor"]).tolist():
        out[first:end] = _positions(Bars(*[column[start:end] for column in bars]), first - start)
    return out
