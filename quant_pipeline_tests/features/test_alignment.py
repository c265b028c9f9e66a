"""Alignment of timeframes against pandas and on one-way markets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_pipeline.features.alignment import above_average, mtf_bias
from quant_pipeline.features.registry import specs


def recursive(close, span):
    """Document 001's average: a recursion from the first close on, which never forgets."""
    return pd.Series(close).ewm(span=span, adjust=False).mean().to_numpy()


def cut(close, bar, span):
    """The average of pandas over the last three spans of bars up to `bar`."""
    return pd.Series(close[max(0, bar - 3 * span + 1) : bar + 1]).ewm(span=span).mean().iloc[-1]


@pytest.mark.parametrize("span", [9, 21])
def test_the_average_is_that_of_pandas_over_three_spans(walk, span):
    close, above = walk["close"], above_average(walk["close"], span)
    for bar in (span - 1, 40, 3 * span - 1, 3 * span, 100, 1_399):
        assert above[bar] == pytest.approx(close[bar] - cut(close, bar, span), abs=1e-11)


def test_the_bias_by_definition(walk):
    close, values = walk["close"], mtf_bias(walk)
    assert np.isnan(values[:20]).all()
    for bar in range(20, 1_400, 7):
        fast, slow = (cut(close, bar, n) for n in (9, 21))
        assert values[bar] == (close[bar] > fast > slow) * 1 - (close[bar] < fast < slow) * 1
    assert set(values[20:]) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("trend", [0.0, 0.002])
def test_the_bias_is_that_of_the_documents_averages_in_98_of_100_bars(seed, trend):
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(trend, 0.01, 5_000)))
    fast, slow = recursive(close, 9), recursive(close, 21)
    document = 1.0 * ((close > fast) & (fast > slow)) - 1.0 * ((close < fast) & (fast < slow))
    settled = slice(specs(("alignment",))[0].bars_needed("1h", settings=None), None)
    assert (mtf_bias({"close": close})[settled] == document[settled]).mean() >= 0.98


def test_one_way_markets_and_a_still_one():
    rising = np.arange(100.0, 160.0)
    assert (mtf_bias({"close": rising})[20:] == 1.0).all()
    assert (mtf_bias({"close": rising[::-1]})[20:] == -1.0).all()
    assert (mtf_bias({"close": np.full(60, 0.1)})[20:] == 0.0).all()


def test_no_bias_once_the_move_is_forgotten():
    values = mtf_bias({"close": np.r_[np.arange(1.0, 41.0), np.full(40, 40.1)]})
    assert values[40] == 1.0
    assert values[40 + 26] == 0.0  # the fast average has met the close


def test_on_the_five_timeframes_of_the_document():
    (spec,) = specs(("alignment",))
    assert spec.rungs == ("1M", "1w", "1d", "4h", "1h")
    assert spec.bars_needed("1w", settings=None) == 63
