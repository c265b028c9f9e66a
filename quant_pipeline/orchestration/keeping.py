"""What keeps the record of runs in order by itself: dead runs are buried, old ones forgotten.

A run that made what is newest of an asset's partition is never forgotten: by its record it is known to be fresh.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

from quant_pipeline.orchestration.burial import bury_dead_runs

if TYPE_CHECKING:
    from dagster._core.storage.event_log import SqlEventLogStorage

KEPT = {
    dg.DagsterRunStatus.SUCCESS: timedelta(days=14),
    dg.DagsterRunStatus.CANCELED: timedelta(days=14),
    dg.DagsterRunStatus.FAILURE: timedelta(days=60),
}
"""How long the record of a run is kept."""
AT_ONCE = 25
"""More runs than that are not forgotten in one go, so that nobody waits for it."""


def keeper() -> dg.SensorDefinition:
    """The sensor that does it while the daemon runs; its first tick is the daemon's start."""

    @dg.sensor(
        name="record_keeper",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Buries runs whose process is gone, so that nothing waits for them, and forgets old ones.",
    )
    def record_keeper(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(keep(context.instance))

    return record_keeper


def keep(instance: dg.DagsterInstance, now: datetime | None = None) -> str:
    """Bury the dead and forget the old as of `now`; says how many."""
    buried = bury_dead_runs(instance)
    forgotten = forget_old_runs(instance, now or datetime.now(UTC))
    return f"{len(buried)} runs buried, {len(forgotten)} forgotten"


def forget_old_runs(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Delete old finished runs, their events and their logs, the oldest first; their ids."""
    old = [
        run_id
        for status, span in KEPT.items()
        for run_id in reversed(instance.get_run_ids(dg.RunsFilter(statuses=[status], updated_before=now - span)))
    ]
    needed = _needed(cast("SqlEventLogStorage", instance.event_log_storage)) if old else set()
    chosen = [run_id for run_id in old if run_id not in needed][:AT_ONCE]
    for run_id in chosen:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    return chosen


def _needed(storage: SqlEventLogStorage) -> set[str]:
    """Runs that made the newest of any asset's partition."""
    events = SqlEventLogStorageTable.c
    newest = sa.select(sa.func.max(events.id)).where(
        events.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value
    ).group_by(events.asset_key, events.partition)  # fmt: skip
    with storage.index_connection() as connection:
        needed = sa.select(events.run_id).distinct().where(events.id.in_(newest))
        return {run_id for (run_id,) in connection.execute(needed)}
