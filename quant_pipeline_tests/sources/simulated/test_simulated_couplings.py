from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from quant_pipeline.errors import ConfigError
from quant_pipeline.sources.simulated.couplings import (
    HORIZON,
    JUMP_VARIANCE,
    Couplings,
    ahead,
    closed_form_ic,
    decay,
    long_run_gain,
    solve,
)
from quant_pipeline.sources.simulated.world import World


def step_by_step(rules: Couplings, horizon: int, x: float, n: float, m: float) -> list[float]:
    expected = []
    for _ in range(horizon):
        y = rules.bars * x + rules.news * n + rules.macro * m
        x, n, m = rules.bars_memory * x + y, rules.news_memory * n, rules.macro_memory * m
        expected.append(y)
    return expected


@pytest.mark.parametrize("state", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (3.0, -2.0, 0.5)])
def test_ahead_is_the_system_left_alone(state):
    rules = solve(World(), 0.02, 0.001)
    coming = ahead(rules, 400)
    total = sum(weight * value for weight, value in zip(coming, state, strict=True))
    np.testing.assert_allclose(total, step_by_step(rules, 400, *state), rtol=1e-9)


@pytest.mark.parametrize("effect", [0.02, 0.15, 0.30, 0.45])
def test_solved_strength_reaches_the_asked_information_coefficient(effect):
    rules = solve(World(bars_effect=effect), 0.02, 0.001)
    assert closed_form_ic(rules, HORIZON) == pytest.approx(effect, abs=1e-9)


def test_closed_form_equals_a_long_simulation():
    rules = solve(World(bars_effect=0.3), 0.02, 0.001)
    shock = np.random.default_rng(5).standard_normal(6_000_000) * np.sqrt(1 + JUMP_VARIANCE)
    x = lfilter([1.0], [1.0, -(rules.bars_memory + rules.bars)], shock)
    y = shock[1:] + rules.bars * x[:-1]
    total = np.cumsum(np.concatenate([[0.0], y]))
    forward = total[HORIZON:] - total[:-HORIZON]
    measured = np.corrcoef(x[: len(forward)], forward)[0, 1]
    assert measured == pytest.approx(0.3, abs=0.015)  # 6e6 minutes hold about 15,000 independent windows


@pytest.mark.parametrize(
    ("name", "memory", "variance"), [("news_effect", "news_memory", 0.02), ("macro_effect", "macro_memory", 0.001)]
)
def test_other_inputs_alone_reach_their_effect(name, memory, variance):
    rules = solve(World(bars_effect=0.0, **{name: 0.2}), 0.02, 0.001)
    weight = getattr(ahead(rules, HORIZON), name.split("_")[0]).sum()
    predictable = weight**2 * variance / (1 - getattr(rules, memory) ** 2)
    assert np.sqrt(predictable / (HORIZON * (1 + JUMP_VARIANCE))) == pytest.approx(0.2, abs=1e-9)


def test_nothing_planted_is_exactly_nothing():
    rules = solve(World(bars_effect=0.0, news_effect=0.0, macro_effect=0.0), 0.02, 0.001)
    assert (rules.bars, rules.news, rules.macro) == (0.0, 0.0, 0.0)
    assert long_run_gain(rules) == 1


def test_more_than_the_system_can_carry_is_refused():
    with pytest.raises(ConfigError, match="an information coefficient from 0 to"):
        solve(World(bars_effect=0.9), 0.02, 0.001)


def test_decay_halves():
    assert decay(120) ** 120 == pytest.approx(0.5)
