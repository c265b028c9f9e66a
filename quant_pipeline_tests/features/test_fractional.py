"""Fractional differences against the definition, weight by weight."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import binom

from quant_pipeline.features import fractional
from quant_pipeline.features.registry import specs

SPECS = specs(("fractional",))

every_order = pytest.mark.parametrize(
    ("spec", "order"), list(zip(SPECS, fractional.ORDERS, strict=True)), ids=lambda x: str(x)[:4]
)


def _values(spec, close):
    return spec.function({"close": close})[0]


def _direct(close, order):
    """Every weight down to the tolerance on the log closes; those older than the window stand at its oldest close."""
    kept = []
    while abs(weight := (-1) ** len(kept) * binom(order, len(kept))) >= fractional.TOLERANCE:
        kept.append(weight)
    oldest = len(kept) - 1
    return math.fsum(weight * math.log(close[-1 - k] / close[-1 - oldest]) for k, weight in enumerate(kept)), len(kept)


def test_weights_are_the_signed_binomials():
    weights = fractional.difference_weights(0.4, 1e-3)
    np.testing.assert_allclose(weights, [(-1) ** k * binom(0.4, k) for k in range(weights.size)], rtol=1e-12)
    assert abs(weights[-1]) >= 1e-3 > abs(binom(0.4, weights.size))


@every_order
def test_by_definition(spec, order, walk):
    values = _values(spec, walk["close"])
    for i in (spec.lookback - 1, 700, 1_399):
        expected, bars = _direct(walk["close"][: i + 1], order)
        assert bars == spec.lookback
        assert values[i] == pytest.approx(expected, abs=1e-13)
    assert np.isnan(values[: spec.lookback - 1]).all()
    assert np.isfinite(values[spec.lookback - 1 :]).all()


@every_order
def test_a_single_jump_fades_as_a_power_of_its_age(spec, order):
    close = np.where(np.arange(900) < 450, 50.0, 100.0)
    values = _values(spec, close)
    assert values[449] == 0.0
    assert values[450] == pytest.approx(math.log(2))
    ages = np.arange(50, spec.lookback - 1)
    np.testing.assert_allclose(values[450 + ages], math.log(2) * ages**-order / math.gamma(1 - order), rtol=0.01)
    assert (values[450 + spec.lookback - 1 :] == 0.0).all()


def test_it_keeps_memory_that_returns_lose_and_the_price_has_in_full(walk):
    level = np.log(walk["close"])
    lost = abs(np.corrcoef(np.diff(level)[399:], level[400:])[0, 1])
    kept = [np.corrcoef(_values(spec, walk["close"])[400:], level[400:])[0, 1] for spec in SPECS]
    assert 0.999 > kept[0] > kept[1] > kept[2] > 3 * lost


def test_near_the_first_difference_it_is_the_return(walk):
    weights = np.cumsum(fractional.difference_weights(0.9999, 1e-6)[:-1])
    returns = np.diff(np.log(walk["close"]))
    np.testing.assert_allclose(fractional.weighted_sum(returns, weights)[50:], returns[50:], atol=5e-6)


def test_a_weighted_sum_is_nan_until_its_window_is_full():
    sums = fractional.weighted_sum(np.arange(600.0), np.array([1.0, 0.5, 0.25]))
    assert np.isnan(sums[:2]).all()
    assert sums[2:] == pytest.approx([i + 0.5 * (i - 1) + 0.25 * (i - 2) for i in range(2, 600)])
    assert np.isnan(fractional.weighted_sum(np.ones(2), np.ones(3))).all()
