"""Chart patterns on hand-drawn series: known exactly at the breakout, and not where the shape is nearly theirs.

Closes run straight between corners (bar, price), each bar opens at the last close, wicks are 0.1 long and the mean true
range is taken as 1, so that one can follow every expected bar with a pencil.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.features.patterns.chart import FAMILY, PATTERNS, detect
from quant_pipeline.features.patterns.events import CONFIDENCE, DIRECTION, KNOWN, PATTERN, PIVOT, START, Bars
from quant_pipeline.features.patterns.geometry import bowl, fitted_line
from quant_pipeline.features.patterns.zigzag import average_range

PLACES = {pattern.name.removeprefix("chart_"): place for place, pattern in enumerate(PATTERNS)}
BOWL = 20 * (np.linspace(-1, 1, 61) ** 2 - 1)
"""A parabola 60 bars wide and 20 deep."""
TOOTH = [(bar, 110 + side * 1.6 * (1 - bar / 14)) for bar, side in zip(range(11), [-1, 1] * 6, strict=False)]
"""Closes that swing around 110, less and less."""


def _path(*corners: tuple[float, float]):
    bars, prices = np.transpose(corners)
    return np.interp(np.arange(bars[-1] + 1), bars, prices)


def _bars(close, opened=None):
    opened = np.r_[close[0], close[:-1]] if opened is None else opened
    return Bars(opened, np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1, close, np.ones(close.size))


def _known(close, name, opened=None):
    """(known, direction) of every detection of a pattern, once each."""
    events = detect(_bars(close, opened))
    events = events[events[:, PATTERN] == PLACES[name]]
    return sorted({(int(event[KNOWN]), int(event[DIRECTION])) for event in events})


HEAD = _path((0, 0), (20, 20), (26, 14), (36, 30), (46, 14), (52, 20), (75, -3))
DOUBLE = _path((0, 0), (20, 20), (30, 10), (40, 20), (65, -5))
TRIPLE = _path((0, 0), (20, 20), (30, 10), (40, 20.5), (50, 10), (60, 20), (85, -5))
ASCENDING = _path((0, 5), (10, 20), (20, 8), (30, 20), (40, 12), (50, 20), (55, 15), (70, 30))
SYMMETRIC = ((0, 12), (10, 30), (20, 10), (30, 26), (40, 14), (50, 22))
WEDGE = _path((0, 12), (10, 20), (20, 9), (30, 23), (40, 15), (50, 26), (65, 11))
RECTANGLE = ((0, 5), (10, 20), (20, 10), (30, 20), (40, 10), (50, 20))
FLAG = _path((0, 100), (20, 100), (28, 112), (38, 109), (41, 115))
PENNANT = _path((0, 100), (20, 100), (28, 112), *((29 + bar, price) for bar, price in TOOTH), (42, 116))
CUP = np.r_[_path((0, 60), (30, 100))[:-1], 100 + BOWL, _path((0, 100), (6, 95), (20, 109))[1:]]
ROUND = np.r_[_path((0, 85), (30, 100))[:-1], 100 + BOWL, _path((0, 100), (10, 110))[1:]]
JUMP = np.r_[np.full(30, 100.0), np.full(10, 102.0)]

DRAWN = {
    "head_and_shoulders": (HEAD, 59, -1),  # neckline 13.9; 14 at bar 58
    "inverse_head_and_shoulders": (200 - HEAD, 59, 1),
    "double_top": (DOUBLE, 51, -1),  # valley 9.9; 10 at bar 50
    "double_bottom": (200 - DOUBLE, 51, 1),
    "triple_top": (TRIPLE, 71, -1),
    "triple_bottom": (200 - TRIPLE, 71, 1),
    "ascending_triangle": (ASCENDING, 61, 1),  # highs at 20.1; 20 at bar 60
    "descending_triangle": (200 - ASCENDING, 61, -1),
    "symmetric_triangle": (_path(*SYMMETRIC, (54, 18), (64, 28)), 57, 1),  # 21 against 30.1 - 0.2 * 47 = 20.7
    "rising_wedge": (WEDGE, 57, -1),  # 19 against 8.9 + 0.3 * 37 = 20.0; a bar before, 20 against 19.7
    "falling_wedge": (200 - WEDGE, 57, 1),
    "rectangle": (_path(*RECTANGLE, (56, 14), (70, 28)), 63, 1),
    "bull_flag": (FLAG, 39, 1),  # upper line 112.1 - 0.3 * 10 = 109.1
    "bear_flag": (200 - FLAG, 39, -1),
    "pennant": (PENNANT, 40, 1),
    "cup_and_handle": (CUP, 102, 1),  # rim 100.1; 100 at bar 101
    "rounding_top": (200 - ROUND, 91, -1),
    "rounding_bottom": (ROUND, 91, 1),
    "gap": (JUMP, 30, 1),
}
NEAR_MISSES = {
    "right shoulder as high as the head": (
        "head_and_shoulders", _path((0, 0), (20, 20), (26, 14), (36, 30), (46, 14), (62, 30), (90, 2)),
    ),
    "no head": ("head_and_shoulders", TRIPLE),
    "shoulders that hardly rise": (
        "head_and_shoulders", _path((0, 0), (20, 16), (26, 14), (36, 30), (46, 14), (52, 16), (75, -7)),
    ),
    "head far from the middle": (
        "head_and_shoulders", _path((0, 0), (20, 20), (26, 14), (36, 30), (100, 14), (106, 20), (125, 1)),
    ),
    "no rise before the left shoulder": (
        "head_and_shoulders", _path((0, 40), (80, 14), (86, 20), (92, 14), (102, 30), (112, 14), (118, 20), (141, -3)),
    ),
    "a higher high before the neckline breaks": (
        "head_and_shoulders", _path((0, 0), (20, 20), (26, 14), (36, 30), (46, 14), (52, 20), (54, 16), (70, 32), (105, -3)),
    ),
    "head for the inverse": ("inverse_head_and_shoulders", HEAD),
    "second top far above": ("double_top", _path((0, 0), (20, 20), (30, 10), (40, 25), (70, -5))),
    "valley that is lower than what came before": ("double_top", _path((0, 15), (5, 20), (15, 10), (25, 20), (50, -5))),
    "second bottom far below": ("double_bottom", 200 - _path((0, 0), (20, 20), (30, 10), (40, 25), (70, -5))),
    "breakout too late": ("double_top", _path((0, 0), (20, 20), (30, 10), (40, 20), (46, 14), (70, 14), (80, 4))),
    "middle top far above": ("triple_top", HEAD),
    "middle bottom far below": ("triple_bottom", 200 - HEAD),
    "highs that rise": (
        "ascending_triangle", _path((0, 5), (10, 20), (20, 8), (30, 24), (40, 12), (50, 28), (55, 23), (70, 38)),
    ),
    "lows that fall": (
        "descending_triangle", 200 - _path((0, 5), (10, 20), (20, 8), (30, 24), (40, 12), (50, 28), (55, 23), (70, 38)),
    ),
    "lines that do not meet": (
        "symmetric_triangle", _path((0, 20), (10, 30), (20, 14), (30, 26), (40, 10), (50, 22), (54, 18), (64, 28)),
    ),
    "last swing too far from its line": (
        "symmetric_triangle", _path((0, 12), (10, 30), (20, 10), (30, 20), (40, 14), (50, 22), (54, 18), (64, 28)),
    ),
    "parallel rising lines": ("rising_wedge", _path((0, 2), (10, 20), (20, 9), (30, 23), (40, 12), (50, 26), (70, 6))),
    "breakout upwards": ("rising_wedge", _path((0, 2), (10, 20), (20, 9), (30, 23), (40, 15), (50, 26), (54, 22), (70, 38))),
    "parallel falling lines": (
        "falling_wedge", 200 - _path((0, 2), (10, 20), (20, 9), (30, 23), (40, 12), (50, 26), (70, 6)),
    ),
    "level lows, rising highs": (
        "rectangle", _path((0, 5), (10, 20), (20, 10), (30, 25), (40, 10), (50, 30), (56, 24), (70, 38)),
    ),
    "rest that gives back most of the pole": ("bull_flag", _path((0, 100), (20, 100), (28, 112), (38, 103), (41, 115))),
    "slow pole": ("bull_flag", _path((0, 98), (40, 112), (50, 109), (53, 115))),
    "rest of three bars": ("bull_flag", _path((0, 100), (20, 100), (28, 112), (31, 111), (34, 115))),
    "rest that goes on": ("bull_flag", _path((0, 100), (20, 100), (28, 112), (55, 109), (58, 115))),
    "steep rise for a bear flag": ("bear_flag", FLAG),
    "parallel lines": ("pennant", FLAG),
    "V instead of a cup": (
        "cup_and_handle", _path((0, 60), (30, 100), (60, 80), (90, 100), (96, 95), (110, 109)),
    ),
    "handle in the lower half": (
        "cup_and_handle", np.r_[_path((0, 60), (30, 100))[:-1], 100 + BOWL, _path((0, 100), (12, 86), (40, 114))[1:]],
    ),
    "cup without a rise before": (
        "cup_and_handle", np.r_[_path((0, 130), (25, 97), (30, 100))[:-1], 100 + BOWL, _path((0, 100), (6, 95), (20, 109))[1:]],
    ),
    "peak": ("rounding_top", 200 - _path((0, 85), (30, 100), (60, 80), (100, 110))),
    "V": ("rounding_bottom", _path((0, 85), (30, 100), (60, 80), (100, 110))),
    "too short a bowl": (
        "rounding_bottom", np.r_[_path((0, 85), (30, 100))[:-1], 100 + BOWL[::3], _path((0, 100), (10, 110))[1:]],
    ),
}  # fmt: skip


def _opened(name, close):
    """A gap opens away from the last close."""
    return close if name == "gap" else None


@pytest.mark.parametrize("name", PLACES)
def test_known_at_the_breakout_and_not_before(name):
    close, known, direction = DRAWN[name]
    assert _known(close, name, _opened(name, close)) == [(known, direction)]
    for end, expected in ((known, []), (known + 1, [(known, direction)])):
        assert _known(close[:end], name, _opened(name, close[:end])) == expected


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_near_miss_is_nothing(case):
    name, close = NEAR_MISSES[case]
    assert _known(close, name) == []


def test_a_gap_smaller_than_half_a_range_is_nothing():
    close = np.r_[np.full(30, 100.0), np.full(10, 100.6)]
    assert _known(close, "gap", close) == []
    assert _known(200 - JUMP, "gap", 200 - JUMP) == [(30, -1)]


def test_breakouts_of_either_side():
    assert _known(_path(*SYMMETRIC, (70, 2)), "symmetric_triangle") == [(56, -1)]  # 16 against 9.9 + 0.2 * 36 = 17.1
    assert _known(_path(*RECTANGLE, (70, 0)), "rectangle") == [(61, -1)]
    assert _known(200 - PENNANT, "pennant") == [(40, -1)]


def test_every_pattern_is_drawn_and_has_its_direction():
    assert set(DRAWN) == set(PLACES)
    assert len(PATTERNS) == 19
    for pattern in PATTERNS:
        direction = DRAWN[pattern.name.removeprefix("chart_")][2]
        assert pattern.direction in (0, direction)


def test_an_even_shape_is_worth_more_than_an_uneven_one():
    def confidence(second):
        events = detect(_bars(_path((0, 0), (20, 20), (30, 10), (40, second), (65, -5))))
        return events[events[:, PATTERN] == PLACES["double_top"], CONFIDENCE].max()

    assert confidence(20.0) == 1.0  # tops level and the valley in the middle
    uneven = 1.5 / (0.25 * 9.45)  # tops 20.1 and 18.6, valley 9.9: height 9.45
    assert confidence(18.5) == pytest.approx(1 - uneven / 2)


def _walk(seed, n):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(2e-3 * rng.standard_t(4, n)))
    opened = np.r_[close[0], close[:-1]] * (1 + 2e-3 * rng.normal(size=n) * (rng.random(n) < 0.1))
    high = np.maximum(opened, close) * (1 + 1e-3 * rng.exponential(size=n))
    low = np.minimum(opened, close) / (1 + 1e-3 * rng.exponential(size=n))
    return Bars(opened, high, low, close, average_range(high, low, close))


@given(seed=st.integers(0, 10**6), cut=st.integers(1, 700))
@settings(max_examples=60, deadline=None)
def test_what_is_known_at_a_bar_is_known_from_the_bars_up_to_it(seed, cut):
    bars = _walk(seed, 700)
    full, prefix = FAMILY.detect(bars), FAMILY.detect(Bars(*(column[:cut] for column in bars)))
    np.testing.assert_array_equal(prefix[np.lexsort(prefix.T)], (known := full[full[:, KNOWN] < cut])[np.lexsort(known.T)])


@pytest.mark.parametrize("seed", range(4))
def test_events_are_in_order_and_inside(seed):
    bars = _walk(seed, 3_000)
    events = detect(bars)
    assert len(events) > 50
    assert (events[:, START] < events[:, KNOWN]).all()
    assert (events[:, PIVOT] <= events[:, KNOWN]).all()
    assert (events[:, KNOWN] < 3_000).all()
    assert ((events[:, CONFIDENCE] > 0) & (events[:, CONFIDENCE] <= 1)).all()


@pytest.mark.parametrize("seed", range(3))
def test_lines_and_bowls_are_those_of_least_squares(seed):
    rng = np.random.default_rng(seed)
    y = 5 + rng.normal(size=40)
    x = np.cumsum(rng.integers(1, 4, 40))
    slope, at_zero = np.polyfit(x, y, 1)
    assert fitted_line(x, y) == pytest.approx((at_zero + slope * x[0], slope))
    y += 3 * np.linspace(-1.2, 0.8, 40) ** 2
    place = np.linspace(-1, 1, 40)
    fit = np.polyfit(place, y, 2)
    explained = 1 - np.var(y - np.polyval(fit, place)) / np.var(y)
    low = np.mean(y < (y.max() + y.min()) / 2)
    assert bowl(y, 0, 39) == pytest.approx((explained, -fit[1] / (2 * fit[0]), low))
    assert bowl(-y, 0, 39)[0] == 0.0
