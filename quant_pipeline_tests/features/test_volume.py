"""Volume features against loops and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from quant_pipeline.features import volume


def test_vwap_distance_is_anchored_to_the_session(walk):
    frame = pd.DataFrame(walk)
    frame["typical"] = (frame.high + frame.low + frame.close) / 3
    paid = (frame.typical * frame.volume).groupby(frame.session_open).cumsum()
    average = paid / frame.volume.groupby(frame.session_open).cumsum()
    np.testing.assert_allclose(volume.vwap_distance(walk), frame.close / average - 1, rtol=1e-9, atol=1e-14)


def test_vwap_before_the_first_volume_of_a_session_is_the_bars_own_price(walk):
    values = volume.vwap_distance(walk | {"volume": np.zeros_like(walk["volume"])})
    typical = (walk["high"] + walk["low"] + walk["close"]) / 3
    np.testing.assert_array_equal(values, walk["close"] / typical - 1)


def test_vwap_needs_at_most_the_bars_of_a_session():
    assert [volume.session_bars(rung) for rung in ("1m", "25m", "45m", "1h", "1d", "1w")] == [1_440, 58, 32, 24, 1, 1]


def test_obv_is_that_of_talib_over_20_bars_by_their_volume(walk):
    level = talib.OBV(walk["close"], walk["volume"])
    total = pd.Series(walk["volume"]).rolling(20).sum().to_numpy()
    np.testing.assert_allclose(volume.obv(walk)[20:], (level[20:] - level[:-20]) / total[20:], rtol=1e-9, atol=1e-12)
    assert np.isnan(volume.obv(walk)[:20]).all()


def test_obv_of_one_way_markets(walk):
    columns = {"close": np.arange(1.0, 101.0), "volume": walk["volume"][:100]}
    assert volume.obv(columns)[20:] == pytest.approx(1.0)
    assert volume.obv(columns | {"close": columns["close"][::-1]})[20:] == pytest.approx(-1.0)


def test_ratio_and_zscore_are_those_of_pandas(walk):
    rolling = pd.Series(walk["volume"]).rolling(20)
    np.testing.assert_allclose(volume.volume_ratio(walk), walk["volume"] / rolling.mean(), rtol=1e-12)
    expected = (walk["volume"] - rolling.mean()) / rolling.std(ddof=0)
    np.testing.assert_allclose(volume.volume_zscore(walk), expected, rtol=1e-8, atol=1e-10)


def test_no_trade_is_neutral_and_constant_volume_is_usual():
    nothing = {"volume": np.zeros(60), "close": np.arange(1.0, 61.0)}
    assert (volume.volume_ratio(nothing)[19:] == 1.0).all()
    assert (volume.obv(nothing)[20:] == 0.0).all()
    assert (volume.volume_zscore(nothing)[19:] == 0.0).all()
    constant = {"volume": np.full(60, 0.1)}
    assert volume.volume_ratio(constant)[19:] == pytest.approx(1.0)
    assert (volume.volume_zscore(constant)[19:] == 0.0).all()
