"""Block bootstrap: resamples, block length, and coverage where rows depend on each other."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from quant_pipeline.errors import DataError
from quant_pipeline.validation import skill_kernels as kernels
from quant_pipeline.validation.bootstrap import (
    block_bootstrap,
    block_counts,
    block_length,
    expanded_tail,
    intervals,
    label_overlap,
    politis_white,
)
from quant_pipeline.validation.skill import METRICS, Forecasts


def autoregressive(rng: np.random.Generator, rows: int, rho: float) -> np.ndarray:
    return lfilter([1.0], [1.0, -rho], rng.standard_normal(rows + 300))[300:]


def null_forecasts(rng: np.random.Generator, rows: int, rho: float, horizon: int) -> Forecasts:
    """Persistent forecasts of overlapping returns that have nothing to do with them."""
    tilt = 0.3 * autoregressive(rng, rows, rho)
    p = np.exp(np.stack([-tilt, np.zeros(rows), tilt], axis=1))
    returns = np.convolve(rng.standard_normal(rows + horizon), np.ones(horizon), "valid")[:rows] / np.sqrt(horizon)
    label = np.where(returns > 0.7, 1, np.where(returns < -0.7, -1, 0)).astype(np.int8)
    return Forecasts(p / p.sum(axis=1, keepdims=True), label, returns, np.full(rows, np.nan))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 50), block=st.integers(1, 50), seed=st.integers(0, 99))
def test_counts_equal_a_list_of_drawn_rows(rows: int, block: int, seed: int) -> None:
    block = min(block, rows)
    starts = np.random.default_rng(seed).integers(0, rows, size=(3, -(-rows // block)))
    counts = block_counts(starts, rows, block)
    for b in range(3):
        drawn = [(start + k) % rows for start in starts[b] for k in range(block)][:rows]
        assert counts[b].tolist() == np.bincount(drawn, minlength=rows).tolist()


def test_same_seed_same_interval_other_seed_another() -> None:
    values = autoregressive(np.random.default_rng(0), 300, 0.5)
    mean = partial(kernels.means, values)
    first = block_bootstrap(mean, 300, block=10, seed=1)
    assert block_bootstrap(mean, 300, block=10, seed=1) == first
    assert block_bootstrap(mean, 300, block=10, seed=2).low != first.low
    assert first.low < first.value < first.high
    assert intervals({"a": mean, "b": mean}, 300, block=10, seed=1) == {"a": first, "b": first}


def test_chunks_do_not_change_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    values = autoregressive(np.random.default_rng(0), 300, 0.5)
    whole = block_bootstrap(partial(kernels.means, values), 300, block=7, resamples=200)
    monkeypatch.setattr("quant_pipeline.validation.bootstrap.CHUNK", 1_000)
    assert block_bootstrap(partial(kernels.means, values), 300, block=7, resamples=200) == whole


def test_independent_mean_has_students_interval() -> None:
    values = np.random.default_rng(5).standard_normal(40)
    found = block_bootstrap(partial(kernels.means, values), 40, block=1, resamples=20_000)
    low, high = stats.t.interval(0.95, 39, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
    assert found.error == pytest.approx(stats.sem(values), rel=0.03)


def test_percentile_widens_with_few_blocks() -> None:
    assert expanded_tail(0.025, 5) < expanded_tail(0.025, 20) < expanded_tail(0.025, 1e6) == pytest.approx(0.025, abs=1e-5)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_politis_white_finds_the_optimum_of_an_autoregression(rho: float) -> None:
    rows = 20_000
    found = np.median([politis_white(autoregressive(np.random.default_rng(seed), rows, rho)) for seed in range(7)])
    slope, spectrum = 2 * rho / (1 - rho) ** 2, (1 + rho) / (1 - rho)
    slope, spectrum = slope / (1 - rho**2), spectrum / (1 - rho**2)  # sum |k| cov(k), sum cov(k)
    best = (2 * slope**2 / (4 / 3 * spectrum**2)) ** (1 / 3) * rows ** (1 / 3)
    assert found == pytest.approx(best, rel=0.25)


def test_block_of_white_noise_is_the_overlap_and_never_more_than_an_eighth() -> None:
    white = np.random.default_rng(1).standard_normal(4_000)
    assert block_length(white, overlap=24) == 48
    assert block_length(white[:80], overlap=24) == 10
    assert block_length(np.ones(500)) == 2
    assert block_length(np.ones(3)) == 1


def test_overlap_counts_rows_that_a_label_outlives() -> None:
    decisions = np.arange(10, dtype=np.int64) * 60
    assert label_overlap(decisions, decisions + 60) == 1
    assert label_overlap(decisions, decisions + 300) == 5
    assert label_overlap(decisions, decisions + 301) == 6


@pytest.mark.parametrize(("rows", "rho", "horizon"), [(800, 0.9, 5), (1_200, 0.97, 12)])
def test_interval_covers_chance_where_rows_depend_on_each_other(rows: int, rho: float, horizon: int) -> None:
    worlds, covered, naive = 150, dict.fromkeys(("ic", "auc_direction", "ic_pearson"), 0), 0
    for seed in range(worlds):
        f = null_forecasts(np.random.default_rng(seed), rows, rho, horizon)
        evaluations = {name: partial(METRICS[name].evaluate, f) for name in covered}
        block = block_length(stats.rankdata(f.score) * stats.zscore(f.forward_return), horizon)
        found = intervals(evaluations, rows, block=block, resamples=250, seed=seed)
        for name, interval in found.items():
            covered[name] += interval.low <= METRICS[name].chance(f) <= interval.high
        rowwise = block_bootstrap(evaluations["ic"], rows, block=1, resamples=100, seed=seed)
        naive += rowwise.low <= 0 <= rowwise.high
    for name, count in covered.items():
        assert 0.89 <= count / worlds <= 0.99, (name, count / worlds)
    assert naive / worlds < 0.75  # drawing single rows would claim skill in every third null world


def test_undefined_values_and_too_few_blocks_have_no_interval() -> None:
    constant = block_bootstrap(lambda counts: np.full(len(counts), np.nan), 20, block=2)
    assert np.isnan([constant.value, constant.low, constant.error]).all()
    one = block_bootstrap(partial(kernels.means, np.arange(5.0)), 5, block=5)
    assert one.value == 2.0
    assert np.isnan([one.low, one.high]).all()


@pytest.mark.parametrize("wrong", [{"block": 0}, {"block": 21}, {"block": 2, "level": 1.0}, {"block": 2, "resamples": 0}])
def test_impossible_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="bootstrap"):
        block_bootstrap(partial(kernels.means, np.arange(20.0)), 20, **wrong)
