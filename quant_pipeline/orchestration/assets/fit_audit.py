"""Group `ensemble`, the audit of it: whether a training would have come out the same without what it may not know."""

from typing import Any

import dagster as dg
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.models import model_key
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import fold_key, symbols
from quant_pipeline.orchestration.results import Result, table_result
from quant_pipeline.orchestration.versions import code_version

CHECK = "fold_truncation"
ROOMS = ("inference/fit_audit", "inference/training", "validation", "models", "labels", "ensemble")
TABLES = ("barriers", "features", "labels", "sample_weights", "splits", "selection", "oof_predictions", "meta_learner")


def fit_audit_assets(house: House) -> list[dg.AssetsDefinition]:
    """`fit_audit`."""
    experiment = house.experiment
    names = [model.name for model in experiment.models]
    models = {f"model_{name}": dg.AssetIn(key=model_key(name)) for name in names}
    rungs = {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in experiment.ladder}

    fits = (experiment.seed, experiment.primary, experiment.regime_states, experiment.selection, experiment.models)
    shaping = (*fits, experiment.labels, experiment.weights, experiment.splits, experiment.ensemble, experiment.calibration,
               experiment.signal.fallback)  # fmt: skip

    @described(
        "ensemble",
        code_version(*ROOMS, settings=shaping),
        kinds={"polars"},
        stored="table",
        name="fit_audit",
        ins={**{name: dg.AssetIn() for name in TABLES}, **models, **rungs},
        partitions_def=symbols(house),
        description="Faults found by making the holdout fold again without what it may not know; any of them stops the bundle.",
        check_specs=[
            dg.AssetCheckSpec(CHECK, asset="fit_audit", description="Fits and rows come out the same without what follows them.")
        ],
    )
    def fit_audit(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        selection: dict[str, Preparation],
        meta_learner: MetaFit,
        **given: Any,
    ) -> Result:
        faults = _faults(house, context.partition_key, {**given, "selection": selection, "meta_learner": meta_learner})
        check = dg.AssetCheckResult(
            check_name=CHECK, passed=faults.is_empty(), severity=dg.AssetCheckSeverity.ERROR,
            metadata={"faults": faults.height, "fold": HOLDOUT, "named": ", ".join(faults["where"].unique(maintain_order=True))},
        )  # fmt: skip
        return table_result(faults, checks=[check], extra={"fold": HOLDOUT, "model made again": house.experiment.signal.fallback})

    return [fit_audit]


def _faults(house: House, symbol: str, given: dict[str, Any]) -> pl.DataFrame:
    """The tables and the meta-learner, and of the holdout fold everything but the models that are slow to fit."""
    from quant_pipeline.ensemble.meta import fit_meta
    from quant_pipeline.inference.fit_audit import audit_fold, audit_meta, audit_tables

    experiment, final = house.experiment, fold_key(symbol, HOLDOUT)
    training = _training(house, symbol, given)
    names = [model.name for model in experiment.models]
    rows = pl.concat(frame for key, frame in sorted(given["oof_predictions"].items()) if key != final)

    def fit(labels: pl.DataFrame) -> MetaFit:
        return fit_meta(rows, labels, names, experiment.ensemble, experiment.calibration, until=training.test_start)

    return pl.concat([
        audit_tables(training),
        audit_fold(training, _fits(final, names, given), (experiment.signal.fallback,)),
        audit_meta(training, given["meta_learner"], fit),
    ])  # fmt: skip


def _training(house: House, symbol: str, given: dict[str, Any]) -> Any:
    from quant_pipeline.bars.build import finest_path
    from quant_pipeline.config.experiment import LabelSettings
    from quant_pipeline.inference.training import Training

    rungs = {rung: given[f"bars_{rung}"] for rung in house.experiment.ladder}
    return Training(
        primary=rungs[house.experiment.primary], path=finest_path(rungs), features=given["features"],
        costs=house.symbol(symbol).costs, experiment=house.experiment,
        barriers=LabelSettings.parse(given["barriers"].row(0, named=True), "barriers"),
        labels=given["labels"], weights=given["sample_weights"], splits=given["splits"],
    )  # fmt: skip


def _fits(partition: str, names: list[str], given: dict[str, Any]) -> Any:
    from quant_pipeline.inference.training import FoldFits

    preparation: Preparation = given["selection"][partition]
    models = {name: given[f"model_{name}"][partition] for name in names}
    return FoldFits(HOLDOUT, preparation, models, given["oof_predictions"][partition])
