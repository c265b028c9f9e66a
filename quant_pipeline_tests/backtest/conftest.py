"""A small market with every table that the skill report reads: bars, labels, splits, predictions, oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

START = datetime(2024, 1, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")
HORIZON, STEP = 5, 0.003
FOLDS = ("fold_00", "fold_01", "fold_02", "fold_03", "fold_04", "holdout")


class Market(NamedTuple):
    bars: pl.DataFrame
    labels: pl.DataFrame
    splits: pl.DataFrame
    predictions: pl.DataFrame
    oracle: pl.DataFrame


def make_market(rows: int = 2_400, *, signal: float = 0.5, seed: int = 0) -> Market:
    """Hourly random walk with a persistent planted drift; models see it through more or less noise."""
    rng = np.random.default_rng(seed)
    drift = signal * np.convolve(rng.standard_normal(rows + 8), np.ones(9) / 3, "valid")
    close = 100 * np.exp(STEP * np.cumsum(drift + rng.standard_normal(rows)))
    opens = np.append(100.0, close[:-1])
    hours = pl.Series([START + timedelta(hours=k) for k in range(rows + 1)], dtype=UTC_US)
    bars = pl.DataFrame({
        "timestamp": hours[:-1], "known_at": hours[1:], "open": opens, "high": np.maximum(opens, close) * 1.001,
        "low": np.minimum(opens, close) * 0.999, "close": close,
    })  # fmt: skip
    count = rows - HORIZON
    ahead = close[HORIZON:] / close[:count] - 1
    labels = pl.DataFrame({
        "timestamp": hours[:count], "decision_at": hours[1 : count + 1], "entry_at": hours[1 : count + 1],
        "entry_price": close[:count], "label": np.where(ahead > 0.006, 1, np.where(ahead < -0.006, -1, 0)).astype(np.int8),
        "label_end": hours[1 + HORIZON :], "forward_return": ahead,
    })  # fmt: skip
    known = np.array([drift[k + 1 : k + 1 + HORIZON].sum() for k in range(count)])
    oracle = labels.select("decision_at").with_columns(expected_return=STEP * known)
    models = {"ensemble": 1.0, "lightgbm": 2.0, "logistic": 4.0, "xgboost": None}
    predictions = pl.concat([_predict(labels, known, name, noise, rng) for name, noise in models.items()])
    return Market(bars, labels, _splits(labels), predictions, oracle)


def _edges(count: int) -> np.ndarray:
    return np.linspace(int(0.4 * count), count, len(FOLDS) + 1).astype(int)


def _predict(labels: pl.DataFrame, known: np.ndarray, name: str, noise: float | None, rng: np.random.Generator) -> pl.DataFrame:
    blind = np.convolve(rng.standard_normal(len(known) + 8), np.ones(9) / 3, "valid") * known.std()
    score = (blind if noise is None else known + noise * blind) / known.std() * 0.6
    score = score / (1 if noise is None else np.sqrt(1 + noise**2)) * (2.5 if noise is None else 1)
    weight = np.exp(np.stack([-score, np.full(len(known), 0.15), score], axis=1))
    p = weight / weight.sum(axis=1, keepdims=True)
    edges = _edges(labels.height)
    first = edges[1] if name == "ensemble" else edges[0]  # the stack has no rows for the first fold
    rows = np.arange(first, labels.height)
    fold = [FOLDS[k] for k in np.searchsorted(edges, rows, side="right") - 1]
    return labels[rows].select("timestamp", "decision_at").with_columns(
        fold=pl.Series(fold), model=pl.lit(name), p_short=p[rows, 0], p_neutral=p[rows, 1], p_long=p[rows, 2],
        p_up=pl.lit(None, pl.Float64), e_r=pl.Series(0.004 * score[rows]) if name == "ensemble" else pl.lit(None, pl.Float64),
    )  # fmt: skip


def _splits(labels: pl.DataFrame) -> pl.DataFrame:
    at, edges = labels["decision_at"], _edges(labels.height)
    spans = []
    for k, fold in enumerate(FOLDS):
        inner = int(edges[k] * 0.85)
        for role, low, high in (("train", 0, inner - 10), ("valid", inner, edges[k] - 10), ("oof", edges[k], edges[k + 1] - 1)):
            spans.append((fold, role, 0, at[int(low)], at[int(high)], high - low, 5, 5))
    return pl.DataFrame(spans, schema=["fold", "role", "block", "start", "end", "rows", "purged", "embargoed"], orient="row")


@pytest.fixture(scope="session")
def market() -> Market:
    return make_market()


@pytest.fixture(scope="session")
def null_market() -> Market:
    """No drift at all: even the models that "see" it are blind."""
    return make_market(signal=1e-9, seed=1)
