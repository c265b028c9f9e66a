"""Group `features`: every enabled feature on the primary bars, with its ledger and its prefix audit."""

from datetime import datetime

import dagster as dg
import polars as pl

from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, table_result
from quant_pipeline.orchestration.versions import code_version

AUDIT_CUTS = 3


def feature_assets(house: House) -> list[dg.AssetsDefinition]:
    """The `features` asset. Families are validated here, before any work."""
    from quant_pipeline.features.registry import specs

    experiment = house.experiment
    specs(experiment.features.families)
    version = code_version("features", "bars/asof", settings=(experiment.features, experiment.primary, experiment.ladder))
    ins = {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in experiment.ladder}

    @described(
        "features",
        version,
        kinds={"polars"},
        stored="table",
        ins=ins,
        partitions_def=symbols(house),
        description="All enabled features at each decision time, joined as-of from every rung.",
        check_specs=[
            dg.AssetCheckSpec(
                "prefix_audit", asset="features", description="Rows recomputed from history up to their own time are equal."
            )
        ],
    )
    def features(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **bars: pl.DataFrame) -> Result:
        from quant_pipeline.features.build import build_features
        from quant_pipeline.orchestration.figures import counts

        symbol, rungs = context.partition_key, {name.removeprefix("bars_"): frame for name, frame in bars.items()}
        calendar = house.symbol(symbol).calendar
        frame, ledger = build_features(rungs, house.experiment.features, house.experiment.primary, calendar)
        return table_result(
            frame,
            ledger=ledger,
            time="decision_at",
            checks=[_audit(rungs, frame, house, calendar)],
            figure=counts(_families(frame), "feature columns by prefix"),
        )

    return [features]


def _audit(rungs: dict[str, pl.DataFrame], frame: pl.DataFrame, house: House, calendar: str) -> dg.AssetCheckResult:
    from quant_pipeline.features.build import build_features
    from quant_pipeline.validation.audit import prefix_audit, random_cuts

    def compute(cut: datetime) -> pl.DataFrame:
        known = {rung: bars.filter(pl.col("known_at") <= cut) for rung, bars in rungs.items()}
        return build_features(known, house.experiment.features, house.experiment.primary, calendar)[0]

    cuts = random_cuts(frame["decision_at"], AUDIT_CUTS, seed=house.experiment.seed)
    differences = prefix_audit(compute, frame, cuts)
    return dg.AssetCheckResult(
        check_name="prefix_audit",
        passed=differences.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"cuts": len(cuts), "columns": frame.width, "differences": differences.height},
    )


def _families(frame: pl.DataFrame) -> dict[str, float]:
    prefixes = pl.Series([name.rsplit("_", 1)[0] for name in frame.columns[2:]])
    return dict(prefixes.value_counts(sort=True).head(20).iter_rows())
