"""Stacking: a small penalised model over the base models' log-probabilities, fitted on out-of-fold rows.

Each base model gives two contrasts: direction, (log p_long - log p_short) / 2, and activity, the mean of those two
logs less log p_neutral. Hours of much movement are easy to foretell and its sign hardly is, so a model may be trusted
in one and not in the other. Both meta-learners see these 2M contrasts, not 3M collinear log-probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.errors import ConfigError
from quant_pipeline.models.contract import Floats
from quant_pipeline.models.probabilities import class_index, class_shares, floored, softmax

MIN_ALPHA = 0.1  # document 002, meta-learner regularisation
SMALLEST = 1e-12  # this package's models floor far above it; another's may say 0
# logits of short, neutral, long are these multiples of (direction, activity)
DIRECTION, ACTIVITY = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0])


def contrasts(p: Floats) -> Floats:
    """Direction and activity of each base model, (n, 2, M), from probabilities (n, M, 3); log-odds, in nats."""
    logs = np.log(np.maximum(p, SMALLEST))
    direction = 0.5 * (logs[:, :, 2] - logs[:, :, 0])
    return np.stack([direction, 0.5 * (logs[:, :, 2] + logs[:, :, 0]) - logs[:, :, 1]], axis=1)


@dataclass(frozen=True)
class Stacker:
    """A fitted meta-learner: class logits (`logistic`) or scores (`ridge`) linear in the contrasts.

    Attributes:
        method: `logistic` or `ridge`.
        intercept: one for each class.
        direction, activity: weights, one row a class, one column a base model.
        rows: rows that it was fitted on.
    """

    method: str
    intercept: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]
    activity: tuple[tuple[float, ...], ...]
    rows: int

    @classmethod
    def fit(cls, method: str, p: Floats, label: NDArray[np.int8], alpha: float, weight: Floats | None = None) -> Self:
        """Fit on out-of-fold rows that are known at the moment the fit stands for.

        Args:
            method: `logistic`: multinomial logistic regression with two weights a model, both >= 0 (Breiman 1996: a
                stack that may not subtract generalises), shrunk towards 1/M, the equal-weight pool of log-probabilities.
                `ridge`: one-vs-rest ridge regression on the class indicators, clipped and renormalised.
            p: (n, M, 3) base probabilities, none 0.
            label: (n,) of -1, 0, 1.
            alpha: L2 strength on the summed loss, at least 0.1.
            weight: (n,), None for ones. Weights that depend on the label (quality) would bend the probabilities.
        """
        if alpha < MIN_ALPHA:
            raise ConfigError(
                "ensemble.alpha", found=alpha, wanted=f"at least {MIN_ALPHA}", mend="raise ensemble.alpha in the experiment"
            )
        solve = {"logistic": _solve_logistic, "ridge": _solve_ridge}[method]
        x = contrasts(p)
        intercept, weights = solve(x, class_index(label), alpha, np.ones(len(p)) if weight is None else weight)
        direction, activity = weights[:, 0].tolist(), weights[:, 1].tolist()
        return cls(method, tuple(intercept.tolist()), tuple(map(tuple, direction)), tuple(map(tuple, activity)), len(p))

    def combine(self, p: Floats) -> Floats:
        """Probabilities (n, 3) from base probabilities (n, M, 3); every row for itself alone."""
        x = contrasts(p)
        linear = np.column_stack([
            self.intercept[k] + (x[:, 0] * np.array(self.direction[k]) + x[:, 1] * np.array(self.activity[k])).sum(axis=1)
            for k in range(3)
        ])  # fmt: skip
        return floored(softmax(linear) if self.method == "logistic" else np.maximum(linear, 1e-6))

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Rebuild from the JSON form of its fields."""
        rows = {key: tuple(map(tuple, value[key])) for key in ("direction", "activity")}
        return cls(**{**value, **rows, "intercept": tuple(value["intercept"])})


def _solve_logistic(x: Floats, index: NDArray[np.int64], alpha: float, weight: Floats) -> tuple[Floats, Floats]:
    from scipy.optimize import minimize

    models = x.shape[2]
    prior = np.log(class_shares(index - 1, weight))
    centre = np.average(x, axis=0, weights=weight)
    centred, truth = x - centre, np.eye(3)[index]
    start = np.append(np.zeros(3), np.full(2 * models, 1 / models))

    def loss(theta: Floats) -> tuple[float, Floats]:
        parts = _tied(centred, theta[3:].reshape(2, models)) + prior + theta[:3]
        p = softmax(parts)
        error = weight[:, None] * (p - truth)
        value = -float((weight * np.log(np.maximum(p[np.arange(len(p)), index], 1e-300))).sum())
        slopes = np.stack([(centred[:, 0] * (error * DIRECTION).sum(axis=1)[:, None]).sum(axis=0),
                           (centred[:, 1] * (error * ACTIVITY).sum(axis=1)[:, None]).sum(axis=0)])  # fmt: skip
        gradient = np.append(error.sum(axis=0), slopes.ravel()) + alpha * (theta - start)
        return value + 0.5 * alpha * float(((theta - start) ** 2).sum()), gradient

    bounds = [(None, None)] * 3 + [(0.0, None)] * (2 * models)
    theta = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1_000, "ftol": 1e-12, "gtol": 1e-8}
    ).x
    scalars = theta[3:].reshape(2, models)
    intercept = prior + theta[:3] - _tied(centre[None], scalars)[0]
    return intercept, np.stack([DIRECTION[:, None] * scalars[0], ACTIVITY[:, None] * scalars[1]], axis=1)


def _tied(x: Floats, scalars: Floats) -> Floats:
    direction, activity = (x[:, 0] * scalars[0]).sum(axis=1), (x[:, 1] * scalars[1]).sum(axis=1)
    logits: Floats = direction[:, None] * DIRECTION + activity[:, None] * ACTIVITY
    return logits


def _solve_ridge(x: Floats, index: NDArray[np.int64], alpha: float, weight: Floats) -> tuple[Floats, Floats]:
    flat = x.reshape(len(x), -1)
    shares = class_shares(index - 1, weight)
    centre = np.average(flat, axis=0, weights=weight)
    centred = flat - centre
    normal = (centred * weight[:, None]).T @ centred + alpha * np.eye(flat.shape[1])
    target = (centred * weight[:, None]).T @ (np.eye(3)[index] - shares)
    weights = np.asarray(np.linalg.solve(normal, target).T, dtype=np.float64)  # (3, 2M)
    by_contrast: Floats = weights.reshape((3, 2, x.shape[2]))
    return shares - weights @ centre, by_contrast
