"""Outages: a run that was told its decision goes on without an input that cannot be brought up to date, and says so."""

from collections.abc import Callable, Iterable

import dagster as dg
from dagster._core.definitions.data_version import extract_data_version_from_entry

from quant_pipeline.ledger import DOWN, Ledger
from quant_pipeline.orchestration.moments import told_decisions
from quant_pipeline.orchestration.results import Result, ledger_metadata


def survived(context: dg.AssetExecutionContext, bring: Callable[[], Result]) -> Result:
    """What `bring` gives; where a decision is due and it fails, the asset as it was, with the failure as a note."""
    try:
        return bring()
    except Exception as error:  # an answer is due, whatever a source, or the code that reads it, does
        if not told_decisions(context):
            raise
        context.log.exception("the decision is made without what is new")
        before = _latest(context, context.asset_key)
        version = extract_data_version_from_entry(before.event_log_entry) if before else None
        ledger = Ledger(notes={DOWN: f"{type(error).__name__}: {error}"})
        return dg.MaterializeResult(data_version=version, metadata=ledger_metadata(ledger))


def sources_down(context: dg.AssetExecutionContext, names: Iterable[str]) -> dict[str, str]:
    """Those of the assets `names` whose source did not answer when they were last made, and why."""
    notes = {name: _notes(_latest(context, dg.AssetKey(name))) for name in names}
    return {name: str(told[DOWN]) for name, told in notes.items() if DOWN in told}


def _latest(context: dg.AssetExecutionContext, key: dg.AssetKey) -> dg.EventLogRecord | None:
    whole = dg.AssetRecordsFilter(asset_key=key)
    part = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[context.partition_key]) if context.has_partition_key else whole
    records = context.instance.fetch_materializations(part, limit=1).records
    return next(iter(records or context.instance.fetch_materializations(whole, limit=1).records), None)


def _notes(record: dg.EventLogRecord | None) -> dict[str, object]:
    made = record.asset_materialization if record else None
    value = made.metadata["ledger"].value if made and "ledger" in made.metadata else {}
    return dict(value.get("notes", {})) if isinstance(value, dict) else {}
