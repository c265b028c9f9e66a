"""Volatility features against TA-Lib and against their papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import talib

from quant_pipeline.features import volatility


def test_atr_is_that_of_talib_per_close(walk):
    expected = talib.ATR(walk["high"], walk["low"], walk["close"], 14) / walk["close"]
    np.testing.assert_allclose(volatility.atr(walk)[900:], expected[900:], rtol=1e-7)


def test_atr_by_definition(walk):
    high, low, close = walk["high"], walk["low"], walk["close"]
    for i in (14, 20, 280, 281, 1_000):
        bars = range(max(1, i - 279), i + 1)
        ranges = [max(high[j] - low[j], abs(high[j] - close[j - 1]), abs(low[j] - close[j - 1])) for j in bars]
        weights = [(13 / 14) ** (i - j) for j in bars]
        expected = np.dot(ranges, weights) / math.fsum(weights) / close[i]
        assert volatility.atr(walk)[i] == pytest.approx(expected, rel=1e-11)


def test_range_estimators_by_their_formulas(walk):
    parkinson, garman_klass = volatility.parkinson(walk), volatility.garman_klass(walk)
    for i in (19, 20, 500, 1_399):
        bars = range(i - 19, i + 1)
        spans = [math.log(walk["high"][j] / walk["low"][j]) for j in bars]
        bodies = [math.log(walk["close"][j] / walk["open"][j]) for j in bars]
        assert parkinson[i] == pytest.approx(math.sqrt(sum(u * u for u in spans) / (20 * 4 * math.log(2))), rel=1e-12)
        terms = [0.5 * u * u - (2 * math.log(2) - 1) * c * c for u, c in zip(spans, bodies, strict=True)]
        assert garman_klass[i] == pytest.approx(math.sqrt(sum(terms) / 20), rel=1e-12)
    assert np.isnan(parkinson[:19]).all()


def test_range_estimators_find_the_volatility_of_a_fine_random_walk():
    steps = np.random.default_rng(5).normal(0, 1e-4, (4_000, 600))
    paths = np.exp(np.cumsum(steps, axis=1))
    columns = {"open": np.ones(4_000), "high": np.maximum(paths.max(axis=1), 1), "low": np.minimum(paths.min(axis=1), 1)}
    columns["close"] = paths[:, -1]
    true = 1e-4 * math.sqrt(600)
    for estimate in (volatility.parkinson(columns), volatility.garman_klass(columns)):
        assert np.sqrt(np.mean(estimate[19:] ** 2)) == pytest.approx(true, rel=0.08)


def test_bollinger_width_is_that_of_talib(walk):
    upper, middle, lower = talib.BBANDS(walk["close"], 20, 2, 2)
    np.testing.assert_allclose(volatility.bb_width(walk)[19:], ((upper - lower) / middle)[19:], rtol=1e-7)


def test_a_still_market_has_no_volatility():
    still = np.full(400, 1234.56)
    columns = dict.fromkeys(("open", "high", "low", "close"), still)
    for feature in (volatility.atr, volatility.parkinson, volatility.garman_klass, volatility.bb_width):
        assert (feature(columns)[19:] == 0.0).all()
