from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.errors import DataError
from quant_pipeline.sources.simulated import couplings, kernels, oracle, path, volatility
from quant_pipeline.sources.simulated.source import SimulatedSource

FIVE = timedelta(hours=5)
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
ALL = ("bars", "news", "macro")


def decisions(source, symbol, start=START, end=END, horizon=FIVE):
    return oracle.hourly_decisions(source.market(symbol), horizon, start, end)


def past_returns(source, symbol, decision_at, half_life=couplings.BARS_HALF_LIFE):
    """The state as an outsider computes it: from the feed alone, defects included."""
    feed = source.fetch(symbol, "1m", START, END).frame.unique("timestamp", keep="first").sort("timestamp")
    weighted = feed.select(
        known_at=pl.col("timestamp") + timedelta(minutes=1),
        value=pl.col("close").log().diff().fill_null(0).ewm_mean(half_life=half_life),
    )
    return pl.DataFrame({"known_at": decision_at}).join_asof(weighted, on="known_at")["value"].to_numpy()


def futures(state, rules, scale, *, deviation, gap, paths, seed):
    """Log return and last state of many continuations of one state, straight through the market's own kernel."""
    random, n = np.random.default_rng(seed), len(deviation)
    total = np.empty(paths)
    for run in range(paths):
        extra = np.zeros((3, n))
        jumps = random.random(n) < couplings.JUMPS_PER_MINUTE
        extra[0, jumps] = couplings.JUMP_SIZE * random.standard_normal(jumps.sum())
        prices, _ = kernels.walk(
            state.copy(), rules, scale, volatility.CALM, volatility.CUMULATIVE, volatility.MULTIPLIER, deviation,
            gap * random.standard_normal(n), random.standard_normal((3, n)), extra, 1 - random.random((3, n)),
        )  # fmt: skip
        total[run] = prices[3, -1] - prices[0, 0]
    return total


@pytest.mark.parametrize("regime", [0, 2])
def test_closed_form_equals_monte_carlo_through_a_gap(regime):
    rules = couplings.solve(path.World(bars_effect=0.3, news_effect=0.2, macro_effect=0.2), 0.02, 0.001)
    horizon, scale = 200, 3e-4
    deviation, gap = 1 + 0.5 * np.sin(np.arange(horizon)), np.zeros(horizon)
    gap[80] = 6.0
    state = np.zeros(kernels.STATES)
    x, n, m, h = 20.0, 2.0, -1.0, 0.4
    state[[kernels.BARS, kernels.NEWS, kernels.MACRO, kernels.VOLATILITY, kernels.REGIME]] = x, n, m, h, regime
    drawn = futures(state, rules, scale, deviation=deviation, gap=gap, paths=20_000, seed=regime)
    level, square = volatility.expected(horizon)
    mean, spread = kernels.expectation(
        np.array([[x], [n], [m], [h]]), np.array([regime]), np.array([0]), np.vstack(couplings.ahead(rules, horizon)),
        scale * level, scale**2 * square, volatility.MEMORY, deviation**2 + couplings.JUMP_VARIANCE, gap**2,
        rules.bars_memory + rules.bars, rules.bars,
    )  # fmt: skip
    error = drawn.std() / np.sqrt(len(drawn))
    assert mean[0] > 10 * error  # so that the comparison means something
    assert abs(drawn.mean() - mean[0]) < 4 * error
    assert drawn.std() == pytest.approx(spread[0], rel=0.04)


def test_expected_volatility_equals_monte_carlo():
    random, paths, horizon = np.random.default_rng(1), 40_000, 300
    regime, log_level = np.full(paths, 2), np.zeros(paths)
    for _ in range(horizon):
        regime = (random.random(paths)[:, None] > volatility.CUMULATIVE[regime, :2]).sum(axis=1)
        log_level = volatility.CALM[0] * log_level + volatility.CALM[1] * random.standard_normal(paths)
    drawn = volatility.MULTIPLIER[regime] * np.exp(log_level)
    level, square = volatility.expected(horizon)
    assert drawn.mean() == pytest.approx(level[-1, 2], rel=0.01)
    assert (drawn**2).mean() == pytest.approx(square[-1, 2], rel=0.015)


def test_forecasts_are_unbiased_and_about_as_good_as_the_closed_form_says(universe):
    said, came = [], []
    for seed in range(4):
        source = SimulatedSource(universe, seed=seed, news_effect=0.0, macro_effect=0.0)
        when = decisions(source, "BTC-USD")
        view = source.outlook("BTC-USD", when, FIVE)
        said.append((view["expected_return"] / view["deviation"]).to_numpy())
        came.append((oracle.forward_return(source.market("BTC-USD"), when, FIVE) / view["deviation"]).to_numpy())
    expected, forward = np.concatenate(said), np.concatenate(came)
    # about 35,000 overlapping hours are worth some 9,000 independent ones: 0.01 is one standard error of the correlation
    assert np.corrcoef(expected, forward)[0, 1] == pytest.approx(0.30, abs=0.035)
    assert np.polyfit(expected, forward, 1)[0] == pytest.approx(1.0, abs=0.12)
    assert (forward - expected).std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("symbol", ["GC=F", "SPY"])
def test_default_skill_at_five_hours_is_in_the_promised_range(universe, symbol):
    reached = [SimulatedSource(universe, seed=seed).best_reachable(symbol, FIVE, start=START, end=END) for seed in range(5)]
    assert 0.24 < np.mean([score.information_coefficient for score in reached]) < 0.33
    assert 0.60 < np.mean([score.auc for score in reached]) < 0.67
    assert 0.65 < np.mean([score.log_loss for score in reached]) < np.log(2) - 0.01
    assert min(score.rows for score in reached) > 1_500


