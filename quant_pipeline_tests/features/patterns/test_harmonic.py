"""Harmonic figures on hand-drawn legs: known exactly when the last swing is confirmed, and not where a ratio is missed.

Closes run straight between corners 20 bars apart, each bar opens at the last close, wicks are 0.1 long and the mean true
range is taken as 1. After the last corner the price turns by 0.5 a bar, so that swings of 1.5 are confirmed after 3 bars.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.features.patterns.events import CONFIDENCE, DIRECTION, KNOWN, PATTERN, PIVOT, POINTS, START, Bars
from quant_pipeline.features.patterns.harmonic import FAMILY, PATTERNS, detect
from quant_pipeline.features.patterns.zigzag import average_range

PLACES = {pattern.name.removeprefix("harmonic_"): place for place, pattern in enumerate(PATTERNS)}
BARS, CONFIRMED = 20, 3
# bullish; every figure is entered by a leg of its own
DRAWN = {
    "gartley": (130, 100, 200, 138.2, 176.4, 121.4),  # AB 0.618, BC 0.618, CD 1.44, AD 0.786
    "butterfly": (130, 100, 200, 121.4, 170, 59),  # AB 0.786, BC 0.618, CD 2.28, AD 1.41
    "bat": (130, 100, 200, 156, 184.6, 111.4),  # AB 0.44, BC 0.65, CD 2.56, AD 0.886
    "crab": (130, 100, 200, 138.2, 190.7, 38.2),  # AB 0.618, BC 0.85, CD 2.9, AD 1.618
    "shark": (130, 100, 200, 150, 217.5, 89.25),  # BC 1.35, CD 1.9
    "cypher": (130, 100, 200, 150, 213.5, 124.3),  # AB 0.5, BC 1.27, CD 0.786 of XC
    "ab_cd": (170, 200, 150, 180, 130),  # CD 1.0
    "three_drives": (160, 200, 160, 184, 150.4, 170.6, 142.3),  # 1.4 of each correction
    "wolfe_wave": (180, 150, 190, 130, 165, 102.5),  # the line through 150 and 130 stands at 110 there
}
NEAR_MISSES = {
    "AB of 0.66": ("gartley", (130, 100, 200, 134, 175, 121.4)),
    "D at 0.85": ("gartley", (130, 100, 200, 138.2, 176.4, 115)),
    "D at 1.75": ("butterfly", (130, 100, 200, 121.4, 170, 25)),
    "AB of 0.7": ("butterfly", (130, 100, 200, 130, 170, 59)),
    "D at 0.95": ("bat", (130, 100, 200, 156, 184.6, 105)),
    "D at 1.8": ("crab", (130, 100, 200, 138.2, 190.7, 20)),
    "CD of 2.5": ("shark", (130, 100, 200, 150, 217.5, 48.75)),
    "BC of 1.8": ("shark", (130, 100, 200, 150, 240, 69)),
    "D at 0.86 of XC": ("cypher", (130, 100, 200, 150, 213.5, 115.9)),
    "CD of 1.08": ("ab_cd", (170, 200, 150, 180, 126)),
    "C beyond A": ("ab_cd", (170, 200, 150, 203, 153)),
    "a last drive of 1.8": ("three_drives", (160, 200, 160, 184, 150.4, 170.6, 134.2)),
    "a first drive that is undone": ("three_drives", (150, 170, 160, 184, 150.4, 170.6, 142.3)),
    "5 short of the line": ("wolfe_wave", (180, 150, 190, 130, 165, 116)),
    "diverging lines": ("wolfe_wave", (180, 150, 190, 130, 182, 104)),
    "4 below 1": ("wolfe_wave", (180, 150, 190, 130, 148, 108)),
}


def _close(prices, *, turned=False):
    """Closes through the corners, then ten bars of turning back."""
    prices = np.array(prices, float)
    away = np.sign(prices[-2] - prices[-1])
    corners = np.append(prices, prices[-1] + away * 5)
    at = np.append(np.arange(prices.size) * BARS, (prices.size - 1) * BARS + 10)
    close = np.interp(np.arange(at[-1] + 1), at, corners)
    return 300 - close if turned else close


def _bars(close):
    opened = np.r_[close[0], close[:-1]]
    return Bars(opened, np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1, close, np.ones(close.size))


def _events(close, name):
    events = detect(_bars(close))
    return events[events[:, PATTERN] == PLACES[name]]


def test_every_pattern_is_drawn_above():
    assert set(DRAWN) == set(PLACES)
    assert FAMILY.patterns is PATTERNS


@pytest.mark.parametrize("turned", [False, True], ids=["bullish", "bearish"])
@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_figure_is_known_when_its_last_swing_is_confirmed(name, turned):
    close = _close(DRAWN[name], turned=turned)
    last = (len(DRAWN[name]) - 1) * BARS
    (event,) = _events(close, name)
    assert event[[PIVOT, KNOWN, DIRECTION]].tolist() == [last, last + CONFIRMED, -1 if turned else 1]
    assert 0.3 < event[CONFIDENCE] <= 1
    assert not len(_events(close[: last + CONFIRMED], name))


@pytest.mark.parametrize("turned", [False, True], ids=["bullish", "bearish"])
@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_near_miss_is_none(case, turned):
    name, prices = NEAR_MISSES[case]
    assert not len(_events(_close(prices, turned=turned), name))


def test_nearer_ratios_have_more_confidence():
    (ideal,), (off,) = _events(_close(DRAWN["gartley"]), "gartley"), _events(_close((130, 100, 200, 136, 176.4, 119)), "gartley")
    assert off[CONFIDENCE] < ideal[CONFIDENCE]


def test_confidence_by_definition():
    """Cypher: mean over three ratios of the distance from the middle of what is allowed, wicks of 0.1 included."""
    x, a, b, c, d = 99.9, 200.1, 149.9, 213.6, 124.2
    bound = {(a - b) / (a - x): (0.382, 0.618), (c - b) / (a - b): (1.13, 1.414), (c - d) / (c - x): (0.786, 0.786)}
    marks = []
    for ratio, (low, high) in bound.items():
        lowest, highest = 0.95 * low, 1.05 * high
        marks.append(1 - abs(ratio - (lowest + highest) / 2) / ((highest - lowest) / 2))
    (event,) = _events(_close(DRAWN["cypher"]), "cypher")
    assert event[CONFIDENCE] == pytest.approx(np.mean(marks), rel=1e-9)


def test_the_points_are_the_swings():
    (event,) = _events(_close(DRAWN["gartley"]), "gartley")
    assert event[START] == BARS
    assert event[POINTS : POINTS + 10 : 2].tolist() == [20, 40, 60, 80, 100]
    assert event[POINTS + 1 : POINTS + 11 : 2].tolist() == pytest.approx([99.9, 200.1, 138.1, 176.5, 121.3])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(150, 700))
def test_later_bars_neither_add_nor_take_back(seed, cut):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(size=768) * 0.002))
    bars = _bars(close)
    bars = bars._replace(atr=average_range(bars.high, bars.low, bars.close))
    full, told = detect(bars), detect(Bars(*(column[:cut] for column in bars)))
    np.testing.assert_array_equal(full[full[:, KNOWN] < cut], told)
