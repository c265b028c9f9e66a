"""The advanced patterns on hand-drawn series, drawn as in `test_chart`: straight closes, wicks of 0.1, mean true range 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.features.patterns.advanced import PATTERNS, detect
from quant_pipeline.features.patterns.events import CONFIDENCE, DIRECTION, KNOWN, PATTERN, Bars
from quant_pipeline.features.patterns.zigzag import average_range

PLACES = {pattern.name.removeprefix("advanced_"): place for place, pattern in enumerate(PATTERNS)}


def _path(*corners: tuple[float, float]):
    bars, prices = np.transpose(corners)
    return np.interp(np.arange(bars[-1] + 1), bars, prices)


def _bars(opened, close, ranges=1.0):
    return Bars(opened, np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1, close, np.full(close.size, ranges))


def _drawn(*corners: tuple[float, float], ranges=1.0):
    close = _path(*corners)
    return _bars(np.r_[close[0], close[:-1]], close, ranges)


def _upside_down(bars):
    return Bars(200 - bars.open, 200 - bars.low, 200 - bars.high, 200 - bars.close, bars.atr)


def _steps(*levels: tuple[int, float]):
    """Bars that stand still at each level for so many bars, with gaps between the levels."""
    close = np.repeat([level for _, level in levels], [count for count, _ in levels]).astype(float)
    return _bars(close, close)


def _tower(rest=2, fall=(103.0, 100.0), rest_at=103.0, before=100.0):
    """One bar from 100 to 103, `rest` still bars, one bar down."""
    close = np.r_[np.full(20, before), np.full(10, 100.0), 103.0, np.full(rest, rest_at), fall[1], np.full(5, fall[1])]
    opened = np.r_[close[0], close[:-1]]
    opened[31 + rest] = fall[0]
    opened[31 : 31 + rest] = rest_at
    return _bars(opened, close)


def _climb():
    """A gap up to 103, a climb to 110, a gap down to 105: above some of the bars that it should isolate."""
    close = np.r_[np.full(30, 100.0), np.linspace(103, 110, 8), np.full(5, 105.0)]
    opened = np.r_[close[0], close[:-1]]
    opened[[30, 38]] = close[[30, 38]]
    return _bars(opened, close)


def _known(bars, name):
    events = detect(bars)
    events = events[events[:, PATTERN] == PLACES[name]]
    return sorted({(int(event[KNOWN]), int(event[DIRECTION])) for event in events})


QUASIMODO = ((0, 0), (20, 20), (28, 12), (40, 28), (60, 8), (72, 20), (80, 12))
DEAD_CAT = ((0, 90), (20, 100), (30, 88), (36, 91), (50, 77))
DRAWN = {
    "quasimodo": (_drawn(*QUASIMODO), 74, -1),  # the third top, 20.1 at bar 72, is confirmed by the close of 18
    "dead_cat_bounce": (_drawn(*DEAD_CAT), 40, -1),  # low 87.9; 88 at bar 39
    "island_reversal": (_steps((30, 100), (5, 103), (10, 100)), 35, -1),
    "tower_top": (_tower(), 33, -1),
    "tower_bottom": (_upside_down(_tower()), 33, 1),
}
NEAR_MISSES = {
    "second top no higher": ("quasimodo", _drawn((0, 0), (20, 20), (28, 12), (40, 21), (60, 8), (72, 20), (80, 12))),
    "structure not broken": ("quasimodo", _drawn((0, 0), (20, 20), (28, 12), (40, 28), (56, 12), (64, 20), (72, 12))),
    "third top far below": ("quasimodo", _drawn((0, 0), (20, 20), (28, 12), (40, 28), (60, 8), (66, 14), (74, 6))),
    "no rise before": ("quasimodo", _drawn((0, 30), (10, 13), (17, 20), (25, 12), (37, 28), (57, 8), (69, 20), (77, 12))),
    "bounce of half the fall": ("dead_cat_bounce", _drawn((0, 90), (20, 100), (30, 88), (36, 94), (53, 77))),
    "fall of four per cent": ("dead_cat_bounce", _drawn((0, 90), (20, 100), (30, 96), (36, 97.5), (56, 77))),
    "slow fall": ("dead_cat_bounce", _drawn((0, 90), (20, 100), (60, 88), (66, 91), (80, 77))),
    "recovery": ("dead_cat_bounce", _drawn((0, 90), (20, 100), (30, 88), (36, 91), (38, 89), (60, 111), (90, 81))),
    "no second gap": ("island_reversal", _steps((30, 100), (15, 103))),
    "second gap the same way": ("island_reversal", _steps((30, 100), (5, 103), (10, 106))),
    "second gap that does not isolate": ("island_reversal", _climb()),
    "island of a month": ("island_reversal", _steps((30, 100), (21, 103), (10, 100))),
    "rest of five bars": ("tower_top", _tower(rest=5)),
    "rest of one bar": ("tower_top", _tower(rest=1)),
    "weak fall": ("tower_top", _tower(fall=(103.0, 101.5))),
    "rest far below the top": ("tower_top", _tower(rest_at=101.0)),
    "higher prices just before": ("tower_top", _tower(before=110.0)),
    "tower top": ("tower_bottom", _tower()),
}


@pytest.mark.parametrize("name", PLACES)
def test_known_at_the_confirming_bar_and_not_before(name):
    bars, known, direction = DRAWN[name]
    assert _known(bars, name) == [(known, direction)]
    for end, expected in ((known, []), (known + 1, [(known, direction)])):
        assert _known(Bars(*(column[:end] for column in bars)), name) == expected


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_near_miss_is_nothing(case):
    name, bars = NEAR_MISSES[case]
    assert _known(bars, name) == []


def test_shapes_of_either_direction():
    for name in ("quasimodo", "island_reversal"):
        bars, known, direction = DRAWN[name]
        assert _known(_upside_down(bars), name) == [(known, -direction)]


def test_a_fall_of_less_than_five_per_cent_counts_where_it_is_eight_ranges():
    calm = _drawn((0, 990), (20, 1_000), (30, 988), (36, 991), (50, 977))  # 1.2 %, 12 mean true ranges
    assert _known(calm, "dead_cat_bounce") == [(40, -1)]
    wild = calm._replace(atr=np.full(calm.close.size, 1.6))  # 7.5 mean true ranges
    assert _known(wild, "dead_cat_bounce") == []


def test_a_shape_nearer_to_the_ideal_is_worth_more():
    def confidence(top):
        return max(detect(_drawn((0, 0), (20, 20), (28, 12), (40, 28), (60, 8), (72, top), (80, 12)))[:, CONFIDENCE])

    assert confidence(20) == 1.0
    assert confidence(22) == pytest.approx(1 - 2 / (0.2 * 20.2))  # the head is at 28.1, the lower low at 7.9


@given(seed=st.integers(0, 10**6), cut=st.integers(1, 700))
@settings(max_examples=60, deadline=None)
def test_what_is_known_at_a_bar_is_known_from_the_bars_up_to_it(seed, cut):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(3e-3 * rng.standard_t(3, 700)))
    opened = np.r_[close[0], close[:-1]] * (1 + 5e-3 * rng.normal(size=700) * (rng.random(700) < 0.2))
    high, low = np.maximum(opened, close) * (1 + 1e-4 * rng.exponential(size=700)), np.minimum(opened, close)
    bars = Bars(opened, high, low, close, average_range(high, low, close))
    full, prefix = detect(bars), detect(Bars(*(column[:cut] for column in bars)))
    known = full[full[:, KNOWN] < cut]
    np.testing.assert_array_equal(prefix[np.lexsort(prefix.T)], known[np.lexsort(known.T)])
