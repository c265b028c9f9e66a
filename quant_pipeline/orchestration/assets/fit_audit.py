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

CHECK = "fold_truncation"
READS = (
    "seed", "primary", "ladder", "features", "regime_states", "selection", "models", "labels", "weights", "splits", "ensemble",
    "calibration", "symbol.costs",
)  # fmt: skip
TABLES = ("barriers", "features", "labels", "sample_weights", "splits", "selection", "oof_predictions", "meta_learner")


def fit_audit_assets(house: House) -> list[dg.AssetsDefinition]:
    """`fit_audit`."""
    models = {f"model_{name}": dg.AssetIn(key=model_key(name)) for name in (model.name for model in house.experiment.models)}
    rungs = {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in house.experiment.ladder}

    @described(
        "ensemble",
        house,
        reads=READS,
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
        return table_result(faults, checks=[check], extra={"fold": HOLDOUT})

    return [fit_audit]


def _faults(house: House, symbol: str, given: dict[str, Any]) -> pl.DataFrame:
    """Of the tables, of the meta-learner, and of everything that the holdout fold made: that is what a bundle carries."""
    from quant_pipeline.ensemble.fit import fit_ensemble
    from quant_pipeline.inference.fit_audit import audit_fold, audit_meta, audit_tables

    experiment, final = house.experiment, fold_key(symbol, HOLDOUT)
    training = _training(house, symbol, given)
    names = [model.name for model in experiment.models]
    rows = pl.concat(frame for key, frame in sorted(given["oof_predictions"].items()) if key != final)

    def fit(labels: pl.DataFrame) -> MetaFit:
        return fit_ensemble(rows, labels, names, experiment, training.test_start)

    return pl.concat([
        audit_tables(training),
        audit_fold(training, _fits(final, names, given), tuple(names)),
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
