"""Momentum features against TA-Lib and against their definitions bar by bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from quant_pipeline.features import momentum
from quant_pipeline.features.kernels import memory

SETTLED = 900
"""Bars after which TA-Lib's seeds have decayed below 1e-12."""


def _wilder(values):
    """Wilder's average of a history, 280 bars long, newest last."""
    weights = (13 / 14) ** np.arange(len(values))[::-1]
    return np.dot(values, weights) / weights.sum()


def test_rsi_is_that_of_talib(walk):
    np.testing.assert_allclose(momentum.rsi(walk)[SETTLED:], talib.RSI(walk["close"], 14)[SETTLED:], atol=2e-6)


def test_rsi_by_definition(walk):
    close, values = walk["close"], momentum.rsi(walk)
    for i in (14, 15, 100, 280, 281, 700):
        moves = np.diff(close[max(0, i - 280) : i + 1])
        gain, loss = _wilder(np.maximum(moves, 0)), _wilder(np.maximum(-moves, 0))
        assert values[i] == pytest.approx(100 - 100 / (1 + gain / loss), rel=1e-11)


def test_rsi_of_one_way_markets():
    rising = {"close": np.arange(1.0, 400.0)}
    assert (momentum.rsi(rising)[14:] == 100.0).all()
    assert (momentum.rsi({"close": rising["close"][::-1]})[14:] == 0.0).all()


def test_rsi_says_neutral_once_the_last_move_is_forgotten():
    values = momentum.rsi({"close": np.r_[np.arange(1.0, 50.0), np.full(400, 49.0)]})
    assert values[48 + 279] == 100.0
    assert (values[48 + 280 :] == 50.0).all()


def test_macd_is_that_of_talib_per_close(walk):
    line, _, _ = talib.MACD(walk["close"], 12, 26, 9)
    np.testing.assert_allclose(momentum.macd(walk)[SETTLED:], (line / walk["close"])[SETTLED:], rtol=1e-5, atol=1e-11)


def test_macd_by_definition_starts_from_the_first_close(walk):
    close = pd.Series(walk["close"][:200])
    fast, slow = (close.ewm(span=span, adjust=False).mean() for span in (12, 26))
    np.testing.assert_allclose(momentum.macd(walk)[25:120], ((fast - slow) / close)[25:120], rtol=1e-9, atol=1e-15)


def test_macd_reads_no_further_back_than_it_says(walk):
    close = walk["close"].copy()
    close[: 1_000 - memory(25 / 27)] *= 1e3
    assert momentum.macd({"close": close})[1_000] == momentum.macd(walk)[1_000]


def test_stoch_is_that_of_talib(walk):
    slow, _ = talib.STOCH(walk["high"], walk["low"], walk["close"], fastk_period=14, slowk_period=3, slowd_period=1)
    np.testing.assert_allclose(momentum.stoch(walk)[15:], slow[15:], atol=1e-9)
    assert np.isnan(momentum.stoch(walk)[:15]).all()


def test_stoch_without_range_is_neutral():
    flat = np.full(40, 7.0)
    assert (momentum.stoch({"high": flat, "low": flat, "close": flat})[15:] == 50.0).all()


def test_adx_is_that_of_talib(walk):
    expected = talib.ADX(walk["high"], walk["low"], walk["close"], 14)
    np.testing.assert_allclose(momentum.adx(walk)[SETTLED:], expected[SETTLED:], atol=5e-6)


def test_adx_by_definition(walk):
    high, low, values = walk["high"], walk["low"], momentum.adx(walk)

    def directed(i):
        first = max(1, i - 279)
        up, down = np.diff(high)[first - 1 : i], -np.diff(low)[first - 1 : i]
        plus, minus = _wilder(np.where((up > down) & (up > 0), up, 0)), _wilder(np.where((down > up) & (down > 0), down, 0))
        return 100 * abs(plus - minus) / (plus + minus)

    for i in (27, 28, 300, 600):
        assert values[i] == pytest.approx(_wilder([directed(j) for j in range(max(14, i - 279), i + 1)]), rel=1e-10)


def test_adx_of_a_straight_and_of_a_still_market():
    rising = np.arange(100.0, 200.0)
    straight = momentum.adx({"high": rising + 1, "low": rising - 1, "close": rising})
    np.testing.assert_allclose(straight[27:], 100.0, rtol=1e-12)
    still = np.full(100, 5.0)
    assert (momentum.adx({"high": still, "low": still, "close": still})[27:] == 0.0).all()
