"""Candlesticks on hand-drawn bars, against TA-Lib where it defines the same shape, and as features."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from talib import _ta_lib as settings_of_talib

from quant_pipeline.features.patterns.candle_shapes import SHAPE_BARS
from quant_pipeline.features.patterns.candlestick import (
    CANDLE_LOOKBACK,
    FAMILY,
    PATTERNS,
    PIN_BAR,
    aged,
    candlesticks,
    confidences,
    detect,
)
from quant_pipeline.features.patterns.events import DIRECTION, KNOWN, PATTERN, PIVOT, START, Bars, pattern_features
from quant_pipeline.features.registry import specs

PLACES = {pattern.name.removeprefix("candle_"): place for place, pattern in enumerate(PATTERNS)}
TWINS = {
    "dragonfly_doji": "gravestone_doji",
    "hammer": "shooting_star",
    "inverted_hammer": "hanging_man",
    "bullish_engulfing": "bearish_engulfing",
    "bullish_harami": "bearish_harami",
    "morning_star": "evening_star",
    "three_white_soldiers": "three_black_crows",
    "bullish_marubozu": "bearish_marubozu",
    "tweezer_bottom": "tweezer_top",
}
"""What each bullish shape is called upside down."""
HAMMER = [(0, 0.35, -2, 0.3)]
LARGE_FALL = (0, 0.2, -2.2, -2)
# open, high, low and close after the last close, 0, of a downtrend whose bars have bodies of 0.5 and ranges of 1.1
DRAWN = {
    "doji": [(0, 1, -1, 0.1)],
    "long_legged_doji": [(0, 1, -1, 0.1)],
    "dragonfly_doji": [(0, 0.02, -2, 0)],
    "hammer": HAMMER,
    "inverted_hammer": [(0, 2, -0.05, 0.3)],
    "bullish_engulfing": [(-0.1, 0.9, -0.3, 0.7)],
    "bullish_harami": [LARGE_FALL, (-1.5, -1, -1.7, -1.2)],
    "morning_star": [LARGE_FALL, (-2.1, -1.9, -2.4, -2), (-2, -0.3, -2.1, -0.5)],
    "three_white_soldiers": [(0, 1.1, -0.2, 1), (1, 2.1, 0.8, 2), (2, 3.1, 1.9, 3)],
    "bullish_marubozu": [(0, 2.02, -0.02, 2)],
    "pin_bar": HAMMER,
    "spinning_top": [(0, 1, -1, 0.4)],
    "tweezer_bottom": [(0, 0.2, -2, -1.5), (-1.5, -0.2, -2.02, -0.4)],
}
NEAR_MISSES = {
    "a body of an eighth of the range": ("doji", [(0, 1, -1, 0.25)]),
    "one shadow only": ("long_legged_doji", [(0, 0.06, -2, 0.05)]),
    "an upper shadow of 15 %": ("dragonfly_doji", [(0, 0.3, -1.7, 0)]),
    "a lower shadow of 62 %": ("hammer", [(0, 0.9, -1.5, 0.3)]),
    "an upper shadow of 60 %": ("inverted_hammer", [(0, 1.5, -0.5, 0.3)]),
    "a body that ends inside the one before": ("bullish_engulfing", [(-0.1, 0.9, -0.3, 0.4)]),
    "a body that leaves the one before": ("bullish_harami", [LARGE_FALL, (-0.3, 0.3, -0.5, 0.1)]),
    "a small body inside a small one": ("bullish_harami", [(0, 0.2, -0.6, -0.4), (-0.3, 0, -0.5, -0.2)]),
    "40 % of the fall regained": ("morning_star", [LARGE_FALL, (-2.1, -1.9, -2.4, -2), (-2, -1.1, -2.1, -1.2)]),
    "no small bar": ("morning_star", [LARGE_FALL, (-2, -1.9, -3.2, -3), (-3, -0.3, -3.1, -0.5)]),
    "a long upper shadow": ("three_white_soldiers", [(0, 1.1, -0.2, 1), (1, 2.1, 0.8, 2), (2, 3.8, 1.9, 3)]),
    "a lower close": ("three_white_soldiers", [(0, 1.1, -0.2, 1), (1, 2.1, 0.8, 2), (1, 2, 0.9, 1.9)]),
    "a body of 91 %": ("bullish_marubozu", [(0, 2.1, -0.1, 2)]),
    "a shadow of 62 %": ("pin_bar", [(0, 0.9, -1.5, 0.3)]),
    "a shadow shorter than the body": ("spinning_top", [(0, 0.7, -1, 0.4)]),
    "lows that differ": ("tweezer_bottom", [(0, 0.2, -2, -1.5), (-1.5, -0.2, -2.2, -0.4)]),
    "lows inside the bars before": ("tweezer_bottom", [(0.9, 1.2, 0.2, 0.9), (0.9, 1.2, 0.21, 1)]),
}


def _drawn(last, trend=-1, *, turned=False):
    """A trend of 30 bars, then `last`: open, high, low and close, upside down if asked for."""
    ends = 100 - trend * 0.5 * np.arange(30, -1, -1)
    opened, closed = ends[:-1], ends[1:]
    rows = np.stack([opened, np.maximum(opened, closed) + 0.3, np.minimum(opened, closed) - 0.3, closed])
    rows = np.concatenate([rows, 100 + np.array(last, float).T], axis=1)
    return 200 - rows[[0, 2, 1, 3]] if turned else rows


def _found(rows, name):
    """Bars where a pattern is found."""
    return np.nonzero(confidences(*rows)[0][PLACES[name]])[0].tolist()


@pytest.fixture(scope="module")
def bars():
    """Random bars that do not open at the last close: open, high, low, close."""
    rng = np.random.default_rng(4)
    close = 100 + np.cumsum(rng.normal(size=4_000))
    opened = np.r_[close[0], close[:-1]] + rng.normal(size=close.size) * 0.5
    reach = rng.exponential(0.5, (2, close.size)) * rng.integers(0, 2, (2, close.size))
    return opened, np.maximum(opened, close) + reach[0], np.minimum(opened, close) - reach[1], close


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_pattern_is_known_at_its_last_bar_and_not_before(name):
    rows = _drawn(DRAWN[name])
    assert _found(rows, name) == [rows.shape[1] - 1]
    assert _found(rows[:, :-1], name) == []


@pytest.mark.parametrize("name", TWINS)
def test_upside_down_it_is_its_twin(name):
    rows = _drawn(DRAWN[name], turned=True)
    assert _found(rows, TWINS[name]) == [rows.shape[1] - 1]
    assert _found(rows, name) == []


def test_every_pattern_is_drawn_above():
    assert {*DRAWN, *TWINS.values()} == set(PLACES)


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_near_miss_is_none(case):
    name, last = NEAR_MISSES[case]
    assert _found(_drawn(last), name) == []
    if name in TWINS:
        assert _found(_drawn(last, turned=True), TWINS[name]) == []


def test_the_trend_before_names_the_shape():
    rising, last = _drawn(HAMMER, trend=1), 30
    assert _found(rising, "hammer") == []
    assert _found(rising, "hanging_man") == [last]
    assert _found(_drawn(DRAWN["inverted_hammer"], trend=1), "shooting_star") == [last]
    assert _found(_drawn(DRAWN["tweezer_bottom"], trend=1), "tweezer_bottom") == []


def test_a_bar_without_range_has_no_shape():
    still = np.full((4, 60), 5.0)
    assert not confidences(*still)[0].any()


def test_a_better_shape_has_more_confidence():
    pure, upper_shadow = _drawn(HAMMER), _drawn([(0, 0.9, -2.5, 0.3)])
    place = PLACES["hammer"]
    assert 0 < confidences(*upper_shadow)[0][place, -1] < confidences(*pure)[0][place, -1] <= 1


def test_confidence_by_definition():
    """Hammer: mean of the marks of upper shadow, trend and size, with a body from 0 to 0.3 and a range of 2.35."""
    upper, trend, size = 1 - 0.05 / 2.35 * 3, 0.5 * 20 / (5 * 1.1), 2.35 / 1.1 / 1.5
    expected = (upper + min(trend, 1) + min(size, 1)) / 3
    assert confidences(*_drawn(HAMMER))[0][PLACES["hammer"], -1] == pytest.approx(expected, rel=1e-9)


@pytest.fixture
def own_bar():
    """TA-Lib's candle settings against the bar's own range (period 0), put back afterwards."""
    kinds, high_low = settings_of_talib.CandleSettingType, 1

    def use(**shares: float):
        for kind, share in shares.items():
            settings_of_talib._ta_set_candle_settings(getattr(kinds, kind), high_low, 0, share)

    yield use
    settings_of_talib._ta_restore_candle_default_settings(kinds.AllCandleSettings)


def _same(bars, name, theirs):
    """Compare from the first bar that ours speaks of; TA-Lib needs fewer."""
    found = confidences(*bars)[0][PLACES[name]] > 0
    np.testing.assert_array_equal(found[SHAPE_BARS:], theirs[SHAPE_BARS:])
    assert found.sum() > 5


def test_shapes_of_one_bar_are_those_of_talib(bars, own_bar):
    own_bar(BodyDoji=0.1, ShadowVeryShort=0.1, BodyShort=1 / 3)
    _same(bars, "doji", talib.CDLDOJI(*bars) != 0)
    _same(bars, "dragonfly_doji", talib.CDLDRAGONFLYDOJI(*bars) != 0)
    _same(bars, "gravestone_doji", talib.CDLGRAVESTONEDOJI(*bars) != 0)
    _same(bars, "spinning_top", talib.CDLSPINNINGTOP(*bars) != 0)
    own_bar(BodyLong=0.95, ShadowVeryShort=0.05)
    _same(bars, "bullish_marubozu", talib.CDLMARUBOZU(*bars) > 0)
    _same(bars, "bearish_marubozu", talib.CDLMARUBOZU(*bars) < 0)


def test_engulfing_is_that_of_talib(bars):
    _same(bars, "bullish_engulfing", talib.CDLENGULFING(*bars) > 0)
    _same(bars, "bearish_engulfing", talib.CDLENGULFING(*bars) < 0)


def test_harami_is_that_of_talib_where_colours_differ(bars):
    colour = np.sign(bars[3] - bars[0])
    _same(bars, "bullish_harami", (talib.CDLHARAMI(*bars) > 0) & (colour > 0))
    _same(bars, "bearish_harami", (talib.CDLHARAMI(*bars) < 0) & (colour < 0))


def test_stars_of_talib_are_ours_with_gaps(bars):
    opened, _, _, close = bars
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    gap_down = np.r_[False, False, (top[1:-1] < bottom[:-2])]
    gap_up = np.r_[False, False, (bottom[1:-1] > top[:-2])]
    found = confidences(*bars)[0] > 0
    for name, gap, theirs in (
        ("morning_star", gap_down, talib.CDLMORNINGSTAR(*bars, penetration=0.5)),
        ("evening_star", gap_up, talib.CDLEVENINGSTAR(*bars, penetration=0.5)),
    ):
        np.testing.assert_array_equal((found[PLACES[name]] & gap)[SHAPE_BARS:], (theirs != 0)[SHAPE_BARS:])
        assert (theirs != 0).sum() > 3


def test_features_are_what_the_events_say(bars):
    events = detect(Bars(*bars, bars[3]))
    expected = pattern_features(events, bars[3].size, PATTERNS)
    told = {spec.name: spec.output for spec in specs(("candlestick_patterns",))}
    values = candlesticks(dict(zip(("open", "high", "low", "close"), bars, strict=True)))
    rows = [
        f"{p.name}_{part}" for p in PATTERNS for part in ("detected", "confidence", *(["direction"] if p.direction == 0 else []))
    ]
    assert np.isnan(values[:, : CANDLE_LOOKBACK - 1]).all()
    assert len(told) == 22 * 2 + 1 == len(values)
    for name, row in told.items():
        np.testing.assert_array_equal(values[row, CANDLE_LOOKBACK:], expected[rows.index(name), CANDLE_LOOKBACK:])


def test_a_detection_is_held_decays_and_is_forgotten():
    found = np.zeros((len(PATTERNS), 100))
    found[PIN_BAR, 20] = 0.8
    detected, confidence, signed = aged(found, -found[PIN_BAR])[2 * PIN_BAR : 2 * PIN_BAR + 3]
    assert np.nonzero(detected)[0].tolist() == list(range(20, 31))
    assert confidence[[19, 20, 30, 80, 81]].tolist() == pytest.approx([0, 0.8, 0.4, 0.8 / 64, 0])
    assert (signed == -confidence).all()


def test_an_event_spans_its_bars_and_tells_where_a_pin_bar_points():
    rows = _drawn(DRAWN["morning_star"])
    event = next(each for each in FAMILY.detect(Bars(*rows, rows[3])) if each[PATTERN] == PLACES["morning_star"])
    assert event[[START, PIVOT, KNOWN, DIRECTION]].tolist() == [30, 32, 32, 1]
    for turned, direction in ((False, 1), (True, -1)):
        rows = _drawn(HAMMER, turned=turned)
        pin = [each for each in detect(Bars(*rows, rows[3])) if each[PATTERN] == PIN_BAR]
        assert [each[DIRECTION] for each in pin] == [direction]
