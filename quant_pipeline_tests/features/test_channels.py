"""Channels against TA-Lib, pandas and loops; what repaints is told as it was known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from quant_pipeline.features import channels, momentum, oscillators
from quant_pipeline.features.channels_kernels import previous_session, trailing_sar
from quant_pipeline.features.registry import specs

SETTLED = 900
"""Bars after which TA-Lib's seeds have decayed below 1e-12."""
VOLUME = {"ch_volume", "ch_obv", "ch_vwap", "ch_ad", "ch_cmf_20", "ch_mfi_14"}
BRANCH = ["ch_vol_level", "ch_vol_return", "ch_vol_acceleration"]


def _raw(walk):
    """Every channel of the walk before its z-score, by name."""
    made = {spec.name: (spec.function(walk), spec.output) for spec in specs(("channels",))}
    return {name: values if output is None else values[output] for name, (values, output) in made.items()}


@pytest.fixture(scope="module")
def raw(walk):
    return _raw(walk)


def _prices(walk):
    return walk["high"], walk["low"], walk["close"]


def test_there_are_47_channels_and_3_of_volume_on_two_rungs():
    chosen = specs(("channels",))
    names = [spec.name for spec in chosen]
    assert len(names) == len(set(names)) == 50
    assert names[-3:] == BRANCH
    assert {spec.name for spec in chosen if spec.needs_volume} == VOLUME | set(BRANCH)
    assert all(spec.rungs == ("1h", "15m") and spec.zscore and spec.name.startswith("ch_") and spec.meaning for spec in chosen)


