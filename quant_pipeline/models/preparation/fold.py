"""What one fold learns about the inputs: the one way from a symbol's tables to regimes and selection.

Apart from `models/fold.py`, which knows every model: an edit of a model is no reason to prepare again.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.labels.weights import weights_among
from quant_pipeline.models.contract import Samples, make_samples
from quant_pipeline.models.preparation.hmm import RegimeModel
from quant_pipeline.models.preparation.preparation import Preparation, with_regimes
from quant_pipeline.models.preparation.selection import select
from quant_pipeline.validation.purging import Int64s
from quant_pipeline.views.feature_matrix import FeatureMatrix


@dataclass(frozen=True, eq=False)
class FoldTables:
    """What a fold's fits read: FEATURES, RUNG BARS of the primary rung, LABELS, and WEIGHTS."""

    features: pl.DataFrame
    bars: pl.DataFrame
    labels: pl.DataFrame
    weights: pl.DataFrame


def fit_regimes(bars: pl.DataFrame, labels: pl.DataFrame, train: Int64s, experiment: Experiment) -> RegimeModel:
    """The regimes of the training rows `train`, positions in LABELS."""
    decisions = labels["decision_at"].gather(train)
    return RegimeModel.fit(bars, decisions, states=experiment.regime_states, seed=experiment.seed)


def fit_selection(tables: FoldTables, regimes: RegimeModel, train: Int64s, experiment: Experiment) -> Preparation:
    """The regimes and the columns chosen on the training rows `train`."""
    samples = samples_of(with_regimes(tables.features, tables.bars, regimes), tables, train, experiment)
    chosen = select(samples, tables.labels["label_end"].gather(train), experiment.selection, experiment.seed)
    return Preparation(regimes, chosen)


def samples_of(
    prepared: pl.DataFrame, tables: FoldTables, rows: Int64s, experiment: Experiment, columns: tuple[str, ...] | None = None
) -> Samples[FeatureMatrix]:
    """Samples of `rows`, positions in LABELS, weighted among themselves; of all columns, or of `columns`."""
    labels = tables.labels[rows]
    return make_samples(prepared, labels, weights_among(labels, tables.weights, experiment.weights), columns)
