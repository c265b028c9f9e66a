"""The zigzag against a brute-force restatement, and what is known at a bar against the bars up to it alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.features.patterns.zigzag import ATR_BARS, atr_threshold, percent_threshold, zigzag


def _series(seed, n, tick=None):
    """Random bars; on a coarse `tick` many extremes are equal and many bars have no range."""
    rng = np.random.default_rng(seed)
    close = 100 + np.cumsum(rng.normal(size=n))
    opened = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(opened, close) + rng.exponential(0.5, n), np.minimum(opened, close) - rng.exponential(0.5, n)
    if tick:
        high, low, close = (np.round(x / tick) * tick for x in (high, low, close))
    return high, low, close


def _restated(high, low, close, threshold):
    """After the swing at bar p, known at k: the first later close that is far enough from the extreme of bars p + 1 on."""
    swings, p, k, kind = [], -1, -1, 0
    while True:
        for i in range(k + 1, close.size):
            top, bottom = high[p + 1 : i + 1].max(), low[p + 1 : i + 1].min()
            fall, rise = top - close[i], close[i] - bottom
            is_high = kind != 1 and fall > 0 and fall >= threshold[i]
            is_low = kind != -1 and rise > 0 and rise >= threshold[i]
            if is_high and is_low:
                is_high = fall >= rise
            if is_high or is_low:
                kind, k = (1 if is_high else -1), i
                p += 1 + (high[p + 1 : i + 1].argmax() if is_high else low[p + 1 : i + 1].argmin())
                swings.append((p, k, high[p] if is_high else low[p], kind))
                break
        else:
            return swings


def _rows(pivots):
    return list(zip(*(column.tolist() for column in pivots), strict=True))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 120), tick=st.sampled_from([None, 1.0]), height=st.floats(0.0, 6.0))
@settings(max_examples=150, deadline=None)
def test_swings_are_those_of_the_definition(seed, n, tick, height):
    high, low, close = _series(seed, n, tick)
    threshold = height * np.random.default_rng(seed).uniform(0.5, 1.5, n)
    assert _rows(zigzag(high, low, close, threshold)) == _restated(high, low, close, threshold)


@given(seed=st.integers(0, 10**6), cut=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_swings_known_by_a_bar_are_those_of_the_bars_up_to_it(seed, cut):
    high, low, close = _series(seed, 300)
    threshold = atr_threshold(high, low, close)
    known = [row for row in _rows(zigzag(high, low, close, threshold)) if row[1] < cut]
    bars = (high[:cut], low[:cut], close[:cut])
    assert _rows(zigzag(*bars, atr_threshold(*bars))) == known


@pytest.mark.parametrize("seed", range(5))
def test_swings_alternate_and_are_known_after_their_extreme(seed):
    pivots = zigzag(*_series(seed, 2_000), np.full(2_000, 4.0))
    assert pivots.bar.size > 100
    assert (pivots.kind[1:] == -pivots.kind[:-1]).all()
    assert (np.diff(pivots.bar) > 0).all()
    assert (np.diff(pivots.known) > 0).all()
    assert (pivots.known >= pivots.bar).all()
    assert (np.diff(pivots.price) * pivots.kind[1:] > 0).all()


def test_the_example_of_the_docstring():
    x = np.array([5.0, 7.0, 9.0, 8.0, 6.0, 7.0])
    assert _rows(zigzag(x, x, x, np.full(6, 2.0))) == [(0, 1, 5.0, -1), (2, 4, 9.0, 1)]


def test_a_close_short_of_the_threshold_confirms_nothing():
    x = np.array([5.0, 7.0, 9.0, 8.0, 7.01, 7.01])
    assert _rows(zigzag(x, x, x, np.full(6, 2.0))) == [(0, 1, 5.0, -1)]


def test_a_wick_moves_the_extreme_but_only_a_close_confirms():
    close = np.array([10.0, 10.0, 10.0, 8.0])
    high, low = close + np.array([0.0, 3.0, 0.0, 0.0]), close - np.array([0.0, 0.0, 4.0, 0.0])
    assert _rows(zigzag(high, low, close, np.full(4, 5.0))) == [(1, 3, 13.0, 1)]


def test_a_flat_market_has_no_swings():
    flat = np.full(50, 7.0)
    assert zigzag(flat, flat, flat, atr_threshold(flat, flat, flat)).bar.size == 0


def test_mirrored_prices_give_mirrored_swings():
    high, low, close = _series(3, 500)
    pivots, mirror = zigzag(high, low, close, np.full(500, 3.0)), zigzag(-low, -high, -close, np.full(500, 3.0))
    assert _rows(mirror) == [(bar, known, -price, -kind) for bar, known, price, kind in _rows(pivots)]


def test_thresholds_are_in_price_units():
    high, low, close = _series(4, 200)
    previous = np.r_[close[0], close[:-1]]
    ranges = np.maximum(high, previous) - np.minimum(low, previous)
    ranges[0] = high[0] - low[0]
    assert atr_threshold(high, low, close, 3.0)[150] == pytest.approx(3 * ranges[151 - ATR_BARS : 151].mean())
    np.testing.assert_allclose(percent_threshold(close, 2.0), close / 50)
