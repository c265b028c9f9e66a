"""Group `models`: one asset per enabled model, and their out-of-fold predictions, in each symbol x fold."""

from itertools import chain
from typing import Any

import dagster as dg
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT, ModelSettings
from quant_pipeline.config.feature_sets import feature_set
from quant_pipeline.models import registry
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.preparation import primary_bars
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import split_key, symbol_folds
from quant_pipeline.orchestration.results import Result, markdown_table, table_result

INPUTS = ("features", "labels", "sample_weights", "splits", "selection")


def model_key(name: str) -> list[str]:
    """Asset key of a model: `models/lightgbm`."""
    return ["models", name]


def model_assets(house: House) -> list[dg.AssetsDefinition]:
    """`models/<name>` for each model of the experiment, and `oof_predictions`. Parameters are validated here, before any work."""
    return [*(_model(house, settings) for settings in house.experiment.models), _oof(house)]


def _model(house: House, settings: ModelSettings) -> dg.AssetsDefinition:
    registry.create(settings.name, settings.params)
    feature_set(settings.feature_set)
    module = registry.get(settings.name).__module__.split(".", 1)[1].replace(".", "/")

    @described(
        "models",
        house,
        reads=("seed", "splits", "weights", "ladder", "features"),
        opened={"models/registry.py": (f"{module}.py",)},
        kinds={settings.name},
        stored="folder",
        key=model_key(settings.name),
        partitions_def=symbol_folds(house),
        ins={**{name: dg.AssetIn() for name in INPUTS}, **primary_bars(house)},
        description=f"{settings.name} fitted on the fold's training rows, stopped early on its inner validation rows.",
    )
    def model(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        features: pl.DataFrame,
        labels: pl.DataFrame,
        sample_weights: pl.DataFrame,
        splits: pl.DataFrame,
        selection: Preparation,
        bars: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.models.fold import fit_model
        from quant_pipeline.models.preparation.fold import FoldTables
        from quant_pipeline.orchestration.measures import of_fit
        from quant_pipeline.validation.splits import fold_rows

        _, fold = split_key(context.partition_key)
        rows = fold_rows(splits, str(fold), labels, house.experiment.splits)
        tables = FoldTables(features, bars, labels, sample_weights)
        fitted, metrics = fit_model(tables, selection, rows.train, rows.valid, settings, house.experiment)
        importance = fitted.feature_importance().head(15)
        return dg.MaterializeResult(
            value=fitted,
            metadata={
                **of_fit(metrics),
                "features": len(fitted.columns),
                "importance": dg.MetadataValue.md(markdown_table(importance)),
            },
        )

    return model


def _oof(house: House) -> dg.AssetsDefinition:
    names = [settings.name for settings in house.experiment.models]
    ins = {**{name: dg.AssetIn() for name in ("features", "labels", "splits", "selection")}, **primary_bars(house)}

    @described(
        "models",
        house,
        reads=("splits",),
        kinds={"polars"},
        stored="table",
        ins={**ins, **{f"model_{name}": dg.AssetIn(key=model_key(name)) for name in names}},
        partitions_def=symbol_folds(house),
        description="Each model's predictions on the fold's out-of-fold block, which none of them was trained on.",
    )
    def oof_predictions(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        features: pl.DataFrame,
        labels: pl.DataFrame,
        splits: pl.DataFrame,
        selection: Preparation,
        bars: pl.DataFrame,
        **models: Any,
    ) -> Result:
        from quant_pipeline.ensemble.oof import oof_frame
        from quant_pipeline.models.fold import predict_block
        from quant_pipeline.orchestration.figures import lines
        from quant_pipeline.orchestration.scores import of_forecasts
        from quant_pipeline.validation.splits import fold_rows

        _, fold = split_key(context.partition_key)
        rows = fold_rows(splits, str(fold), labels, house.experiment.splits)
        block, learned = labels[rows.oof], labels[rows.train]["label"]
        told = predict_block(features, bars, block, selection, {name: models[f"model_{name}"] for name in names})
        frame = pl.concat(
            oof_frame(said, timestamp=block["timestamp"], fold=str(fold), model=name) for name, said in told.items()
        )
        by_model = {name: frame.filter(pl.col("model") == name) for name in names}
        # a look at the final test span is on record, and that is made with the bundle
        scored = by_model if fold != HOLDOUT else {}
        return table_result(
            frame,
            time="decision_at",
            figure=lines(by_model[names[0]], "decision_at", ["p_short", "p_long"], f"{names[0]} on {fold}"),
            extra=dict(chain(*(of_forecasts(said, block, learned, f"{name}_").items() for name, said in scored.items()))),
        )

    return oof_predictions
