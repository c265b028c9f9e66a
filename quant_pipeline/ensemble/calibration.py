"""Calibration: none, one temperature (Guo et al. 2017), or isotonic one-vs-rest (Zadrozny & Elkan 2002), renormalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.models.contract import Floats
from quant_pipeline.models.probabilities import class_index, floored, softmax

COLDEST, HOTTEST = 0.2, 20.0  # past these a forecast is a verdict or a coin; neither is calibration
STEP_PRIOR = 10.0  # rows of the class share in each step: the outermost steps are few rows, all hits or all misses


@dataclass(frozen=True)
class Calibrator:
    """A fitted map from probabilities to probabilities, each row for itself alone.

    Attributes:
        method: `none`, `temperature` or `isotonic`.
        temperature: divides the log-probabilities; 1 changes nothing.
        edges: for each class, ascending raw probabilities.
        levels: for each class, the calibrated value at each edge, non-decreasing; linear between, flat outside.
        rows: rows that it was fitted on.
    """

    method: str = "none"
    temperature: float = 1.0
    edges: tuple[tuple[float, ...], ...] = ()
    levels: tuple[tuple[float, ...], ...] = ()
    rows: int = 0

    @classmethod
    def fit(cls, method: str, p: Floats, label: NDArray[np.int8]) -> Self:
        """Fit on probabilities (n, 3) that were themselves out-of-sample, and the labels (n,) that followed."""
        if method == "none":
            return cls(rows=len(p))
        if method == "temperature":
            return cls("temperature", temperature=_temperature(p, class_index(label)), rows=len(p))
        steps = [_isotonic(p[:, k], class_index(label) == k) for k in range(3)]
        return cls("isotonic", edges=tuple(edges for edges, _ in steps), levels=tuple(levels for _, levels in steps), rows=len(p))

    def apply(self, p: Floats) -> Floats:
        """Calibrated probabilities (n, 3), none 0."""
        if self.method == "none":
            return p
        if self.method == "temperature":
            return floored(softmax(np.log(p) / self.temperature))
        return floored(np.column_stack([_between(p[:, k], np.array(self.edges[k]), np.array(self.levels[k])) for k in range(3)]))

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Rebuild from the JSON form of its fields."""
        return cls(**{**value, **{key: tuple(map(tuple, value[key])) for key in ("edges", "levels")}})


def _temperature(p: Floats, index: NDArray[np.int64]) -> float:
    from scipy.optimize import minimize_scalar

    logs, rows = np.log(p), np.arange(len(p))

    def loss(log_temperature: float) -> float:
        return -float(np.log(softmax(logs / np.exp(log_temperature))[rows, index]).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _isotonic(raw: Floats, hit: NDArray[np.bool_]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Edges and levels of the pooled steps: each step stands at the mean raw value of its rows."""
    from scipy.optimize import isotonic_regression

    values, place = np.unique(raw, return_inverse=True)
    counts = np.bincount(place).astype(np.float64)
    blocks = isotonic_regression(np.bincount(place, weights=hit) / counts, weights=counts).blocks[:-1]
    rows = np.add.reduceat(counts, blocks)
    edges = np.add.reduceat(values * counts, blocks) / rows
    hits = np.add.reduceat(np.bincount(place, weights=hit), blocks)
    levels = np.maximum.accumulate((hits + STEP_PRIOR * hit.mean()) / (rows + STEP_PRIOR))
    return tuple(edges.tolist()), tuple(levels.tolist())


def _between(raw: Floats, edges: Floats, levels: Floats) -> Floats:
    right = np.clip(np.searchsorted(edges, raw), 1, max(len(edges) - 1, 1))
    if len(edges) == 1:
        return np.full(len(raw), levels[0])
    left = right - 1
    share = np.clip((raw - edges[left]) / (edges[right] - edges[left]), 0.0, 1.0)
    calibrated: Floats = levels[left] + share * (levels[right] - levels[left])
    return calibrated
