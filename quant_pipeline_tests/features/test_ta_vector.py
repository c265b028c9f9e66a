"""The twelve indicators of document 001 against TA-Lib, pandas and their formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from quant_pipeline.features import ta_vector
from quant_pipeline.features.registry import specs

SETTLED = 900
"""Bars after which TA-Lib's seeds have decayed below 1e-12."""
BARS = (28, 29, 100, 700, 1_399)


def test_names_and_order_of_the_document():
    assert [spec.name for spec in specs(("ta_vector",))] == [
        "ta_rsi", "ta_macd", "ta_macd_signal", "ta_macd_hist", "ta_bb_position", "ta_atr_normalized", "ta_adx",
        "ta_obv_trend", "ta_vwap_distance", "ta_ema_fast", "ta_ema_slow", "ta_volume_ratio",
    ]  # fmt: skip
    assert {spec.name for spec in specs(("ta_vector",)) if spec.needs_volume} == {
        "ta_obv_trend",
        "ta_vwap_distance",
        "ta_volume_ratio",
    }


def test_rsi_by_formula(walk):
    values = ta_vector.ta_rsi(walk)
    for i in BARS:
        moves = np.diff(walk["close"][i - 14 : i + 1])
        strength = np.maximum(moves, 0).mean() / np.maximum(-moves, 0).mean()
        assert values[i] == pytest.approx(100 - 100 / (1 + strength), rel=1e-11)


def test_macd_line_signal_and_histogram_are_those_of_talib_per_close(walk):
    made = (ta_vector.ta_macd(walk), ta_vector.ta_macd_signal(walk), ta_vector.ta_macd_hist(walk))
    for values, expected in zip(made, talib.MACD(walk["close"], 12, 26, 9), strict=True):
        np.testing.assert_allclose(values[SETTLED:], (expected / walk["close"])[SETTLED:], rtol=1e-5, atol=1e-11)


def test_macd_signal_starts_from_the_first_line(walk):
    line = pd.Series(ta_vector.ta_macd(walk) * walk["close"]).dropna()
    expected = line.ewm(span=9).mean().to_numpy() / walk["close"][25:]
    assert np.isnan(ta_vector.ta_macd_signal(walk)[:33]).all()
    np.testing.assert_allclose(ta_vector.ta_macd_signal(walk)[33:], expected[8:], rtol=1e-6, atol=1e-11)


def test_bb_position_is_that_of_talib(walk):
    upper, _, lower = talib.BBANDS(walk["close"], 20, 2, 2)
    expected = (walk["close"] - lower) / (upper - lower)
    np.testing.assert_allclose(ta_vector.ta_bb_position(walk)[19:], expected[19:], atol=1e-6)


def test_atr_is_the_simple_mean_of_true_ranges(walk):
    ranges = pd.Series(talib.TRANGE(walk["high"], walk["low"], walk["close"]))
    expected = ranges.rolling(14).mean() / walk["close"]
    np.testing.assert_allclose(ta_vector.ta_atr_normalized(walk)[14:], expected[14:], rtol=1e-9)


def test_adx_by_formula(walk):
    high, low, close = walk["high"], walk["low"], walk["close"]
    ranges = talib.TRANGE(high, low, close)

    def directed(i):
        up = 100 * np.maximum(np.diff(high[i - 14 : i + 1]), 0).mean() / ranges[i - 13 : i + 1].mean()
        down = 100 * np.maximum(-np.diff(low[i - 14 : i + 1]), 0).mean() / ranges[i - 13 : i + 1].mean()
        return 100 * abs(up - down) / (up + down)

    values = ta_vector.ta_adx(walk)
    for i in (27, *BARS):
        assert values[i] == pytest.approx(np.mean([directed(j) for j in range(i - 13, i + 1)]), rel=1e-10)


def test_obv_trend_is_the_change_of_talibs_obv_per_volume(walk):
    balance = talib.OBV(walk["close"], walk["volume"])
    expected = (balance[10:] - balance[:-10]) / np.convolve(walk["volume"], np.ones(10), "valid")[1:]
    np.testing.assert_allclose(ta_vector.ta_obv_trend(walk)[10:], expected, atol=1e-12)


def test_vwap_starts_anew_with_each_session(walk):
    typical = (walk["high"] + walk["low"] + walk["close"]) / 3
    frame = pd.DataFrame({"session": walk["session_open"], "money": typical * walk["volume"], "volume": walk["volume"]})
    sums = frame.groupby("session").cumsum()
    average = (sums["money"] / sums["volume"]).to_numpy()
    np.testing.assert_allclose(ta_vector.ta_vwap_distance(walk), (walk["close"] - average) / average, atol=1e-12)


@pytest.mark.parametrize(("span", "made"), [(9, ta_vector.ta_ema_fast), (21, ta_vector.ta_ema_slow)])
def test_ema_is_that_of_talib_over_the_close(walk, span, made):
    expected = talib.EMA(walk["close"], span) / walk["close"] - 1
    np.testing.assert_allclose(made(walk)[SETTLED:], expected[SETTLED:], atol=1e-9)
    assert np.isfinite(made(walk)).sum() == walk["close"].size - span + 1


def test_volume_ratio_is_that_of_pandas(walk):
    expected = walk["volume"] / pd.Series(walk["volume"]).rolling(20).mean()
    np.testing.assert_allclose(ta_vector.ta_volume_ratio(walk)[19:], expected[19:], rtol=1e-10)


def test_a_still_market_is_neutral():
    still = {name: np.full(500, 7.0) for name in ("open", "high", "low", "close", "session_open")} | {"volume": np.zeros(500)}
    neutral = {"ta_rsi": 50.0, "ta_bb_position": 0.5, "ta_volume_ratio": 1.0}
    for spec in specs(("ta_vector",)):
        assert (spec.function(still)[400:] == neutral.get(spec.name, 0.0)).all(), spec.name
