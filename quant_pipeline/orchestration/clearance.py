"""Whether features may be learned from: they passed their audit, and are still those that were audited."""

from __future__ import annotations

from hashlib import sha256

import dagster as dg
import polars as pl

from quant_pipeline.errors import LeakageError
from quant_pipeline.inference.faults import leakage
from quant_pipeline.orchestration.remaking import remake

FEATURES, AUDIT = dg.AssetKey("features"), dg.AssetKey("feature_audit")
MADE, AUDITED = "dagster/data_version", f"dagster/input_data_version/{FEATURES.to_user_string()}"


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
    audited = _tags(instance, AUDIT, symbol).get(AUDITED)
    made = _tags(instance, FEATURES, symbol).get(MADE)
    if made is None or audited != _as_input(made):
        raise LeakageError(
            f"features of {symbol}", found="made anew since their audit", wanted="features that were audited",
            mend=remake(AUDIT, symbol),
        )  # fmt: skip


def _as_input(version: str) -> str:
    """How Dagster tells the version of one partition in what was made from it; its event pointer may name another partition."""
    return sha256(version.encode()).hexdigest()


def _tags(instance: dg.DagsterInstance, key: dg.AssetKey, symbol: str) -> dict[str, str]:
    """Tags of the newest materialization of a symbol's `key`."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[symbol]), limit=1).records
    made = records[0].asset_materialization if records else None
    return dict(made.tags or {}) if made else {}
