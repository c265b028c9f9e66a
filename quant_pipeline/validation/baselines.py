"""Naive forecasters that any model has to beat: class prior, last known label, sign of momentum, and its own activity.

Each knows only what was known: its frequencies come from labels that had ended before the fold's first decision,
its state at a decision from labels and prices before that decision. Where the models see both sides of a fold, so do
the frequencies (`around`): a baseline that knew less than they would flatter them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import microseconds
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.purging import Windows, removed_by

if TYPE_CHECKING:
    from quant_pipeline.validation.purging import Flags
    from quant_pipeline.validation.skill_kernels import Floats, Ints

PRIOR, LAST_LABEL, MOMENTUM = "naive: class prior", "naive: last label", "naive: momentum"
NAIVE = (PRIOR, LAST_LABEL, MOMENTUM)
ACTIVITY = "naive: activity of "  # and the name of the model whose P(neutral) it has
MOMENTUM_ROWS = 24  # a day of hourly bars


def naive_forecasts(labels: pl.DataFrame, decisions: pl.DataFrame, *, around: bool = False) -> pl.DataFrame:
    """PREDICTIONS of the three naive models for `decisions` (columns fold, decision_at).

    Args:
        labels: LABELS, sorted by decision_at, all rows that exist (those before a fold are its training rows).
        decisions: the rows to forecast; a decision that stands in several folds is forecast once in each.
        around: as the models of k-fold schemes do, each fold but the holdout also learns from what came after it: from
            all labels whose window overlaps none of its rows.

    Returns:
        fold, decision_at, model, p_short, p_neutral, p_long, e_r (null): shares of the labels known when the fold
        began, given the naive state at the decision, each class counted once more (Laplace); a third each before
        any label is known.
    """
    at = np.append(microseconds(labels["decision_at"]), microseconds(decisions["decision_at"]))
    states = {PRIOR: np.zeros(len(at), dtype=np.int64), LAST_LABEL: _last_label(labels, at), MOMENTUM: _momentum(labels, at)}
    parts = []
    for fold in decisions["fold"].unique(maintain_order=True):
        rows = np.flatnonzero((decisions["fold"] == fold).to_numpy())
        known = np.flatnonzero(_known(labels, decisions["decision_at"].gather(rows), around=around and fold != HOLDOUT))
        outcome = labels["label"].gather(known).to_numpy().astype(np.int64) + 1
        for model, state in states.items():
            shares = _shares(state[known], outcome)[state[labels.height + rows]]
            parts.append(_frame(decisions[rows], model, shares))
    return pl.concat(parts)


def _known(labels: pl.DataFrame, at: pl.Series, *, around: bool) -> Flags:
    """Which labels may be learned from for the fold that forecasts the decisions `at`."""
    if not around:
        return (labels["label_end"] <= at.min()).to_numpy()
    windows = Windows(microseconds(labels["decision_at"]), microseconds(labels["label_end"]))
    return ~removed_by([np.flatnonzero(labels["decision_at"].is_in(at.implode()))], windows, timedelta(0)).either


def activity_only(rows: pl.DataFrame, prior: pl.DataFrame) -> pl.DataFrame:
    """What is left of a model without its direction: its own P(neutral), and of the move the split of the class prior.

    Args:
        rows: PREDICTIONS of one model, with whatever columns they carry.
        prior: those of `PRIOR` on the same folds and decisions.

    Returns:
        `rows` as model `ACTIVITY` + name, with p_short and p_long dealt anew, e_r null and `ranking` 0: it ranks nothing.
        A model's log-loss gain over it is the model's direction.
    """
    keys = ["fold", "decision_at"]
    long = (pl.col("p_long") / (pl.col("p_short") + pl.col("p_long"))).alias("long_share")
    split = rows.join(prior.select(*keys, long), on=keys, how="left", maintain_order="left")
    moves = pl.col("p_short") + pl.col("p_long")
    return split.with_columns(
        p_short=moves * (1 - pl.col("long_share")), p_long=moves * pl.col("long_share"), e_r=pl.lit(None, pl.Float64),
        ranking=pl.lit(0.0), model=pl.lit(ACTIVITY) + pl.col("model"),
    ).drop("long_share")  # fmt: skip


def _frame(decisions: pl.DataFrame, model: str, shares: Floats) -> pl.DataFrame:
    names = ("p_short", "p_neutral", "p_long")
    columns = [pl.Series(name, shares[:, k]) for k, name in enumerate(names)]
    return decisions.select("fold", "decision_at").with_columns(*columns, model=pl.lit(model), e_r=pl.lit(None, pl.Float64))


def _shares(state: Ints, outcome: Ints) -> Floats:
    """Class shares by state, (3 states, 3 classes)."""
    counts = np.bincount(state * 3 + outcome, minlength=9).reshape(3, 3) + 1.0
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _last_label(labels: pl.DataFrame, at: Ints) -> Ints:
    """State 0, 1, 2: class of the label that ended last, not after `at`; 1 (neutral) before any."""
    ended = labels.sort("label_end", "decision_at")
    row = asof_index(at, microseconds(ended["label_end"]))
    return np.where(row >= 0, ended["label"].to_numpy()[row].astype(np.int64) + 1, 1)


def _momentum(labels: pl.DataFrame, at: Ints) -> Ints:
    """State 0, 1, 2: sign of the price change over the last `MOMENTUM_ROWS` entries that lie before `at`."""
    row = asof_index(at - 1, microseconds(labels["entry_at"]))
    price = labels["entry_price"].to_numpy()
    change = price[row] - price[np.maximum(row - MOMENTUM_ROWS, 0)]
    return np.where(row >= 0, np.sign(change), 0).astype(np.int64) + 1
