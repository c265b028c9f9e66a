"""Group `features`: the gate. Rows of features are made again as live inference would, before anything learns from them."""

from collections import Counter

import dagster as dg
import polars as pl

from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.audit_process import READS
from quant_pipeline.orchestration.clearance import AUDIT
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, markdown_table, table_result

OPENED = {
    "orchestration/audit_process.py": ("orchestration/library.py", "inference/account.py"),
    "inference/watch.py": (),
}
"""What the process of the audit asks of the house; the modules that it imports by name are those of the registry of features."""
NEW_YORK = "America/New_York"  # its clock moves every market's busiest hours


def audit_assets(house: House) -> list[dg.AssetsDefinition]:
    """`feature_audit`."""
    return [_audit(house)]


def _audit(house: House) -> dg.AssetsDefinition:
    @described(
        "features",
        house,
        reads=READS,
        opened=OPENED,
        kinds={"polars"},
        stored="table",
        ins={"features": dg.AssetIn(), "bars": dg.AssetIn(key=rung_key(house.experiment.primary))},
        partitions_def=symbols(house),
        description="Faults of the features: rows made again through the live path in a fresh process, at edges and each week. "
        "Nothing is trained while there is one.",
        check_specs=[dg.AssetCheckSpec("live_path", asset=AUDIT, description="Rows made again from their own past are equal.")],
    )
    def feature_audit(
        context: dg.AssetExecutionContext, house: dg.ResourceParam[House], features: pl.DataFrame, bars: pl.DataFrame
    ) -> Result:
        from quant_pipeline.features.calendar import time_zone
        from quant_pipeline.features.registry import specs
        from quant_pipeline.inference.faults import faults_of
        from quant_pipeline.inference.gate import from_raw
        from quant_pipeline.orchestration.audit_process import remake_rows
        from quant_pipeline.validation.edges import audit_moments

        symbol = context.partition_key
        zones = (time_zone(house.symbol(symbol).calendar), NEW_YORK)
        asked = audit_moments(features, bars, zones, seed=house.experiment.seed)
        modules = sorted({spec.function.__module__ for spec in specs(house.experiment.features.families)})
        moments = asked["decision_at"].to_list()
        again = remake_rows(house, symbol, moments, from_raw(asked), modules, width=features.width)
        faults = faults_of(again.rows, again.faults, again.accesses, features, moments)
        return table_result(faults, checks=[_verdict(faults, asked)], extra={"moments": len(moments)})

    return feature_audit


def _verdict(faults: pl.DataFrame, asked: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="live_path",
        passed=faults.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "moments": asked.height,
            "kinds": dict(Counter(asked["kind"])),
            "columns": ", ".join(faults["where"].unique(maintain_order=True)),
            "faults": dg.MetadataValue.md(markdown_table(faults.head(50))),
        },
    )
