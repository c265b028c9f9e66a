"""Arithmetic of class probabilities in the order short, neutral, long; each row is computed for itself alone.

Nothing here multiplies matrices: BLAS may round a row differently in another batch, and a batch of one has to
equal that row in a batch of many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLASSES = (-1, 0, 1)
FLOOR = 1e-4  # a class never seen may still come: one surprise then costs 9.2 nats, not infinity


def floored(scores: Floats, floor: float = FLOOR) -> Floats:
    """Make (n, 3) non-negative scores probabilities of at least about `floor`, rows summing to 1.

    Each row is normalised, then shrunk linearly towards equal shares, so the order of classes stays.

    Example:
        >>> floored(np.array([[0.0, 1.0, 3.0]]), floor=0.01).round(4).tolist()
        [[0.01, 0.2525, 0.7375]]
    """
    shares = scores / scores.sum(axis=1, keepdims=True)
    mixed: Floats = shares * (1 - scores.shape[1] * floor) + floor
    mixed /= mixed.sum(axis=1, keepdims=True)
    return mixed


def softmax(logits: Floats) -> Floats:
    """Probabilities of (n, 3) logits; safe for large ones."""
    raised: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    raised /= raised.sum(axis=1, keepdims=True)
    return raised


def up_probability(probabilities: Floats) -> Floats:
    """Probability that the upper barrier leads, (n,): all of long and half of neutral, which leans to neither side."""
    up: Floats = probabilities[:, 2] + 0.5 * probabilities[:, 1]
    return up


def expectation(probabilities: Floats, payoff: tuple[float, float, float]) -> Floats:
    """Probability-weighted mean of one payoff a class, (n,)."""
    mean: Floats = probabilities[:, 0] * payoff[0] + probabilities[:, 1] * payoff[1] + probabilities[:, 2] * payoff[2]
    return mean


def class_shares(label: NDArray[Any], weight: Floats | None = None) -> Floats:
    """Share of each class, (3,), with one row's weight added to each so that none is 0 (Laplace)."""
    counts = np.bincount(class_index(label), weights=weight, minlength=3).astype(np.float64)
    counts += 1.0 if weight is None or not len(weight) else float(np.mean(weight))
    shares: Floats = counts / counts.sum()
    return shares


def class_means(values: Floats, label: NDArray[Any]) -> tuple[float, float, float]:
    """Mean of `values` (n,) in each class; 0 for a class without rows."""
    index = class_index(label)
    means = [float(values[index == k].mean()) if (index == k).any() else 0.0 for k in range(3)]
    return means[0], means[1], means[2]


def class_index(label: NDArray[Any]) -> NDArray[np.int64]:
    """Column of the probabilities for labels -1, 0, 1: 0, 1, 2."""
    return np.asarray(label, dtype=np.int64) + 1
