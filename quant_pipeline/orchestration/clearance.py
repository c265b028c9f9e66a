"""Whether features may be learned from: they passed their audit, and are still those that were audited."""

from __future__ import annotations

import dagster as dg
import polars as pl

from quant_pipeline.errors import LeakageError
from quant_pipeline.inference.faults import leakage
from quant_pipeline.orchestration.remaking import remake

FEATURES, AUDIT = dg.AssetKey("features"), dg.AssetKey("feature_audit")
VERSION, POINTER = "dagster/data_version", f"dagster/input_event_pointer/{FEATURES.to_user_string()}"


def require_cleared(instance: dg.DagsterInstance, symbol: str, faults: pl.DataFrame) -> None:
    """Let only features through that passed their audit.

    Args:
        instance: whose history tells which features `faults` are about.
        symbol: whose features.
        faults: the table `feature_audit`.

    Raises:
        LeakageError: there are faults, which it names; or the features were made anew since they were audited.
    """
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
