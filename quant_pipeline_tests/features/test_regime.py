"""Regimes against their definitions bar by bar, and on markets whose regime is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import percentileofscore

from quant_pipeline.features import regime


def _of(close):
    return dict(zip(regime.MEANINGS, regime.regimes({"close": close}), strict=True))


def _measures(close, i):
    """Variance, efficiency and variance ratio at bar `i`, by their formulas."""
    level = np.log(close)
    moves = np.diff(close[i - 20 : i + 1])
    short = np.array([level[j] - level[j - 1] for j in range(i - 99, i + 1)])
    long = np.array([level[j] - level[j - 5] for j in range(i - 99, i + 1)])
    return np.mean(short[-20:] ** 2), abs(moves.sum()) / np.abs(moves).sum(), np.mean(long**2) / (5 * np.mean(short**2))


@pytest.mark.parametrize("bar", [353, 354, 600, 1_399])
def test_by_definition(walk, bar):
    close = walk["close"]
    past = np.array([_measures(close, j) for j in range(bar - 249, bar + 1)])
    volatility, trend, structure = (percentileofscore(column, column[-1], kind="mean") / 100 for column in past.T)
    direction = np.sign(close[bar] - close[bar - 20])
    third = [-1 if rank < 1 / 3 else int(rank > 2 / 3) for rank in (volatility, structure)]
    expected = {
        "volatility_regime": third[0],
        "trend_regime": direction * (trend > 2 / 3),
        "structure_regime": third[1],
        "composite_regime": direction * (trend + structure + 1 - volatility) / 3,
        "regime_score": np.mean([abs(2 * rank - 1) for rank in (volatility, trend, structure)]),
    }
    assert {name: values[bar] for name, values in _of(close).items()} == pytest.approx(expected, abs=1e-12)


def test_rank_is_that_of_scipy_with_ties():
    values = np.random.default_rng(1).integers(0, 12, 700).astype(float)
    ranks = regime.rolling_rank(values, 50)
    assert np.isnan(ranks[:49]).all()
    expected = [percentileofscore(values[i - 49 : i + 1], values[i], kind="mean") / 100 for i in range(49, 700)]
    np.testing.assert_allclose(ranks[49:], expected, atol=1e-12)


def test_efficiency_of_straight_and_of_turning_markets():
    assert regime.efficiency(np.arange(100.0, 200.0))[20:] == pytest.approx(1.0)
    assert (regime.efficiency(100.0 + np.arange(100) % 2)[20:] == 0.0).all()


def test_variance_ratio_of_drifting_random_and_reverting_markets():
    noise = 1e-3 * np.random.default_rng(2).normal(size=20_000)
    drift, walk, revert = (np.exp(path) for path in (0.01 * np.arange(300), np.cumsum(noise), noise))
    assert regime.variance_ratio(drift)[104:] == pytest.approx(5.0)
    assert regime.variance_ratio(walk)[104:].mean() == pytest.approx(1.0, abs=0.05)
    assert regime.variance_ratio(revert)[104:].mean() == pytest.approx(0.2, abs=0.05)


def test_each_third_is_equally_common():
    of = _of(np.exp(1e-3 * np.cumsum(np.random.default_rng(3).normal(size=20_000))))
    for name in ("volatility_regime", "structure_regime"):
        shares = [(of[name][353:] == value).mean() for value in (-1, 0, 1)]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.08)
    assert np.mean(of["trend_regime"][353:] != 0) == pytest.approx(1 / 3, abs=0.08)


def test_a_market_that_wakes_up_and_falls():
    moves = 1e-3 * np.random.default_rng(4).normal(size=600)
    moves[560:] -= 5e-3
    of = {name: values[590] for name, values in _of(np.exp(np.cumsum(moves))).items()}
    assert (of["volatility_regime"], of["trend_regime"], of["structure_regime"]) == (1.0, -1.0, 1.0)
    assert of["composite_regime"] < -0.5
    assert of["regime_score"] > 0.9


def test_a_still_market_is_usual_in_all():
    values = regime.regimes({"close": np.full(500, 12.3)})
    assert np.isnan(values[:, :353]).all()
    assert (values[:, 353:] == 0.0).all()
