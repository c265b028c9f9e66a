"""What runs that ended say of failures, of sources that were down inside them, and of the ends of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from quant_pipeline.ledger import DOWN
from quant_pipeline.monitoring.alerts import failure_message, outage_message
from quant_pipeline.monitoring.troubles import Trouble, alike
from quant_pipeline.orchestration.failures import reason
from quant_pipeline.orchestration.origins import job_told
from quant_pipeline.orchestration.partitions import spelled
from quant_pipeline.orchestration.slots import SYMBOL_TAG, TRAINING

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent

    from quant_pipeline.orchestration.telling import Teller

RUNS_BACK, OVERLAP = timedelta(days=1), timedelta(minutes=1)  # of runs: at the first look, and at each for late commits
TOLD = {
    dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.RUN_FAILURE,
}  # fmt: skip


def tell_runs(teller: Teller, instance: dg.DagsterInstance, since: datetime | None) -> datetime | None:
    """What runs that ended after `since` (None: within a day) say of failures, outages and their ends.

    Returns the moment up to which runs were told, `since` when there is no newer one.
    """
    after = (since or teller.now - RUNS_BACK) - OVERLAP
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE], updated_after=after)
    records = instance.get_run_records(ended, order_by="update_timestamp", ascending=True)
    fresh = teller.book.unheard([f"run/{record.dagster_run.run_id}" for record in records])
    for record in records:
        key = f"run/{record.dagster_run.run_id}"
        if key in fresh:
            _tell_run(teller, instance, record)
            teller.book.hear(key)
    return records[-1].update_timestamp if records else since


def _tell_run(teller: Teller, instance: dg.DagsterInstance, record: dg.RunRecord) -> None:
    entries = instance.all_logs(record.dagster_run.run_id, of_type=TOLD)
    events = [(datetime.fromtimestamp(entry.timestamp, UTC), entry.dagster_event) for entry in entries if entry.dagster_event]
    run = _Run(record, frozenset(_shared(instance, [event for _, event in events])))
    failed = any(event.is_step_failure for _, event in events)
    told = run.failed and _told_by_another(instance, record)
    for at, event in events:
        if event.is_step_success:
            teller.end(run.scope(event.step_key), at)
        elif event.is_step_materialization:
            _tell_outage(teller, run, event, at)
        elif not told and (event.is_step_failure or not failed):
            teller.note(run.failure(event, at))
    if not run.failed:
        teller.end(run.scope(None), record.update_timestamp)


@dataclass(frozen=True)
class _Run:
    """A run that ended, as its troubles are told; `shared` are its steps that make something of no partition."""

    record: dg.RunRecord
    shared: frozenset[str]

    @property
    def id(self) -> str:
        return self.record.dagster_run.run_id

    @property
    def job(self) -> str:
        return self.record.dagster_run.job_name

    @property
    def failed(self) -> bool:
        return self.record.dagster_run.status == dg.DagsterRunStatus.FAILURE

    @property
    def partition(self) -> str:
        tags = self.record.dagster_run.tags
        return tags.get(PARTITION_NAME_TAG) or tags.get(SYMBOL_TAG) or ""

    def scope(self, step: str | None) -> str:
        """Of a step, in whichever job it runs, or of the whole job where no step is to blame."""
        return f"run/{self.whose(step)}/{step or self.job}"

    def whose(self, step: str | None) -> str:
        """The partition that a step is about: none where runs of all partitions make the same."""
        return "" if step in self.shared else self.partition

    def failure(self, event: DagsterEvent, at: datetime) -> Trouble:
        job = job_told(self.job)
        thing = f"{spelled(self.whose(event.step_key))} {event.step_key or job}".strip()
        error = event.step_failure_data.error if event.is_step_failure else None
        said = reason(error) if error else event.message or ""
        text = failure_message(thing, job, self.id, said)
        scope = self.scope(event.step_key)
        return Trouble(f"{scope}/{self.id}", scope, alike(said), "failed", thing, text, at)


def _shared(instance: dg.DagsterInstance, events: list[DagsterEvent]) -> Iterator[str]:
    """Steps whose asset has no partition, by what they made in this run, or where they failed, the last time."""
    for event in events:
        if event.is_step_materialization and event.step_key and event.partition is None:
            yield event.step_key
        elif event.is_step_failure and event.step_key:
            entry = instance.get_latest_materialization_event(dg.AssetKey(event.step_key))
            made = entry.asset_materialization if entry else None
            if made and made.partition is None:
                yield event.step_key


def _told_by_another(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether `record` is of a training one of whose own runs failed: that one tells the reason."""
    if record.dagster_run.job_name != TRAINING:
        return False
    own = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], tags={SYMBOL_TAG: record.dagster_run.tags.get(PARTITION_NAME_TAG, "")},
        created_after=record.create_timestamp, updated_before=record.update_timestamp,
    )  # fmt: skip
    return bool(instance.get_run_records(own, limit=1))


def _tell_outage(teller: Teller, run: _Run, event: DagsterEvent, at: datetime) -> None:
    made = event.step_materialization_data.materialization
    if "ledger" not in made.metadata:
        return
    ledger: Any = made.metadata["ledger"].value
    problems = list(_problems(ledger["notes"]))
    thing = f"{made.partition or ''} {made.asset_key.to_user_string()}".strip()
    scope = f"outage/{thing}"
    if problems:
        trouble = Trouble(f"{scope}/{run.id}", scope, "outage", "outage", thing, outage_message(thing, problems), at)
        teller.note(trouble)
    else:
        teller.end(scope, at)


def _problems(notes: dict[str, Any]) -> Iterator[str]:
    """What did not come, as the ledger's notes tell it: why a source was `down`, one reason or one a name, and `problems`."""
    down = notes.get(DOWN, {})
    told = [f"{name}: {why}" for name, why in sorted(down.items())] if isinstance(down, dict) else [str(down)]
    yield from told
    if notes.get("partial"):
        yield from (problem for problem in notes["problems"] if problem not in told)
