"""How often a single fold of a blind model seems to know direction: 100 null models, overlapping labels, two volatilities.

Run: python quant_pipeline_tests/benchmarks/bench_null_folds.py
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from scipy import stats
from scipy.signal import lfilter

from quant_pipeline.validation.family import DIRECTIONAL
from quant_pipeline.validation.skill_table import SPANS, TableSettings, skill_table

START = datetime(2024, 1, 1, tzinfo=UTC)
FOLDS, ROWS, WORLDS = 6, 2_400, 100
SETTINGS = TableSettings(resamples=300, metrics=("ic", "auc_direction"))


def persistent(rng: np.random.Generator, rows: int, memory: float) -> np.ndarray:
    """An autoregression that forgets within `memory` rows."""
    return lfilter([1.0], [1.0, -np.exp(-1 / memory)], rng.standard_normal(rows + 1_000))[1_000:]


def world(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """PREDICTIONS of a blind, persistent model and LABELS of 5 to 24 bars on a walk of clustered volatility."""
    rng = np.random.default_rng(seed)
    horizon, memory = int(rng.choice([5, 12, 24])), float(rng.choice([3, 30, 100]))
    swing = np.exp(0.15 * persistent(rng, ROWS + horizon, 50))
    ahead = np.convolve(0.002 * swing * rng.standard_normal(ROWS + horizon), np.ones(horizon), "valid")[:ROWS]
    hours = pl.Series([START + timedelta(hours=i) for i in range(ROWS + horizon)], dtype=pl.Datetime("us", "UTC"))
    edge = np.quantile(np.abs(ahead), 0.4)
    labels = pl.DataFrame({
        "decision_at": hours[:ROWS], "entry_at": hours[:ROWS], "entry_price": np.full(ROWS, 100.0), "label_end": hours[horizon:],
        "label": np.where(ahead > edge, 1, np.where(ahead < -edge, -1, 0)).astype(np.int8), "forward_return": ahead,
    })  # fmt: skip
    score = persistent(rng, ROWS, memory)
    p = np.exp(0.3 * np.outer(score / score.std(), [-1, 0, 1]))
    p /= p.sum(axis=1, keepdims=True)
    fold = pl.Series([f"fold_{row * FOLDS // ROWS:02d}" for row in range(ROWS)])
    told = labels.select("decision_at").with_columns(
        fold=fold, model=pl.lit("blind"), p_short=p[:, 0], p_neutral=p[:, 1], p_long=p[:, 2], e_r=pl.lit(None, pl.Float64)
    )
    return told, labels


def cells(seed: int) -> pl.DataFrame:
    """The blind model's folds, and whether each seems to know: alone, and as wide as the table makes it."""
    table = skill_table(*world(seed), settings=SETTINGS)
    rows = table.filter(pl.col("kind") == "model", ~pl.col("fold").is_in(SPANS), pl.col("metric").is_in(DIRECTIONAL))
    reach = pl.Series(stats.t.isf(0.025, rows["blocks"].to_numpy() - 1)) * rows["error"]
    return rows.select(
        "metric", world=pl.lit(seed), alone=(pl.col("value") - pl.col("chance")).abs() > reach,
        together=(pl.col("low") > pl.col("chance")) | (pl.col("high") < pl.col("chance")),
    )  # fmt: skip


def main() -> None:
    found = pl.concat(cells(seed) for seed in range(WORLDS))
    each = found.group_by("metric").agg(pl.len().alias("cells"), pl.col("alone", "together").mean())
    any_fold = found.group_by("metric", "world").agg(pl.col("alone", "together").any()).group_by("metric").agg(
        pl.col("alone", "together").mean().name.prefix("any_fold_")
    )  # fmt: skip
    print(each.join(any_fold, on="metric").sort("metric"))


if __name__ == "__main__":
    main()
