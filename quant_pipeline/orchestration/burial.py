"""Runs whose process is gone are told as failed, whoever finds them, and hold nothing any more."""

from __future__ import annotations

import dagster as dg

from quant_pipeline.orchestration.owners import PID_TAG, gone
from quant_pipeline.orchestration.slots import INFERENCE

UNFINISHED = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def bury_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Bury every unfinished run whose process is gone; their ids. What waits in the queue has no process yet."""
    return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if bury(instance, run)]


def bury(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Mark `run` as failed, or canceled if that was asked for, and free its slots, if its process is gone; whether it was."""
    if not gone(run.tags):
        return False
    ended = f"its process {run.tags[PID_TAG]} ended without a word"
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, ended)
    else:
        after = "the next tick asks for it again" if run.job_name == INFERENCE else "the next `quant run` goes on from here"
        instance.report_run_failed(run, f"{ended}; {after}")
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return True
