"""Measures of worth against scipy, scikit-learn and their definitions; purged blocks against a rebuilt one."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import log_loss, mutual_info_score

from quant_pipeline.config.selection import SelectionSettings
from quant_pipeline.models.preparation.forest import grow, scores
from quant_pipeline.models.preparation.importance import BINS, clusters, importance, mutual_information, ranks, spearman
from quant_pipeline.validation.purging import Windows

ROWS = 1_200
HOUR = 3_600_000_000
SETTINGS = SelectionSettings(folds=3, permutations=2, embargo=timedelta(0))


@pytest.fixture(scope="module")
def values():
    """Column 0 decides; 1 and 2 are nearly column 0; 3 has gaps, 4 many ties; the rest is noise."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(ROWS, 12)).astype(np.float32)
    for twin in (1, 2):
        table[:, twin] = table[:, 0] + 0.2 * table[:, twin]
    table[rng.random(ROWS) < 0.3, 3] = np.nan
    table[:, 4] = np.round(table[:, 4])
    return table


@pytest.fixture(scope="module")
def index(values):
    outcome = values[:, 0] + 0.7 * np.random.default_rng(2).normal(size=ROWS)
    return np.digitize(outcome, [-0.5, 0.5])


@pytest.fixture(scope="module")
def windows():
    at = np.arange(ROWS) * HOUR
    return Windows(at, at + 5 * HOUR)


def test_ranks_are_those_of_scipy(values):
    ours = ranks(values)
    theirs = scipy.stats.rankdata(values, axis=0, nan_policy="omit").T
    present = (~np.isnan(values)).sum(axis=0)[:, None]
    np.testing.assert_allclose(ours, (theirs - 0.5) / present, atol=1e-12)
    assert np.isnan(ours[3]).any()


def test_rank_correlations_are_those_of_scipy(values):
    whole = np.delete(values, 3, axis=1)
    np.testing.assert_allclose(spearman(ranks(whole)), scipy.stats.spearmanr(whole).statistic, atol=1e-8)


def test_a_gap_counts_as_the_middle(values):
    filled = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
    assert spearman(ranks(values))[3, 5] == pytest.approx(scipy.stats.spearmanr(filled[:, 3], filled[:, 5]).statistic, abs=0.02)


def test_mutual_information_is_that_of_scikit_learn_less_its_bias(values, index):
    ours = mutual_information(ranks(values), index, 3)
    for j in (0, 1, 3, 4):
        column = values[:, j]
        rank = scipy.stats.rankdata(column, nan_policy="omit")
        bins = np.where(np.isnan(column), BINS, np.floor(BINS * (rank - 0.5) / (~np.isnan(column)).sum()))
        bias = (np.unique(bins).size - 1) * 2 / (2 * ROWS)
        assert ours[j] == pytest.approx(max(mutual_info_score(bins, index) - bias, 0.0), abs=1e-12)
    assert ours[0] > 0.3
    assert ours[5:].max() < 0.02


def test_mutual_information_of_one_class_and_of_the_class_itself():
    index = np.arange(300) % 3
    ranked = ranks(index[:, None].astype(np.float32))
    assert mutual_information(ranked, np.zeros(300, dtype=np.int64), 3).tolist() == [0.0]
    assert mutual_information(ranked, index, 3)[0] == pytest.approx(np.log(3) - 4 / 600)


def test_columns_that_say_the_same_share_a_cluster(values):
    found = clusters(spearman(ranks(values)))
    assert found[0] == found[1] == found[2]
    assert np.unique(found).size == 10
    assert set(found) == set(range(10))
    assert clusters(np.ones((1, 1))).tolist() == [0]
    assert clusters(np.array([[1.0, -0.9], [-0.9, 1.0]])).tolist() == [0, 0]


def test_a_block_by_definition(values, index, windows):
    """The middle block of three: trees from the rows whose labels end before it or that begin after its labels."""
    cluster, weight = clusters(spearman(ranks(values))), np.random.default_rng(3).uniform(0.5, 2, ROWS)
    told = importance(values, index, weight, windows, cluster, SETTINGS, seed=6)
    block = np.arange(400, 800)
    outside = np.r_[0:396, 804:ROWS]  # five hours: a label that ends as the block begins is known, one that begins as it ends too
    forest = grow(values[outside], index[outside], weight[outside], 6)
    np.testing.assert_allclose(told.mdi[1], forest.gains / forest.gains.sum())
    rng = np.random.default_rng([6, 400])
    orders = [rng.permutation(400) for _ in range(2)]

    def loss(table):
        scored = scores(forest.leaves(np.ascontiguousarray(table.T)))
        chance = np.exp(scored) / np.exp(scored).sum(axis=1, keepdims=True)
        return log_loss(index[block], chance, sample_weight=weight[block])

    seen = values[block]
    for column in (0, 1, 4, 7):
        losses = [loss(np.where(cluster == cluster[column], seen[order], seen)) for order in orders]
        assert told.mda[1, column] == pytest.approx(np.mean(losses) - loss(seen), abs=1e-9)


def test_substitutes_do_not_hide_each_other(values, index, windows):
    together = clusters(spearman(ranks(values)))
    one_by_one = np.arange(12)
    shared, alone = (
        importance(values, index, np.ones(ROWS), windows, cluster, SETTINGS, seed=1).mda.mean(axis=0)
        for cluster in (together, one_by_one)
    )
    assert shared[0] == shared[1] == shared[2]
    assert shared[0] > 2 * alone[0] > 0
    assert np.abs(shared[5:]).max() < shared[0] / 20


def test_labels_of_a_block_are_not_seen_by_the_trees_that_it_judges(values, index, windows):
    """Other labels in the block and in the rows whose windows touch it: the gains of its trees stay."""
    cluster = np.arange(12)
    changed = index.copy()
    changed[396:804] = 2 - changed[396:804]
    first, second = (importance(values, told, np.ones(ROWS), windows, cluster, SETTINGS, seed=1) for told in (index, changed))
    assert np.array_equal(first.mdi[1], second.mdi[1])
    assert not np.array_equal(first.mdi[0], second.mdi[0])
    assert not np.array_equal(first.mda[1], second.mda[1])


def test_the_embargo_takes_more_rows(values, index, windows):
    wide = SETTINGS.model_copy(update={"embargo": timedelta(hours=48)})
    first, second = (importance(values, index, np.ones(ROWS), windows, np.arange(12), s, seed=1) for s in (SETTINGS, wide))
    assert not np.array_equal(first.mdi, second.mdi)
