"""Group `features`: the gate. Rows of features are made again as live inference would, before anything learns from them."""

from collections import Counter

import dagster as dg
import polars as pl

from quant_pipeline.errors import LeakageError
from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.audit_process import READS
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.io_managers import remake
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, markdown_table, table_result

FEATURES, AUDIT = dg.AssetKey("features"), dg.AssetKey("feature_audit")
VERSION, POINTER = "dagster/data_version", f"dagster/input_event_pointer/{FEATURES.to_user_string()}"
NEW_YORK = "America/New_York"  # its clock moves every market's busiest hours


def audit_assets(house: House) -> list[dg.AssetsDefinition]:
    """`feature_audit`."""
    return [_audit(house)]


def _audit(house: House) -> dg.AssetsDefinition:
    @described(
        "features",
        house,
        reads=READS,
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
        from quant_pipeline.inference.gate import faults_of, from_raw
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


def require_cleared(instance: dg.DagsterInstance, symbol: str, faults: pl.DataFrame) -> None:
    """Let only features through that passed their audit.

    Args:
        instance: whose history tells which features `faults` are about.
        symbol: whose features.
        faults: the table `feature_audit`.

    Raises:
        LeakageError: there are faults, which it names; or the features were made anew since they were audited.
    """
    from quant_pipeline.inference.gate import leakage

    if faults.height:
        raise leakage(symbol, faults)
    pointer = _tags(instance, dg.AssetRecordsFilter(AUDIT, asset_partitions=[symbol])).get(POINTER)
    made = _tags(instance, dg.AssetRecordsFilter(FEATURES, asset_partitions=[symbol])).get(VERSION)
    audited = _tags(instance, dg.AssetRecordsFilter(FEATURES, storage_ids=[int(pointer)])).get(VERSION) if pointer else None
    if audited is None or made != audited:
        raise LeakageError(
            f"features of {symbol}", found="made anew since their audit", wanted="features that were audited",
            mend=remake(AUDIT, symbol),
        )  # fmt: skip


def _tags(instance: dg.DagsterInstance, wanted: dg.AssetRecordsFilter) -> dict[str, str]:
    """Tags of the newest materialization that is wanted."""
    records = instance.fetch_materializations(wanted, limit=1).records
    made = records[0].asset_materialization if records else None
    return dict(made.tags or {}) if made else {}
