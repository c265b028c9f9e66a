"""What a column is worth on training rows: mutual information, mean decrease in impurity, mean decrease in accuracy.

Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 8. Impurity is measured in the sample; accuracy, here
the log-loss, out of it, on purged blocks. Columns that say the same thing are shuffled together (clustered importance, Lopez
de Prado, Machine Learning for Asset Managers, 2020, chapter 6): shuffled one by one, each would be replaced by the others,
and all would look worthless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.jit import compiled
from quant_pipeline.models.preparation.forest import Ints, Values, grow, scores
from quant_pipeline.validation.purging import Windows, removed_by

if TYPE_CHECKING:
    from quant_pipeline.config.selection import SelectionSettings

BINS = 10
"""Quantile bins of a column: some hundred rows in each of a few thousand."""
ALIKE = 0.5
"""Spearman correlation in size above which, on average, columns share a cluster."""


class Importance(NamedTuple):
    """By block and column, (folds, F) each.

    Attributes:
        mdi: share of the gain of the trees grown outside the block; rows sum to 1, or to 0 where nothing was split.
        mda: log-loss in nats that the block loses when the column's cluster is shuffled; negative where the trees are
            better off without it.
    """

    mdi: FloatArray
    mda: FloatArray


def ranks(values: Values) -> FloatArray:
    """(F, n) rank of each value of (n, F) in its column, 0 to 1, ties sharing their mean; NaN stays NaN."""
    columns = np.ascontiguousarray(values.T)
    return _ranks(columns, np.argsort(columns, axis=1))


@compiled
def _ranks(columns: Values, order: Ints) -> FloatArray:
    out = np.full(columns.shape, np.nan)
    for j in range(columns.shape[0]):
        column, rows = columns[j], order[j]
        present = rows.size
        while present > 0 and np.isnan(column[rows[present - 1]]):  # NaN sort last
            present -= 1
        first = 0
        while first < present:
            last = first
            while last + 1 < present and column[rows[last + 1]] == column[rows[first]]:
                last += 1
            for place in range(first, last + 1):
                out[j, rows[place]] = (0.5 * (first + last) + 0.5) / present
            first = last + 1
    return out


def spearman(ranked: FloatArray) -> FloatArray:
    """(F, F) rank correlations of (F, n) ranks, to nine decimals; a missing value counts as the middle of its column."""
    centred = np.nan_to_num(ranked - np.nanmean(ranked, axis=1, keepdims=True))
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit = centred / np.where(length > 0, length, 1.0)
    together: FloatArray = np.round(unit @ unit.T, 9)  # what a BLAS rounds differently must not decide
    return together


@compiled
def mutual_information(ranked: FloatArray, index: Ints, classes: int) -> FloatArray:
    """(F,) nats that each column tells of the class: plug-in estimate on `BINS` quantile bins, NaN in one of its own.

    The bias of the estimate, (bins - 1)(classes - 1) / 2n (Miller, 1955), is subtracted; what falls below zero is zero.
    """
    n = index.size
    out = np.zeros(ranked.shape[0])
    for j in range(ranked.shape[0]):
        joint = np.zeros((BINS + 1, classes))
        for i in range(n):
            place = BINS if np.isnan(ranked[j, i]) else min(int(ranked[j, i] * BINS), BINS - 1)
            joint[place, index[i]] += 1.0
        rows, columns = joint.sum(axis=1), joint.sum(axis=0)
        total = 0.0
        for a in range(BINS + 1):
            for b in range(classes):
                if joint[a, b] > 0.0:
                    total += joint[a, b] / n * np.log(joint[a, b] * n / (rows[a] * columns[b]))
        freedom = max((rows > 0.0).sum() - 1, 0) * max((columns > 0.0).sum() - 1, 0)
        out[j] = max(total - freedom / (2.0 * n), 0.0)
    return out


def clusters(correlation: FloatArray) -> Ints:
    """(F,) number of each column's cluster: average linkage on 1 - |Spearman|, cut where columns are no longer `ALIKE`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(correlation) == 1:
        return np.zeros(1, dtype=np.int64)
    distance = np.clip(1.0 - np.abs(correlation), 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    return np.asarray(fcluster(tree, 1.0 - ALIKE, "distance"), dtype=np.int64) - 1


def importance(
    values: Values, index: Ints, weight: FloatArray, windows: Windows, cluster: Ints, settings: SelectionSettings, seed: int
) -> Importance:
    """Measure every column on `settings.folds` blocks in time order, each by trees grown on the rows purged of it.

    Args:
        values: (n, F) training rows in time order.
        index: (n,) class 0, 1 or 2.
        weight: (n,) sample weights, of the trees and of the losses.
        windows: (n,) decision and `label_end` of each row.
        cluster: (F,) from `clusters`.
        settings: folds, embargo and permutations.
        seed: of the trees and the shuffles.
    """
    blocks = np.array_split(np.arange(len(index)), settings.folds)
    told = [_of_block(block, values, index, weight, windows, cluster, settings, seed) for block in blocks]
    return Importance(np.stack([mdi for mdi, _ in told]), np.stack([mda for _, mda in told]))


def _of_block(
    block: Ints, values: Values, index: Ints, weight: FloatArray, windows: Windows, cluster: Ints,
    settings: SelectionSettings, seed: int,
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """(F,) gain shares and (F,) losses of one block."""
    outside = ~removed_by([block], windows, settings.embargo).either
    forest = grow(values[outside], index[outside], weight[outside], seed)
    columns, labels, weights = np.ascontiguousarray(values[block].T), index[block], weight[block]
    leaves = forest.leaves(columns)
    scored, rng = scores(leaves), np.random.default_rng([seed, int(block[0])])
    orders = [rng.permutation(block.size) for _ in range(settings.permutations)]
    base, losses = _loss(scored, labels, weights), np.zeros(int(cluster.max()) + 1)
    for wanted in np.unique(cluster[forest.gains > 0]):
        changes = [forest.shuffled(columns, leaves, cluster, int(wanted), order) for order in orders]
        losses[wanted] = np.mean([_loss(scored + change, labels, weights) for change in changes]) - base
    return forest.gains / max(float(forest.gains.sum()), np.finfo(np.float64).tiny), losses[cluster]


@compiled
def _loss(scored: FloatArray, index: Ints, weight: FloatArray) -> float:
    """Weighted mean log-loss, nats, of (n, 3) scores before their softmax."""
    total, weights = 0.0, 0.0
    for i in range(index.size):
        top = scored[i].max()
        spread = 0.0
        for k in range(scored.shape[1]):
            spread += np.exp(scored[i, k] - top)
        total += weight[i] * (top + np.log(spread) - scored[i, index[i]])
        weights += weight[i]
    return total / max(weights, 1e-300)