def test_bars_and_their_derivatives(walk, raw):
    frame = pd.DataFrame(walk)
    returned = frame.close.pct_change()
    expected = {
        "open": frame.open / frame.close - 1, "high": frame.high / frame.close - 1, "low": frame.low / frame.close - 1,
        "close": frame.close, "return": returned, "acceleration": returned.diff(),
        "log_return": np.log(frame.close).diff(), "volume": frame.volume / frame.volume.rolling(20).mean(),
        "volatility": np.log(frame.close).diff().rolling(20).std(ddof=0),
        "vol_level": frame.volume,
        "vol_return": (frame.volume - frame.volume.shift()) / ((frame.volume + frame.volume.shift()) / 2),
        "vol_acceleration": ((frame.volume - frame.volume.shift()) / ((frame.volume + frame.volume.shift()) / 2)).diff(),
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(raw[f"ch_{name}"], values, rtol=1e-9, atol=1e-12, err_msg=name)


def test_volume_return_has_a_value_around_zeros():
    values = channels.volume_return({"volume": np.array([0.0, 0.0, 5.0, 0.0, 10.0, 10.0])})
    np.testing.assert_array_equal(values, [np.nan, 0.0, 2.0, -2.0, 2.0, 0.0])


def test_averages_and_bands_are_those_of_talib(walk, raw):
    close = walk["close"]
    bands = dict(zip(("upper", "middle", "lower"), talib.BBANDS(close, 20, 2, 2), strict=True))
    expected = {
        "sma_20": talib.SMA(close, 20), "sma_50": talib.SMA(close, 50), "ema_12": talib.EMA(close, 12),
        "ema_26": talib.EMA(close, 26), **{f"bb_{name}": band for name, band in bands.items()},
    }  # fmt: skip
    for name, level in expected.items():
        np.testing.assert_allclose(raw[f"ch_{name}"][SETTLED:], (level / close - 1)[SETTLED:], atol=1e-9, err_msg=name)
        assert np.isnan(raw[f"ch_{name}"]).sum() == np.isnan(level).sum(), name


def test_macd_signal_and_histogram_are_those_of_talib(walk, raw):
    line, signal, histogram = (part / walk["close"] for part in talib.MACD(walk["close"], 12, 26, 9))
    for name, expected in (("macd", line), ("macd_signal", signal), ("macd_hist", histogram)):
        np.testing.assert_allclose(raw[f"ch_{name}"][SETTLED:], expected[SETTLED:], rtol=1e-5, atol=1e-10, err_msg=name)
    assert np.isnan(raw["ch_macd_signal"]).sum() == np.isnan(signal).sum() == 33


def test_oscillators_and_ranges_are_those_of_talib(walk, raw):
    high, low, close = _prices(walk)
    slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, slowd_period=3)
    expected = {
        "rsi_14": talib.RSI(close, 14), "atr_14": talib.ATR(high, low, close, 14) / close,
        "stoch_k": slow_k, "stoch_d": slow_d, "mfi_14": talib.MFI(*_prices(walk), walk["volume"], 14),
        "rolling_high": talib.MAX(high, 20) / close - 1, "rolling_low": talib.MIN(low, 20) / close - 1,
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(raw[f"ch_{name}"][SETTLED:], values[SETTLED:], rtol=1e-8, atol=2e-6, err_msg=name)
    assert np.isnan(raw["ch_stoch_d"]).sum() == 17
    np.testing.assert_allclose(raw["ch_mfi_14"][14:], expected["mfi_14"][14:], atol=1e-9)


def test_sar_is_that_of_talib_over_its_window(walk, raw):
    high, low, close = _prices(walk)
    for i in (255, 256, 600, 1_234):
        window = slice(i - 255, i + 1)
        assert raw["ch_psar"][i] == pytest.approx(talib.SAR(high[window], low[window], 0.02, 0.2)[-1] / close[i] - 1, abs=1e-13)
    assert np.isnan(raw["ch_psar"][:255]).all()


@pytest.mark.parametrize("seed", range(20))
def test_sar_is_that_of_talib_whatever_the_first_bars(seed):
    rng = np.random.default_rng(seed)
    middle = 100 + np.cumsum(rng.normal(size=12))
    high, low = middle + rng.random(12), middle - rng.random(12)
    for bars in (2, 3, 7, 12):
        assert trailing_sar(high, low, bars)[bars - 1] == pytest.approx(talib.SAR(high[:bars], low[:bars], 0.02, 0.2)[-1])


def test_sar_of_a_long_run_is_that_from_the_first_bar(walk):
    high, low, _ = _prices(walk)
    np.testing.assert_allclose(trailing_sar(high, low, 256)[300:], talib.SAR(high, low, 0.02, 0.2)[300:], rtol=1e-12)


def test_ichimoku_as_it_stands_over_each_bar(walk, raw):
    high, low, close = _prices(walk)

    def middle(i, bars):
        return (high[i - bars + 1 : i + 1].max() + low[i - bars + 1 : i + 1].min()) / 2

    for i in (77, 78, 500, 1_399):
        expected = {
            "tenkan": middle(i, 9), "kijun": middle(i, 26), "senkou_a": (middle(i - 26, 9) + middle(i - 26, 26)) / 2,
            "senkou_b": middle(i - 26, 52), "chikou": close[i - 26],
        }  # fmt: skip
        for name, level in expected.items():
            assert raw[f"ch_{name}"][i] == pytest.approx(level / close[i] - 1, abs=1e-14), name
    assert [int(np.isnan(raw[f"ch_{name}"]).sum()) for name in expected] == [8, 25, 51, 77, 26]


def test_accumulation_and_flow_are_sums_of_talibs_line_over_a_window(walk, raw):
    line = talib.AD(*_prices(walk), walk["volume"])
    total = pd.Series(walk["volume"]).rolling
    for name, bars in (("ad", 100), ("cmf_20", 20)):
        expected = ((line - np.r_[np.full(bars, np.nan), line[:-bars]]) / total(bars).sum())[bars:]
        np.testing.assert_allclose(raw[f"ch_{name}"][bars:], expected, rtol=1e-7, atol=1e-11, err_msg=name)


def test_flows_without_range_or_volume_are_neutral(walk):
    flat = {name: np.full(200, 7.0) for name in ("high", "low", "close")} | {"volume": walk["volume"][:200]}
    silent = {name: walk[name][:200] for name in ("high", "low", "close")} | {"volume": np.zeros(200)}
    for columns in (flat, silent):
        assert (channels.accumulation(columns)[99:] == 0.0).all()
        assert (channels.cmf_20(columns)[19:] == 0.0).all()


def test_vwap_starts_anew_with_each_session(walk, raw):
    frame = pd.DataFrame(walk)
    frame["typical"] = (frame.high + frame.low + frame.close) / 3
    paid = (frame.typical * frame.volume).groupby(frame.session_open).cumsum()
    average = paid / frame.volume.groupby(frame.session_open).cumsum()
    np.testing.assert_allclose(raw["ch_vwap"], average / frame.close - 1, rtol=1e-7, atol=1e-13)


def test_fibonacci_levels_divide_the_range_of_100_bars(walk, raw):
    high, low, close = _prices(walk)
    for i in (99, 100, 800):
        top, bottom = high[i - 99 : i + 1].max(), low[i - 99 : i + 1].min()
        for name, share in (("0", 0), ("236", 0.236), ("382", 0.382), ("500", 0.5), ("618", 0.618)):
            assert raw[f"ch_fib_{name}"][i] == pytest.approx((top - share * (top - bottom)) / close[i] - 1, abs=1e-14)
    assert np.isnan(raw["ch_fib_0"][:99]).all()


def test_pivots_are_those_of_the_session_before(walk, raw):
    frame = pd.DataFrame(walk)
    by_session = frame.groupby("session_open").agg({"high": "max", "low": "min", "close": "last"}).shift()
    before = by_session.loc[frame.session_open].reset_index(drop=True)
    pivot = (before.high + before.low + before.close) / 3
    expected = {
        "pivot": pivot, "support_1": 2 * pivot - before.high, "resistance_1": 2 * pivot - before.low,
        "support_2": pivot - (before.high - before.low), "resistance_2": pivot + (before.high - before.low),
    }  # fmt: skip
    for name, level in expected.items():
        np.testing.assert_allclose(raw[f"ch_{name}"], level / frame.close - 1, rtol=1e-9, atol=1e-13, err_msg=name)
    assert np.isnan(raw["ch_pivot"][:24]).all()


def test_sessions_of_any_length_are_told_apart():
    high, low, close = np.arange(1.0, 8.0), -np.arange(1.0, 8.0), np.arange(10.0, 17.0)
    levels = previous_session(high, low, close, np.array([0.0, 0.0, 5.0, 9.0, 9.0, 9.0, 20.0]))
    np.testing.assert_array_equal(levels[0], [np.nan, np.nan, 2.0, 3.0, 3.0, 3.0, 6.0])
    np.testing.assert_array_equal(levels[1], [np.nan, np.nan, -2.0, -3.0, -3.0, -3.0, -6.0])
    np.testing.assert_array_equal(levels[2], [np.nan, np.nan, 11.0, 12.0, 12.0, 12.0, 15.0])


def test_breakout_tells_the_side_and_leaves_its_own_bar_out(walk, raw):
    high, low, close = _prices(walk)
    expected = [float(close[i] > high[i - 20 : i].max()) - float(close[i] < low[i - 20 : i].min()) for i in range(20, close.size)]
    np.testing.assert_array_equal(raw["ch_breakout"][20:], expected)
    assert set(expected) == {-1.0, 0.0, 1.0}


def test_indicators_shared_with_other_families_are_computed_by_the_same_function():
    by_name = {spec.name: spec.function for spec in specs(("momentum", "channels"))}
    assert by_name["ch_rsi_14"] is by_name["rsi"] is momentum.rsi
    assert by_name["ch_macd"] is by_name["macd"]
    assert by_name["ch_stoch_k"] is by_name["stoch"]
    assert by_name["ch_mfi_14"] is oscillators.mfi
