"""What one fold learns: the one way from a symbol's tables to its fits, for the assets and for the audit of them.

Every fit is given the rows that it may learn from and no other: what stands outside them cannot reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from quant_pipeline.config.experiment import Experiment, ModelSettings
from quant_pipeline.labels.weights import weights_among
from quant_pipeline.models import registry
from quant_pipeline.models.base import ThreeClassModel
from quant_pipeline.models.contract import Prediction, Samples, TrainingMetrics, make_samples
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
    samples = _samples(with_regimes(tables.features, tables.bars, regimes), tables, train, experiment)
    chosen = select(samples, tables.labels["label_end"].gather(train), experiment.selection, experiment.seed)
    return Preparation(regimes, chosen)


def fit_model(
    tables: FoldTables, preparation: Preparation, train: Int64s, valid: Int64s, settings: ModelSettings, experiment: Experiment
) -> tuple[ThreeClassModel[Any], TrainingMetrics]:
    """A model fitted on `train` and stopped early on `valid`, in the columns that the preparation leaves its feature set."""
    prepared = preparation.table(tables.features, tables.bars)
    columns = preparation.columns(settings.feature_set, experiment.rungs)
    fitted = registry.create(settings.name, settings.params)
    learned, stopping = (_samples(prepared, tables, rows, experiment, columns) for rows in (train, valid))
    return fitted, fitted.fit(learned, stopping, experiment.seed)


def predict_block(
    features: pl.DataFrame, bars: pl.DataFrame, block: pl.DataFrame, preparation: Preparation, models: Mapping[str, Any]
) -> dict[str, Prediction]:
    """What each of `models` says of the decisions of `block`, rows of LABELS, by name."""
    view = make_samples(preparation.table(features, bars), block).view
    return {name: model.predict(view) for name, model in models.items()}


def _samples(
    prepared: pl.DataFrame, tables: FoldTables, rows: Int64s, experiment: Experiment, columns: tuple[str, ...] | None = None
) -> Samples[FeatureMatrix]:
    labels = tables.labels[rows]
    return make_samples(prepared, labels, weights_among(labels, tables.weights, experiment.weights), columns)
