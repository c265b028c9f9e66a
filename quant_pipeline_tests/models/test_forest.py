"""The flat forest against LightGBM's own predictions, whole and with columns shuffled."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from quant_pipeline.models.preparation.forest import ROUNDS, SETTINGS, grow, scores

ROWS = 900


@pytest.fixture(scope="module")
def problem():
    """Values with gaps in column 1, a class index and weights."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(ROWS, 8)).astype(np.float32)
    outcome = values[:, 0] + values[:, 1] ** 2 + 0.5 * rng.normal(size=ROWS)
    values[rng.random(ROWS) < 0.2, 1] = np.nan
    return values, np.digitize(outcome, [0.3, 1.5]), rng.uniform(0.5, 2, ROWS)


@pytest.fixture(scope="module")
def forest(problem):
    return grow(*problem, seed=4)


@pytest.fixture(scope="module")
def booster(problem):
    values, index, weight = problem
    settings = SETTINGS | {"seed": 4}
    return lightgbm.train(settings, lightgbm.Dataset(values, index, weight=weight / weight.mean(), params=settings), ROUNDS)


def _holes(values):
    """Gaps in every column, also in those that had none in training."""
    gone = np.random.default_rng(3).random(values.shape) < 0.3
    return np.where(gone, np.float32(np.nan), values)


@pytest.mark.parametrize("change", [lambda values: values, _holes, np.zeros_like])
def test_scores_are_those_of_lightgbm(change, problem, forest, booster):
    values = change(problem[0])
    ours = scores(forest.leaves(np.ascontiguousarray(values.T)))
    np.testing.assert_allclose(ours, booster.predict(values, raw_score=True), atol=1e-12)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_a_shuffled_cluster_scores_as_a_table_with_shuffled_columns(wanted, problem, forest, booster):
    values = _holes(problem[0])
    cluster, order = np.array([0, 1, 1, 2, 0, 2, 2, 2]), np.random.default_rng(5).permutation(ROWS)
    columns = np.ascontiguousarray(values.T)
    leaves = forest.leaves(columns)
    ours = scores(leaves) + forest.shuffled(columns, leaves, cluster, wanted, order)
    table = np.where(cluster == wanted, values[order], values)
    np.testing.assert_allclose(ours, booster.predict(table, raw_score=True), atol=1e-12)


def test_gains_are_those_of_lightgbm(forest, booster):
    assert np.array_equal(forest.gains, booster.feature_importance("gain"))
    assert forest.gains[0] > 5 * forest.gains[3:].max()


def test_a_cluster_without_splits_changes_nothing(problem, forest):
    columns = np.ascontiguousarray(problem[0].T)
    changed = forest.shuffled(columns, forest.leaves(columns), np.zeros(8, dtype=np.int64), 1, np.arange(ROWS)[::-1].copy())
    assert not changed.any()


def test_trees_without_a_split_are_leaves():
    few = np.zeros((60, 2), dtype=np.float32)
    forest = grow(few, np.arange(60) % 3, np.ones(60), seed=0)
    assert (forest.feature == -1).all()
    assert scores(forest.leaves(few.T.copy())).shape == (60, 3)


def test_only_the_ratios_of_weights_count(problem):
    values, index, weight = problem
    one, other = (grow(values, index, factor * weight, 3) for factor in (1.0, 64.0))
    assert np.array_equal(one.value, other.value, equal_nan=True)
    assert np.array_equal(one.threshold, other.threshold, equal_nan=True)
