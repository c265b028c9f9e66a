"""Group `ensemble`: the meta-learner on out-of-fold rows, calibrated, with its own out-of-sample evidence."""

import dagster as dg
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import fold_key, symbols
from quant_pipeline.orchestration.results import Result, markdown_table, pictures


def ensemble_assets(house: House) -> list[dg.AssetsDefinition]:
    """The `meta_learner` asset."""
    names = [model.name for model in house.experiment.models]

    @described(
        "ensemble",
        house,
        reads=("ensemble", "calibration", "splits"),
        kinds={"numpy"},
        stored="folder",
        ins={"oof_predictions": dg.AssetIn(), "labels": dg.AssetIn(), "splits": dg.AssetIn()},
        partitions_def=symbols(house),
        description="Stack of the base models, calibrated, fitted on out-of-fold rows; scored on rows it had not seen.",
        check_specs=[
            dg.AssetCheckSpec(
                "oof_integrity",
                asset="meta_learner",
                description="Every row predicted once by each fold that leaves it out, never by a fold that saw it.",
            )
        ],
    )
    def meta_learner(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        oof_predictions: dict[str, pl.DataFrame],
        labels: pl.DataFrame,
        splits: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.ensemble.fit import fit_ensemble
        from quant_pipeline.ensemble.meta import STACK
        from quant_pipeline.orchestration.figures import counts
        from quant_pipeline.orchestration.measures import of_stack

        final = fold_key(context.partition_key, HOLDOUT)
        rows = pl.concat(frame for key, frame in sorted(oof_predictions.items()) if key != final)
        test_start = splits.filter(pl.col("fold") == HOLDOUT, pl.col("role") == "oof")["start"][0]
        fit = fit_ensemble(rows, labels, names, house.experiment, test_start)
        losses = dict(fit.report.select("name", "log_loss").iter_rows())
        return dg.MaterializeResult(
            value=fit,
            check_results=[_integrity(rows, labels, splits, house)],
            metadata={
                "nested_rows": fit.nested.height,
                **of_stack(losses, STACK, names),
                "calibrator": fit.learner.calibrator.method,
                "log_losses": dg.MetadataValue.md(markdown_table(fit.report)),
                **pictures(counts(losses, "log-loss on the same out-of-sample rows, lower is better")),
            },
        )

    return [meta_learner]


def _integrity(rows: pl.DataFrame, labels: pl.DataFrame, splits: pl.DataFrame, house: House) -> dg.AssetCheckResult:
    from quant_pipeline.validation.splits import check_oof

    check_oof(rows, labels, splits, house.experiment.splits)
    return dg.AssetCheckResult(check_name="oof_integrity", passed=True, metadata={"rows": rows.height})
