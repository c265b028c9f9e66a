"""Combinatorial purged cross-validation: rows that several folds predict, as one averaged forecast and as whole paths.

With N groups and every pair left out once, each row is predicted by N - 1 folds. Its j-th fold in the order of names
gives path j, so that every path holds every row once: N - 1 histories of skill instead of one (Lopez de Prado, 2018,
chapter 12). Paths share all labels and most training rows, so their spread tells how much a score hangs on the choice
of training rows; it is no confidence interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.baselines import PRIOR, naive_forecasts
from quant_pipeline.validation.skill import METRICS, Forecasts, point
from quant_pipeline.validation.skill_table import PROBABILITIES, SCHEMA, with_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATH, GROUP = "path_", "group_"
_FIGURES = (*PROBABILITIES, "p_up", "e_r")


def averaged(predictions: pl.DataFrame) -> pl.DataFrame:
    """PREDICTIONS of a combinatorial scheme with each row of a model once: the mean of its folds, fold `group_00` ….

    Rows of the holdout, which one fold predicts, stay as they are.
    """
    developed = _grouped(predictions).group_by("model", "decision_at", maintain_order=True)
    means = developed.agg(pl.col("timestamp", "group").first(), pl.col(_FIGURES).mean()).rename({"group": "fold"})
    return pl.concat([means.select(predictions.columns), predictions.filter(pl.col("fold") == HOLDOUT)])


def paths(predictions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """PREDICTIONS of each path, `path_00` …, each row of a model once, by group; the holdout is in none."""
    developed = _grouped(predictions)
    count = 1 + int(developed["path"].max())  # type: ignore[arg-type]
    mine = {f"{PATH}{k:02d}": developed.filter(pl.col("path") == k) for k in range(count)}
    return {name: frame.with_columns(fold="group").select(predictions.columns) for name, frame in mine.items()}


def _grouped(predictions: pl.DataFrame) -> pl.DataFrame:
    """Rows before the holdout, sorted, with `group` (rows left out by the same folds) and `path` (place among their folds)."""
    rows = predictions.filter(pl.col("fold") != HOLDOUT).sort("model", "decision_at", "fold")
    by = rows.select("decision_at", "fold").unique().sort("decision_at", "fold").group_by("decision_at", maintain_order=True)
    folds = by.agg(key=pl.col("fold").str.join(","))
    names = folds.select(pl.col("key").unique(maintain_order=True)).with_row_index("group")
    named = names.with_columns(group=pl.lit(GROUP) + pl.col("group").cast(pl.String).str.zfill(2))
    groups = folds.join(named, on="key", maintain_order="left").drop("key")
    placed = rows.join(groups, on="decision_at", maintain_order="left")
    return placed.with_columns(path=pl.int_range(pl.len()).over("model", "decision_at"))


def path_rows(told: Mapping[str, pl.DataFrame], labels: pl.DataFrame) -> pl.DataFrame:
    """Rows of the skill table, fold `path_00` …, for PREDICTIONS of each path: values and chance, without intervals."""
    rows = [row for path, predictions in told.items() for row in _scored(path, with_labels(predictions, labels), labels)]
    return pl.DataFrame(rows, schema=SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))


def _scored(path: str, rows: pl.DataFrame, labels: pl.DataFrame) -> Iterator[dict[str, object]]:
    decisions = rows.select("fold", "decision_at").unique(maintain_order=True)
    prior = naive_forecasts(labels, decisions, around=True).filter(pl.col("model") == PRIOR).drop("model", "e_r")
    for (model,), frame in rows.partition_by("model", as_dict=True, maintain_order=True).items():
        beside = frame.select("fold", "decision_at").join(prior, on=["fold", "decision_at"], maintain_order="left")
        forecasts = _forecasts(frame, beside)
        for name, metric in METRICS.items():
            value, chance = point(metric, forecasts), metric.chance(forecasts)
            yield {
                "model": model, "kind": "model", "fold": path, "metric": name, "rows": frame.height, "value": value,
                "chance": chance,
            }  # fmt: skip


def _forecasts(frame: pl.DataFrame, prior: pl.DataFrame) -> Forecasts:
    p, reference = (each.select(PROBABILITIES).to_numpy() for each in (frame, prior))
    expected = frame["e_r"].fill_null(np.nan).to_numpy()
    return Forecasts(p, frame["label"].to_numpy(), frame["forward_return"].to_numpy(), expected, reference)
