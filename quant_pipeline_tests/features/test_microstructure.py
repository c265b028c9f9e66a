"""Microstructure against the papers' formulas bar by bar, and on simulated markets whose spread and flow are known."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy.stats import norm

from quant_pipeline.features import microstructure

BARS = (65, 300, 777, 1_399)


def _steps(close):
    """Simple returns; the first bar has none."""
    return np.r_[0.0, close[1:] / close[:-1] - 1]


def _traded(spread, *, trades=40, bars=3_000, volatility=2e-3):
    """Bars of a market where every trade pays half the spread, on the buyer's or on the seller's side."""
    rng = np.random.default_rng(11)
    value = np.cumsum(rng.normal(0, volatility / math.sqrt(trades), bars * trades))
    price = (100 * np.exp(value + spread / 2 * rng.choice([-1, 1], value.size))).reshape(bars, trades)
    return {"open": price[:, 0], "high": price.max(axis=1), "low": price.min(axis=1), "close": price[:, -1]}


def test_roll_by_its_formula(walk):
    returns, values = _steps(walk["close"]), microstructure.roll_spread(walk)
    for i in BARS:
        now, before = returns[i - 59 : i + 1], returns[i - 60 : i]
        covariance = np.mean(now * before) - now.mean() * before.mean()
        assert values[i] == pytest.approx(2 * math.sqrt(max(-covariance, 0)), abs=1e-12)
    assert np.isnan(values[:61]).all()
    assert np.isfinite(values[61:]).all()


def test_corwin_schultz_by_its_formula(walk):
    gapped = walk | {name: walk[name] * np.where(np.arange(1_400) % 7 == 0, 1.01, 1.0) for name in ("high", "low", "close")}
    high, low, close = gapped["high"], gapped["low"], gapped["close"]

    def pair(i):
        shift = max(low[i] - close[i - 1], 0) - max(close[i - 1] - high[i], 0)
        top, bottom = high[i] - shift, low[i] - shift
        beta = math.log(high[i - 1] / low[i - 1]) ** 2 + math.log(top / bottom) ** 2
        gamma = math.log(max(high[i - 1], top) / min(low[i - 1], bottom)) ** 2
        share = 3 - 2 * math.sqrt(2)
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / share - math.sqrt(gamma / share)
        return max(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)), 0)

    for i in BARS:
        expected = statistics.fmean(pair(j) for j in range(i - 59, i + 1))
        assert microstructure.corwin_schultz(gapped)[i] == pytest.approx(expected, rel=1e-9)


def test_abdi_ranaldo_by_its_formula(walk):
    high, low, close = (np.log(walk[name]) for name in ("high", "low", "close"))
    for i in BARS:
        products = [
            (close[j - 1] - (high[j - 1] + low[j - 1]) / 2) * (close[j - 1] - (high[j] + low[j]) / 2)
            for j in range(i - 59, i + 1)
        ]
        expected = math.sqrt(max(4 * statistics.fmean(products), 0))
        assert microstructure.abdi_ranaldo(walk)[i] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("estimate", [microstructure.roll_spread, microstructure.abdi_ranaldo], ids=["roll", "abdi_ranaldo"])
def test_a_known_spread_is_found(estimate):
    for spread in (0.004, 0.01):
        assert np.nanmedian(estimate(_traded(spread))) == pytest.approx(spread, rel=0.15)


def test_corwin_schultz_grows_with_the_spread_and_is_near_it_where_it_is_wide():
    found = [np.nanmedian(microstructure.corwin_schultz(_traded(spread))) for spread in (0.001, 0.004, 0.01)]
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(0.01, rel=0.15)


def test_amihud_counts_the_bars_that_traded(walk):
    volume = np.where(np.arange(1_400) % 3 == 0, 0.0, walk["volume"])
    returns, close = _steps(walk["close"]), walk["close"]
    values = microstructure.amihud({"close": close, "volume": volume})
    for i in BARS:
        terms = [abs(returns[j]) / (close[j] * volume[j]) for j in range(i - 59, i + 1) if volume[j]]
        assert len(terms) == 40
        assert values[i] == pytest.approx(statistics.fmean(terms), rel=1e-10)


def test_kyle_is_the_least_squares_slope_of_a_usual_bar(walk):
    returns, volume = _steps(walk["close"]), walk["volume"]
    for i in BARS:
        window = slice(i - 59, i + 1)
        flow = np.sign(returns[window]) * volume[window]
        slope = np.linalg.lstsq(flow[:, None], returns[window], rcond=None)[0][0]
        assert microstructure.kyle_lambda(walk)[i] == pytest.approx(slope * volume[window].mean(), rel=1e-9)


def test_kyle_finds_the_impact_of_a_market_moved_by_its_flow():
    rng = np.random.default_rng(3)
    volume = rng.lognormal(5, 1, 500)
    returns = 3e-6 * volume * rng.choice([-1, 1], 500)
    values = microstructure.kyle_lambda({"close": 100 * np.cumprod(1 + returns), "volume": volume})
    means = np.convolve(volume, np.full(60, 1 / 60), "valid")
    np.testing.assert_allclose(values[60:], 3e-6 * means[1:], rtol=1e-6)


def test_tick_direction_counts_closes_up_and_down():
    close = 100.0 + np.cumsum(np.tile([1, 1, 0, -1], 50))
    assert microstructure.tick_direction({"close": close})[60:] == pytest.approx(0.25)
    assert (microstructure.tick_direction({"close": np.arange(1.0, 100.0)})[60:] == 1.0).all()


def _bought_less_sold(close, volume, i):
    returns = _steps(close)
    sigma = math.sqrt(np.mean(returns[i - 59 : i + 1] ** 2))
    return volume[i] * (2 * norm.cdf(returns[i] / sigma) - 1)


def test_flow_imbalance_by_bulk_volume_classification(walk):
    close, volume = walk["close"], walk["volume"]
    values = microstructure.flow_imbalance(walk)
    for i in (119, *BARS[1:]):
        net = sum(_bought_less_sold(close, volume, j) for j in range(i - 59, i + 1))
        assert values[i] == pytest.approx(net / volume[i - 59 : i + 1].sum(), rel=1e-9)
    assert np.isnan(values[:119]).all()


def _dealt(share, volume, buckets):
    """VPIN of whole lots: every lot of every bar, newest bar first, is put into its bucket by hand."""
    lots = np.repeat(share[::-1], volume[::-1].astype(int))
    return np.mean([abs(np.mean(bucket)) for bucket in np.split(lots, buckets)])


def test_buckets_of_equal_volume_are_those_dealt_lot_by_lot():
    rng = np.random.default_rng(4)
    volume = 6.0 * rng.poisson(np.where(rng.random(700) < 0.1, 30, 2))  # any window divides into 6 buckets
    share = rng.uniform(-1, 1, 700)
    values = microstructure.bucket_imbalance(share, volume, 40, 6)
    assert np.isnan(values[:39]).all()
    for i in (39, 40, 294, 295, 296, 699):
        assert values[i] == pytest.approx(_dealt(share[i - 39 : i + 1], volume[i - 39 : i + 1], 6), rel=1e-9)


def test_one_bar_may_fill_many_buckets():
    volume, share = np.zeros(10), np.zeros(10)
    volume[4], share[4] = 7.0, -0.5
    np.testing.assert_allclose(microstructure.bucket_imbalance(share, volume, 10, 20)[9:], 0.5, rtol=1e-12)


def test_flow_that_keeps_its_side_is_toxic_and_flow_that_alternates_is_not():
    volume = np.ones(240)
    one_sided, alternating = np.ones(240), np.tile([1.0, -1.0], 120)
    assert microstructure.bucket_imbalance(one_sided, volume, 240, 20)[-1] == pytest.approx(1.0)
    assert microstructure.bucket_imbalance(alternating, volume, 240, 20)[-1] == pytest.approx(0.0, abs=1e-12)
    assert (microstructure.bucket_imbalance(one_sided, np.zeros(240), 240, 20)[-1:] == 0.0).all()


def test_vpin_is_the_bucket_imbalance_of_bulk_classified_volume(walk):
    close, volume = walk["close"], walk["volume"]
    values = microstructure.vpin(walk)
    for i in (299, 800, 1_399):
        share = np.array([_bought_less_sold(close, volume, j) / volume[j] for j in range(i - 239, i + 1)])
        lots = 20 * volume[i - 239 : i + 1]
        assert values[i] == pytest.approx(_dealt(share, lots, 20), rel=1e-9)
    assert np.isnan(values[:299]).all()


def test_trade_intensity_is_that_of_means(walk):
    volume, values = walk["volume"], microstructure.trade_intensity(walk)
    for i in BARS:
        assert values[i] == pytest.approx(volume[i - 4 : i + 1].mean() / volume[i - 59 : i + 1].mean(), rel=1e-12)
    burst = np.r_[np.zeros(95), np.ones(5)]
    assert microstructure.trade_intensity({"volume": burst})[-1] == pytest.approx(12.0)
    assert (microstructure.trade_intensity({"volume": burst[:95]})[59:] == 1.0).all()


def test_effective_spread_and_close_location_by_definition(walk):
    high, low, close = walk["high"], walk["low"], walk["close"]
    for i in BARS:
        window = range(i - 59, i + 1)
        spread = statistics.fmean(2 * abs(math.log(close[j]) - math.log(high[j] * low[j]) / 2) for j in window)
        place = statistics.fmean((2 * close[j] - high[j] - low[j]) / (high[j] - low[j]) for j in window)
        assert microstructure.effective_spread(walk)[i] == pytest.approx(spread, rel=1e-9)
        assert microstructure.close_location(walk)[i] == pytest.approx(place, rel=1e-9)


def test_price_impact_by_definition(walk):
    middle, close = np.log(walk["high"] * walk["low"]) / 2, walk["close"]
    for i in BARS:
        impacts = [2 * np.sign(close[j] - close[j - 1]) * (middle[j + 5] - middle[j]) for j in range(i - 64, i - 4)]
        assert microstructure.price_impact(walk)[i] == pytest.approx(statistics.fmean(impacts), rel=1e-8, abs=1e-12)


def test_price_impact_tells_moves_that_last_from_moves_that_bounce():
    lasting = 100 * np.exp(1e-3 * np.cumsum(np.repeat(np.tile([1, -1], 20), 50)))
    bouncing = 100.0 * (1 + 1e-3 * (np.arange(1_000) % 2))
    markets = [dict.fromkeys(("high", "low", "close"), close) for close in (lasting, bouncing)]
    impacts = [np.nanmean(microstructure.price_impact(columns)) for columns in markets]
    assert impacts[0] == pytest.approx(2 * 5e-3, rel=0.25)
    assert impacts[1] == pytest.approx(-2e-3, rel=0.01)
