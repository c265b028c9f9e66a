"""Group `preparation`: what each fold learns about the inputs from its own training rows: regimes, and which features count."""

import dagster as dg
import polars as pl

from quant_pipeline.models.preparation.hmm import RegimeModel
from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.clearance import require_cleared
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import split_key, symbol_folds
from quant_pipeline.orchestration.results import Result, markdown_table, pictures


def preparation_assets(house: House) -> list[dg.AssetsDefinition]:
    """`regimes` and `selection`."""
    return [_regimes(house), _selection(house)]


def primary_bars(house: House) -> dict[str, dg.AssetIn]:
    """The primary bars as the input `bars`."""
    return {"bars": dg.AssetIn(key=rung_key(house.experiment.primary))}


def _regimes(house: House) -> dg.AssetsDefinition:
    @described(
        "preparation",
        house,
        reads=("regime_states", "seed", "splits"),
        kinds={"hmmlearn"},
        stored="folder",
        ins={**primary_bars(house), **{name: dg.AssetIn() for name in ("labels", "splits", "feature_audit")}},
        partitions_def=symbol_folds(house),
        description="Hidden volatility regimes, fitted on the fold's training bars and read by the forward filter only.",
    )
    def regimes(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        bars: pl.DataFrame,
        labels: pl.DataFrame,
        splits: pl.DataFrame,
        feature_audit: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.models.preparation.fold import fit_regimes
        from quant_pipeline.orchestration.figures import lines
        from quant_pipeline.orchestration.measures import numbers
        from quant_pipeline.validation.splits import fold_rows

        experiment, (symbol, fold) = house.experiment, split_key(context.partition_key)
        require_cleared(context.instance, symbol, feature_audit)
        rows = fold_rows(splits, str(fold), labels, experiment.splits)
        fitted = fit_regimes(bars, labels, rows.train, experiment)
        told = fitted.probabilities(bars)
        figure = lines(told, "decision_at", [f"regime_p{state}" for state in range(fitted.states)], f"{symbol}, {fold}: regimes")
        return dg.MaterializeResult(
            value=fitted,
            metadata={
                **numbers(
                    log_likelihood=fitted.log_likelihood,
                    **{f"time_in_regime_{state}_percent": share for state, share in enumerate(fitted.stationary)},
                ),
                **pictures(figure),
            },
        )

    return regimes


def _selection(house: House) -> dg.AssetsDefinition:
    tables = ("features", "feature_audit", "labels", "sample_weights", "splits", "regimes")

    @described(
        "preparation",
        house,
        reads=("selection", "seed", "splits", "weights"),
        kinds={"lightgbm"},
        stored="folder",
        ins={**{name: dg.AssetIn() for name in tables}, **primary_bars(house)},
        partitions_def=symbol_folds(house),
        description="The features that this fold's models may look at, chosen on its training rows; sealed into the bundle.",
    )
    def selection(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        features: pl.DataFrame,
        feature_audit: pl.DataFrame,
        labels: pl.DataFrame,
        sample_weights: pl.DataFrame,
        splits: pl.DataFrame,
        regimes: RegimeModel,
        bars: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.models.preparation.fold import FoldTables, fit_selection
        from quant_pipeline.orchestration.figures import counts
        from quant_pipeline.validation.splits import fold_rows

        experiment, (symbol, fold) = house.experiment, split_key(context.partition_key)
        require_cleared(context.instance, symbol, feature_audit)
        rows = fold_rows(splits, str(fold), labels, experiment.splits)
        fitted = fit_selection(FoldTables(features, bars, labels, sample_weights), regimes, rows.train, experiment)
        chosen, report = fitted.selection, fitted.selection.report
        fate = report["reason"].str.extract(
            r"^(kept|constant|empty|duplicate|wanders|correlation|past the best|in too few blocks)"
        )
        reasons = dict(fate.fill_null("other").value_counts(sort=True).iter_rows())
        return dg.MaterializeResult(
            value=fitted,
            metadata={
                "candidates": report.height,
                "chosen": len(chosen.columns),
                **pictures(counts(reasons, f"{symbol}, {fold}: what became of the features")),
                "report": dg.MetadataValue.md(markdown_table(report.filter("kept").sort("mda", descending=True).head(25))),
            },
        )

    return selection
