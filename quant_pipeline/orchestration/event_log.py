"""Dagster's record of events, which marks every run with its process and its slot, and lets no step wait on the dead."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from quant_pipeline.files import locked, remove
from quant_pipeline.orchestration import slots
from quant_pipeline.orchestration.burial import bury
from quant_pipeline.orchestration.connections import Connections
from quant_pipeline.orchestration.failures import reason_first
from quant_pipeline.orchestration.owners import owner_tags

if TYPE_CHECKING:
    from dagster._utils.concurrency import ConcurrencyClaimStatus
    from sqlalchemy.engine import Connection, Engine

TAKEN = {dg.DagsterEventType.RUN_STARTING, dg.DagsterEventType.RUN_START}
"""Told by the process that has the run from then on: first the daemon, then the run's own."""
FAILED = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


class EventLog(SqliteEventLogStorage):
    """One SQLite file a run, and an index. Files are set up by one process at a time, and go with their run."""

    def __init__(self, base_dir: str) -> None:
        self._waits: dict[tuple[str, str], float] = {}
        self._connections = Connections(self._initdb)
        super().__init__(base_dir)

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:  # noqa: FBT001, FBT002 - Dagster's signature
        with locked(Path(self._base_dir) / ".lock"):
            super()._initdb(engine, for_index_shard)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """A transaction in the file of a run, or in the index; one thread at a time."""
        with self._db_lock, self._connections.engine(self.conn_string_for_shard(shard)).begin() as connection:
            yield connection

    def wipe(self) -> None:
        """Forget all runs."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        self._close()

    def _close(self) -> None:
        with self._db_lock:
            self._connections.close()

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Keep the event, a failure with its reason first, and mark the run where the event says that it was queued or taken."""
        kind = event.dagster_event_type
        if kind in TAKEN:
            self._instance.add_run_tags(event.run_id, owner_tags())
        if kind is dg.DagsterEventType.RUN_ENQUEUED and (run := self._instance.get_run_by_id(event.run_id)):
            self._instance.add_run_tags(event.run_id, slots.queue_tags(run))
        if kind in FAILED and event.dagster_event:
            event = event._replace(dagster_event=reason_first(event.dagster_event))
        super().store_event(event)

    def delete_events(self, run_id: str) -> None:
        """Forget a run's events, and remove its file."""
        with self.index_connection() as connection:
            self.delete_events_for_run(connection, run_id)
        self.free_concurrency_slots_for_run(run_id)
        with self._db_lock:
            self._connections.forget(self.conn_string_for_shard(run_id))
        for ending in ("", "-wal", "-shm"):
            remove(Path(f"{self.path_for_shard(run_id)}{ending}"))

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """A place in a pool, or not yet. Those that hold it and are over or dead are put out of it first.

        Raises:
            BusyError: the step has waited for too long.
        """
        claim = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if not claim.is_claimed and self._put_out(self._holders(concurrency_key, run_id)):
            claim = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if claim.is_claimed:
            self._waits.pop((run_id, step_key), None)
        else:
            self._wait(concurrency_key, run_id, step_key)
        return claim

    def _holders(self, pool: str, waiting: str) -> list[str]:
        """Runs that hold a place in the pool, or are next to take one."""
        info = self.get_concurrency_info(pool)
        next_ones = [step.run_id for step in info.pending_steps if step.assigned_timestamp]
        return sorted({slot.run_id for slot in info.claimed_slots}.union(next_ones) - {waiting})

    def _put_out(self, run_ids: Iterable[str]) -> bool:
        """Free what runs hold that are over, dead or forgotten; whether there was one."""
        found = {run_id: self._instance.get_run_by_id(run_id) for run_id in run_ids}
        over = [run_id for run_id, run in found.items() if run is None or run.is_finished or bury(self._instance, run)]
        for run_id in over:
            self.free_concurrency_slots_for_run(run_id)
        return bool(over)

    def _wait(self, pool: str, run_id: str, step_key: str) -> None:
        now = time.monotonic()
        since = self._waits.setdefault((run_id, step_key), now)
        runs = [self._instance.get_run_by_id(holder) for holder in self._holders(pool, run_id)]
        holders = ", ".join(slots.told(run) for run in runs if run) or "a run that just ended"
        if now - since > slots.LONGEST_WAIT.total_seconds():
            raise slots.waited_too_long(pool, step_key, holders)
        if now == since:
            self._instance.report_engine_event(
                f"{slots.WAITS} the pool {pool}, held by {holders}", self._instance.get_run_by_id(run_id), step_key=step_key
            )
