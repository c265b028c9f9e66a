"""What one fold's models learn: the one way from a symbol's tables to their fits, for the assets and for the audit of them.

Every fit is given the rows that it may learn from and no other: what stands outside them cannot reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from quant_pipeline.config.experiment import Experiment, ModelSettings
from quant_pipeline.models import registry
from quant_pipeline.models.base import ThreeClassModel
from quant_pipeline.models.contract import Prediction, TrainingMetrics, make_samples
from quant_pipeline.models.preparation.fold import FoldTables, samples_of
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.validation.purging import Int64s


def fit_model(
    tables: FoldTables, preparation: Preparation, train: Int64s, valid: Int64s, settings: ModelSettings, experiment: Experiment
) -> tuple[ThreeClassModel[Any], TrainingMetrics]:
    """A model fitted on `train` and stopped early on `valid`, in the columns that the preparation leaves its feature set."""
    prepared = preparation.table(tables.features, tables.bars)
    columns = preparation.columns(settings.feature_set, experiment.rungs)
    fitted = registry.create(settings.name, settings.params)
    learned, stopping = (samples_of(prepared, tables, rows, experiment, columns) for rows in (train, valid))
    return fitted, fitted.fit(learned, stopping, experiment.seed)


def predict_block(
    features: pl.DataFrame, bars: pl.DataFrame, block: pl.DataFrame, preparation: Preparation, models: Mapping[str, Any]
) -> dict[str, Prediction]:
    """What each of `models` says of the decisions of `block`, rows of LABELS, by name."""
    view = make_samples(preparation.table(features, bars), block).view
    return {name: model.predict(view) for name, model in models.items()}
