"""Skill of forecasts, as plain numbers for an asset's page."""

from __future__ import annotations

import numpy as np
import polars as pl

from quant_pipeline.models.contract import PROBABILITIES
from quant_pipeline.orchestration.measures import SKILL, Numbers, numbers
from quant_pipeline.validation.skill import METRICS, Forecasts, point


def of_forecasts(told: pl.DataFrame, labels: pl.DataFrame, learned: pl.Series, prefix: str = "") -> Numbers:
    """Skill of one model's PREDICTIONS on the LABELS of their decisions; nothing where none has a label.

    `learned` are the labels that it was fitted on: gains are over their class shares.
    """
    rows = told.join(labels.select("decision_at", "label", "forward_return").drop_nulls(), on="decision_at")
    if rows.is_empty() or learned.is_empty():
        return {}
    shares = [float((learned == label).sum()) / len(learned) for label in (-1, 0, 1)]
    forecasts = Forecasts(
        rows.select(pl.col(PROBABILITIES).cast(pl.Float64)).to_numpy(),
        rows["label"].to_numpy(),
        rows["forward_return"].to_numpy(),
        rows["e_r"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        np.tile(shares, (rows.height, 1)),
    )
    return numbers(**{prefix + name: point(METRICS[metric], forecasts) for metric, name in SKILL.items() if metric in METRICS})
