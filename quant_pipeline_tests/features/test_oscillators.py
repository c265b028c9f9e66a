"""Oscillators against TA-Lib and against slow, obvious loops."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import talib

from quant_pipeline.features import oscillators

SETTLED = 700
"""Bars after which TA-Lib's seeds of the averages used here have decayed below 1e-10."""


def _prices(walk):
    return walk["high"], walk["low"], walk["close"]


def _still(n=700, price=7.0):
    return dict.fromkeys(("open", "high", "low", "close"), np.full(n, price)) | {"volume": np.full(n, 3.0)}


def test_williams_is_that_of_talib(walk):
    np.testing.assert_allclose(oscillators.williams(walk), talib.WILLR(*_prices(walk), 14), atol=1e-9)


def test_cci_is_that_of_talib(walk):
    np.testing.assert_allclose(oscillators.cci(walk), talib.CCI(*_prices(walk), 20), rtol=1e-7, atol=1e-7)


def test_cci_by_definition(walk):
    high, low, close = _prices(walk)
    for i in (19, 300, 1_399):
        typical = [(high[j] + low[j] + close[j]) / 3 for j in range(i - 19, i + 1)]
        mean = statistics.fmean(typical)
        deviation = statistics.fmean(abs(price - mean) for price in typical)
        assert oscillators.cci(walk)[i] == pytest.approx((typical[-1] - mean) / (0.015 * deviation), rel=1e-9)


def test_mfi_is_that_of_talib(walk):
    np.testing.assert_allclose(oscillators.mfi(walk), talib.MFI(*_prices(walk), walk["volume"], 14), atol=1e-9)


def test_mfi_of_one_way_markets_and_of_bars_that_do_not_count():
    rising = np.arange(1.0, 31.0)
    columns = {"high": rising, "low": rising, "close": rising, "volume": np.full(30, 5.0)}
    assert (oscillators.mfi(columns)[14:] == 100.0).all()
    turned = columns | {name: columns[name][::-1] for name in ("high", "low", "close")}
    assert (oscillators.mfi(turned)[14:] == 0.0).all()
    assert (oscillators.mfi(_still())[14:] == 50.0).all()
    assert (oscillators.mfi(columns | {"volume": np.zeros(30)})[14:] == 50.0).all()


def test_roc_is_that_of_talib(walk):
    np.testing.assert_allclose(oscillators.roc(walk), talib.ROC(walk["close"], 10), rtol=1e-9, atol=1e-11)


def test_keltner_position_is_made_of_talibs_averages(walk):
    middle = talib.EMA(walk["close"], 20)
    reach = 2 * talib.ATR(*_prices(walk), 10)
    expected = (walk["close"] - (middle - reach)) / (2 * reach)
    np.testing.assert_allclose(oscillators.kc_position(walk)[SETTLED:], expected[SETTLED:], rtol=1e-7, atol=1e-8)
    assert np.isnan(oscillators.kc_position(walk)[:19]).all()


def test_atr_ratio_is_made_of_talibs_averages(walk):
    expected = talib.ATR(*_prices(walk), 7) / talib.ATR(*_prices(walk), 28)
    np.testing.assert_allclose(oscillators.atr_ratio(walk)[SETTLED:], expected[SETTLED:], rtol=1e-8)
    assert np.isnan(oscillators.atr_ratio(walk)[:28]).all()


def test_hvol_is_the_sample_deviation_of_log_returns(walk):
    returns = np.diff(np.log(walk["close"]))
    values = oscillators.hvol(walk)
    np.testing.assert_allclose(values[60:], talib.STDDEV(returns, 60)[59:] * math.sqrt(60 / 59), rtol=1e-6)
    assert values[1_000] == pytest.approx(statistics.stdev(returns[940:1_000]), rel=1e-10)


def test_what_a_still_market_says():
    still = _still()
    assert (oscillators.williams(still)[13:] == -50.0).all()
    assert (oscillators.cci(still)[19:] == 0.0).all()
    assert (oscillators.roc(still)[10:] == 0.0).all()
    assert (oscillators.kc_position(still)[19:] == 0.5).all()
    assert (oscillators.hvol(still)[60:] == 0.0).all()
    assert (oscillators.atr_ratio(still)[28:] == 1.0).all()
    direction, distance = oscillators.supertrend(still)[:, oscillators.SUPERTREND_LOOKBACK - 1 :]
    assert (direction == 1.0).all()
    assert (distance == 0.0).all()


def _endless_supertrend(high, low, close):
    """The usual recursion, from the first bar to the last, on TA-Lib's ATR."""
    middle, reach = (high + low) / 2, 3 * talib.ATR(high, low, close, 10)
    upper, lower, up = middle + reach, middle - reach, np.ones(close.size, dtype=bool)
    for i in range(11, close.size):
        if close[i - 1] <= upper[i - 1]:
            upper[i] = min(upper[i], upper[i - 1])
        if close[i - 1] >= lower[i - 1]:
            lower[i] = max(lower[i], lower[i - 1])
        up[i] = close[i] >= lower[i] if up[i - 1] else close[i] > upper[i]
    return np.where(up, 1.0, -1.0), (close - np.where(up, lower, upper)) / close


def test_supertrend_is_the_endless_one(walk):
    direction, distance = _endless_supertrend(*_prices(walk))
    ours = oscillators.supertrend(walk)
    assert 5 < np.count_nonzero(np.diff(direction)) < 200
    np.testing.assert_array_equal(ours[0, SETTLED:], direction[SETTLED:])
    np.testing.assert_allclose(ours[1, SETTLED:], distance[SETTLED:], rtol=1e-6, atol=1e-9)


def test_supertrend_stands_behind_the_price(walk):
    direction, distance = oscillators.supertrend(walk)[:, oscillators.SUPERTREND_LOOKBACK - 1 :]
    assert (np.sign(distance) * direction >= 0).all()


def test_a_trend_is_followed_over_just_the_bars_that_it_is_told():
    close = np.r_[100.0, 50.0, np.full(8, 100.0)]
    middle, reach = np.full(10, 100.0), np.full(10, 20.0)
    remembered, forgotten = (oscillators.follow_trend(middle, reach, close, bars)[0] for bars in (4, 3))
    np.testing.assert_array_equal(remembered, [np.nan] * 3 + [-1.0, -1.0] + [1.0] * 5)
    np.testing.assert_array_equal(forgotten, [np.nan] * 2 + [-1.0, -1.0] + [1.0] * 6)


def test_supertrend_by_a_rerun_of_each_window(walk):
    high, low, close = _prices(walk)
    middle, reach = (high + low) / 2, 3 * oscillators._atr(walk, 10)
    lines = oscillators.follow_trend(middle, reach, close, 40)
    for i in (39, 40, 294, 295, 296, 1_399):
        window = slice(i - 39, i + 1)
        last = oscillators.follow_trend(middle[window], reach[window], close[window], 40)[:, -1]
        np.testing.assert_array_equal(lines[:, i], last)
        up, top, bottom = close[i - 39] >= middle[i - 39], middle[i - 39] + reach[i - 39], middle[i - 39] - reach[i - 39]
        for j in range(i - 38, i + 1):
            top = min(top, middle[j] + reach[j]) if close[j - 1] <= top else middle[j] + reach[j]
            bottom = max(bottom, middle[j] - reach[j]) if close[j - 1] >= bottom else middle[j] - reach[j]
            up = close[j] >= bottom if up else close[j] > top
        assert lines[0, i] == (1.0 if up else -1.0)
        assert lines[1, i] == (bottom if up else top)
