"""Kernels against slow, obvious windows."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_pipeline.features import kernels

SERIES = arrays(np.float64, st.integers(0, 60), elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)))
WINDOWS = st.integers(1, 40)


def _windows(x, window):
    return [x[max(0, i + 1 - window) : i + 1] for i in range(x.size)]


def _decayed(values, decay):
    return math.fsum(value * decay**age for age, value in enumerate(values[::-1]))


@given(x=SERIES, window=WINDOWS, decay=st.sampled_from([0.5, 13 / 14, 1.0]))
def test_decayed_sum(x, window, decay):
    expected = [_decayed(values, decay) for values in _windows(x, window)]
    np.testing.assert_allclose(kernels.decayed_sum(x, window, decay), expected, rtol=1e-12, atol=1e-10)


@given(x=SERIES, window=WINDOWS)
def test_decayed_mean_has_weights_that_sum_to_one(x, window):
    expected = [_decayed(values, 0.9) / _decayed(np.ones(values.size), 0.9) for values in _windows(x, window)]
    np.testing.assert_allclose(kernels.decayed_mean(x, window, 0.9), expected, rtol=1e-12, atol=1e-10)


def test_decayed_mean_is_the_exponential_average_of_pandas(walk):
    long_memory = kernels.decayed_mean(walk["close"], 700, 0.9)
    np.testing.assert_allclose(long_memory, pd.Series(walk["close"]).ewm(alpha=0.1).mean(), rtol=1e-12)


@given(x=SERIES, window=WINDOWS)
def test_rolling_mean_and_maximum(x, window):
    np.testing.assert_allclose(kernels.rolling_mean(x, window), [np.mean(w) for w in _windows(x, window)], rtol=1e-12, atol=1e-10)
    assert kernels.rolling_max(x, window).tolist() == [w.max() for w in _windows(x, window)]


@given(x=SERIES, window=WINDOWS)
def test_rolling_spread(x, window):
    exact = [[Fraction(value) for value in values] for values in _windows(x, window)]
    means = [sum(values) / len(values) for values in exact]
    squares = [sum((value - mean) ** 2 for value in values) for values, mean in zip(exact, means, strict=True)]
    mean, square = kernels.rolling_spread(x, window)
    np.testing.assert_allclose(mean, np.array(means, float), rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(square, np.array(squares, float), rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("window", [2, 3, 20, 500])
@pytest.mark.parametrize("level", [0.1, 1234.56, 1e-9, 1e9])
def test_equal_values_have_exactly_no_spread(window, level):
    mean, square = kernels.rolling_spread(np.full(1_000, level), window)
    assert (mean == level).all()
    assert (square == 0.0).all()


def test_spread_of_a_nearly_constant_window_keeps_its_digits():
    x = 1e6 + 1e-3 * np.random.default_rng(0).integers(0, 8, 400) / 8.0
    x[:50] += 1e7  # an old jump leaves nothing behind
    _, square = kernels.rolling_spread(x, 20)
    exact = [np.var([float(Fraction(v) - Fraction(w[0])) for v in w]) * 20 for w in _windows(x, 20)[100:]]
    np.testing.assert_allclose(square[100:], exact, rtol=1e-6)


@given(x=SERIES)
def test_rolling_shape(x):
    third, fourth = kernels.rolling_shape(x, 10, 1e-6)
    for i, values in enumerate(_windows(x, 10)):
        gaps = values - values.mean()
        if i < 9 or (gaps**2).sum() <= 1e-5:
            continue
        variance = (gaps**2).mean()
        assert third[i] == pytest.approx((gaps**3).mean() / variance**1.5, rel=1e-6, abs=1e-6)
        assert fourth[i] == pytest.approx((gaps**4).mean() / variance**2, rel=1e-6, abs=1e-6)
    assert np.isnan(third[:9]).all()


def test_a_nan_spoils_only_the_windows_that_hold_it():
    x = np.arange(100.0)
    x[40] = np.nan
    for values in (kernels.decayed_sum(x, 20, 0.9), kernels.rolling_mean(x, 20), *kernels.rolling_spread(x, 20)):
        assert np.flatnonzero(np.isnan(values)).tolist() == list(range(40, 60))


def test_session_average_starts_anew_with_each_session():
    price, weight = np.array([10.0, 20.0, 30.0, 7.0, 8.0]), np.array([1.0, 3.0, 0.0, 0.0, 2.0])
    session = np.array([1.0, 1.0, 1.0, 2.0, 2.0])
    assert kernels.session_average(price, weight, session).tolist() == [10.0, 17.5, 17.5, 7.0, 8.0]


def test_true_range_and_directional_movement_by_hand():
    high, low, close = np.array([10.0, 12.0, 11.0]), np.array([9.0, 11.0, 8.0]), np.array([9.5, 11.5, 8.5])
    assert kernels.true_range(high, low, close).tolist() == [1.0, 2.5, 3.5]
    plus, minus = kernels.directional_movement(high, low)
    assert plus.tolist() == [0.0, 2.0, 0.0]
    assert minus.tolist() == [0.0, 0.0, 3.0]


def test_memory_is_the_first_bar_whose_weight_is_below_a_billionth():
    bars = kernels.memory(13 / 14)
    assert (13 / 14) ** bars <= 1e-9 < (13 / 14) ** (bars - 1)


def test_ratio_without_a_whole():
    assert kernels.ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0]), 50.0).tolist() == [0.25, 50.0]