def test_an_outsider_sees_the_state_in_the_feed(source):
    when = decisions(source, "GC=F", start=datetime(2024, 2, 1, tzinfo=UTC))
    view = source.outlook("GC=F", when, FIVE)
    strength = (view["expected_return"] / view["deviation"]).to_numpy()
    assert np.corrcoef(past_returns(source, "GC=F", when), strength)[0, 1] > 0.9


def test_null_oracle_is_exactly_zero_and_the_past_tells_nothing(null):
    when = decisions(null, "GC=F", start=datetime(2024, 1, 15, tzinfo=UTC))
    assert (null.expected_return("GC=F", when, FIVE, ALL) == 0).all()
    best = null.best_reachable("GC=F", FIVE, start=START, end=END, inputs=ALL)
    assert (best.auc, best.information_coefficient) == (0.5, 0.0)
    assert best.log_loss == pytest.approx(np.log(2))
    forward = oracle.forward_return(null.market("GC=F"), when, FIVE).to_numpy()
    state = past_returns(null, "GC=F", when)
    # the product of two overlapping windows: blocks of a day are all but independent
    product = (state - state.mean()) * (forward - forward.mean()) / (state.std() * forward.std())
    blocks = np.array([part.mean() for part in np.array_split(product, len(product) // 23)])
    assert abs(blocks.mean()) < 4 * blocks.std() / np.sqrt(len(blocks))
    assert 4 * blocks.std() / np.sqrt(len(blocks)) < 0.2  # a planted 0.3 would not pass


def test_more_inputs_say_more_when_their_effect_is_strong(universe):
    strong = SimulatedSource(universe, seed=7, signal=0.15, news_effect=0.3, macro_effect=0.2)
    bars, news, everything = (
        strong.best_reachable("BTC-USD", FIVE, start=START, end=END, inputs=inputs).information_coefficient
        for inputs in (("bars",), ("bars", "news"), ALL)
    )
    assert bars + 0.05 < news < everything


def test_news_and_macro_are_a_small_part_by_default(source):
    when = decisions(source, "BTC-USD")
    bars, news, macro = (source.expected_return("BTC-USD", when, FIVE, (name,)).to_numpy() for name in ALL)
    assert 0 < news.var() + macro.var() < 0.10 * bars.var()
    np.testing.assert_allclose(bars + news + macro, source.expected_return("BTC-USD", when, FIVE, ALL).to_numpy(), rtol=1e-9)


def test_a_forecast_does_not_depend_on_what_else_is_asked_or_on_what_comes_later(source):
    when = decisions(source, "SPY", start=datetime(2024, 1, 25, tzinfo=UTC), end=datetime(2024, 4, 1, tzinfo=UTC))
    together = source.outlook("SPY", when, FIVE, ALL)
    for row in (0, 7, 40, len(when) - 1):
        assert source.outlook("SPY", when[row : row + 1], FIVE, ALL).equals(together[row])


def test_the_trade_is_filled_after_the_decision_and_skips_closures(source):
    friday_close = pl.Series([datetime(2024, 1, 5, 21, tzinfo=UTC)]).cast(pl.Datetime("us", "UTC"))
    monday = source.fetch("SPY", "1m", datetime(2024, 1, 8, 14, 30, tzinfo=UTC), datetime(2024, 1, 8, 16, 30, tzinfo=UTC)).frame
    expected = np.log(monday["close"][-1] / monday["open"][0])
    assert oracle.forward_return(source.market("SPY"), friday_close, timedelta(hours=2))[0] == pytest.approx(expected)


def test_hourly_decisions_are_full_hours_and_closes_whose_trade_has_ended(source):
    when = decisions(source, "SPY", datetime(2024, 7, 2, tzinfo=UTC), datetime(2024, 7, 4, tzinfo=UTC), timedelta(hours=2))
    # 3 July closes early, at 17:00; two trading hours before that is 15:00, so 15:30 comes too late
    hours = [(2, hour, 30) for hour in range(14, 20)] + [(2, 20, 0), (3, 14, 30)]
    assert [(at.day, at.hour, at.minute) for at in when] == hours


def test_scores_on_chosen_rows_equal_those_of_the_span(source):
    span = source.best_reachable("GC=F", FIVE, start=datetime(2024, 3, 1, tzinfo=UTC), end=datetime(2024, 4, 1, tzinfo=UTC))
    when = decisions(source, "GC=F", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))
    assert source.reachable_at("GC=F", when, FIVE) == span
    assert span.rows == len(when)


def test_rows_before_the_market_are_null(source):
    when = pl.Series([datetime(2023, 12, 1, tzinfo=UTC), START, None, datetime(2024, 1, 3, tzinfo=UTC)]).cast(
        pl.Datetime("us", "UTC")
    )
    assert source.expected_return("BTC-USD", when, FIVE).is_null().to_list() == [True, True, True, False]


def test_senseless_questions_are_refused(source):
    with pytest.raises(DataError, match="whole minutes"):
        source.best_reachable("GC=F", timedelta(seconds=90), start=START, end=END)
    with pytest.raises(DataError, match="inputs"):
        source.best_reachable("GC=F", FIVE, start=START, end=END, inputs=("tea leaves",))
    with pytest.raises(DataError, match="at least 2"):
        source.best_reachable("GC=F", FIVE, start=START, end=START + timedelta(hours=2))
