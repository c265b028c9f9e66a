"""A small LightGBM whose trees can be walked with some columns shuffled, which is what permutation importance asks for.

Shuffling a cluster of columns changes only the trees that split on one of them, a few of a hundred and fifty. Walking
those alone makes the cost of all clusters together that of a few whole predictions, where a library call for each would
cost a whole prediction each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.jit import compiled
from quant_pipeline.labels.weights import mean_one

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Values = NDArray[np.float32]

CLASSES = 3
ROUNDS = 50
THREADS = 1
"""As in boosting/lightgbm.py: sums of histograms round by thread, and threads that wait spin."""
SETTINGS: dict[str, Any] = {
    "objective": "multiclass", "num_class": CLASSES, "verbosity": -1, "learning_rate": 0.05, "num_leaves": 8, "max_bin": 31,
    "min_data_in_leaf": 30, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 1.0,
    # few columns at each tree, so that a column is not hidden by a stronger one (AFML section 8.3.1)
    "feature_fraction": 0.2, "deterministic": True, "force_row_wise": True, "num_threads": THREADS,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid flat; tree k scores class k modulo 3.

    Attributes:
        roots: (trees,) node of each tree's root.
        feature: (nodes,) column that a node splits on, -1 for a leaf.
        threshold: (nodes,) the largest value that goes left.
        missing: (nodes,) where NaN goes: 0 to the left, 1 to the right, 2 as the value zero (none seen in training).
        children: (nodes, 2) left and right node.
        value: (nodes,) score of a leaf.
        gains: (columns,) loss that the splits on each column saved.
    """

    roots: Ints
    feature: Ints
    threshold: FloatArray
    missing: Ints
    children: Ints
    value: FloatArray
    gains: FloatArray

    def leaves(self, columns: Values) -> FloatArray:
        """(trees, n) score that each tree gives each row of (columns, n): by column, so that a tree reads few cache lines."""
        return _leaves(self.roots, self.feature, self.threshold, self.missing, self.children, self.value, columns)

    def shuffled(self, columns: Values, leaves: FloatArray, cluster: Ints, wanted: int, order: Ints) -> FloatArray:
        """(n, 3) change of the scores when the columns of cluster `wanted` come from other rows.

        Args:
            columns: (columns, n) values.
            leaves: what `leaves` says of them.
            cluster: (columns,) number of each column's cluster.
            wanted: the cluster that is shuffled.
            order: (n,) row that each row takes those columns from.
        """
        nodes = np.flatnonzero((self.feature >= 0) & (cluster[self.feature] == wanted))
        touched = np.unique(np.searchsorted(self.roots, nodes, side="right") - 1)
        return _shuffled(self.roots, self.feature, self.threshold, self.missing, self.children, self.value, columns,
                         leaves, touched, cluster == wanted, order)  # fmt: skip


def scores(leaves: FloatArray) -> FloatArray:
    """(n, 3) sums over the trees of each class, before their softmax."""
    return np.stack([leaves[k::CLASSES].sum(axis=0) for k in range(CLASSES)], axis=1)


def grow(values: Values, index: Ints, weight: FloatArray, seed: int) -> Forest:
    """Boost `ROUNDS` times three small trees on (n, columns), class index 0 to 2 and (n,) weights of any scale."""
    import lightgbm

    settings = SETTINGS | {"seed": seed}
    data = lightgbm.Dataset(values, index, weight=mean_one(weight), params=settings, free_raw_data=True)
    booster = lightgbm.train(settings, data, ROUNDS)
    gains = np.asarray(booster.feature_importance("gain"), dtype=np.float64)
    return _flat([tree["tree_structure"] for tree in booster.dump_model()["tree_info"]], gains)


def _flat(trees: list[dict[str, Any]], gains: FloatArray) -> Forest:
    rows: list[tuple[int, float, int, float]] = []
    children: list[list[int]] = []

    def lay(node: dict[str, Any]) -> int:
        place = len(rows)
        children.append([-1, -1])
        if "split_feature" not in node:
            rows.append((-1, np.nan, 0, node["leaf_value"]))
            return place
        missing = 2 if node["missing_type"] != "NaN" else int(not node["default_left"])
        rows.append((node["split_feature"], node["threshold"], missing, np.nan))
        children[place][:] = lay(node["left_child"]), lay(node["right_child"])
        return place

    roots = [lay(tree) for tree in trees]
    feature, threshold, missing, value = (np.asarray(part) for part in zip(*rows, strict=True))
    return Forest(np.asarray(roots), feature.astype(np.int64), threshold.astype(np.float64), missing.astype(np.int64),
                  np.asarray(children), value.astype(np.float64), gains)  # fmt: skip


@compiled
def _side(value: float, threshold: float, missing: int) -> int:
    if np.isnan(value):
        if missing != 2:  # noqa: PLR2004 - the code of `Forest.missing`
            return missing
        value = 0.0
    return 0 if value <= threshold else 1


@compiled
def _leaves(
    roots: Ints, feature: Ints, threshold: FloatArray, missing: Ints, children: Ints, value: FloatArray, columns: Values
) -> FloatArray:
    out = np.empty((roots.size, columns.shape[1]))
    for k in range(roots.size):
        for i in range(columns.shape[1]):
            node = roots[k]
            while feature[node] >= 0:
                node = children[node, _side(columns[feature[node], i], threshold[node], missing[node])]
            out[k, i] = value[node]
    return out


@compiled
def _shuffled(
    roots: Ints, feature: Ints, threshold: FloatArray, missing: Ints, children: Ints, value: FloatArray, columns: Values,
    leaves: FloatArray, touched: Ints, moved: Flags, order: Ints,
) -> FloatArray:  # fmt: skip
    out = np.zeros((columns.shape[1], CLASSES))
    for k in touched:
        for i in range(columns.shape[1]):
            node = roots[k]
            while feature[node] >= 0:
                column = feature[node]
                row = order[i] if moved[column] else i
                node = children[node, _side(columns[column, row], threshold[node], missing[node])]
            out[i, k % CLASSES] += value[node] - leaves[k, i]
    return out
