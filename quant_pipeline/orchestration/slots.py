"""Who waits for whom: the slots of queued runs, which `dagster.yaml` limits, and the wait of a step on a pool.

Only runs of the queue hold a slot. What a training runs within its own process is counted with the training.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG, PARTITION_NAME_TAG, PRIORITY_TAG

from quant_pipeline.errors import BusyError
from quant_pipeline.orchestration.origins import job_told, origin_tag
from quant_pipeline.orchestration.owners import PID_TAG

if TYPE_CHECKING:
    import dagster as dg

INFERENCE, DRIFT, TRAINING = "hourly_inference", "drift_check", "train_symbol"
"""Names of the jobs."""
SLOT_TAG, SYMBOL_TAG = "quant/slot", "quant/symbol"
WAITS = "waits for"
"""How the event begins that tells of a wait."""
LONGEST_WAIT = timedelta(minutes=20)
"""A step that waits longer on a pool fails: the signal of an hour is of no use in the next."""
_BOUNDED = {MAX_RUNTIME_SECONDS_TAG: "1800"}
_SLOTS: dict[str, dict[str, str]] = {
    INFERENCE: {SLOT_TAG: "inference", PRIORITY_TAG: "10", **_BOUNDED},
    DRIFT: {SLOT_TAG: "other", **_BOUNDED},
    TRAINING: {SLOT_TAG: "training"},
}
_OTHERS = {SLOT_TAG: "other"}


def queue_tags(run: dg.DagsterRun) -> dict[str, str]:
    """Tags that a run gets when it enters the queue; what it already says stands."""
    tags = {**_SLOTS.get(run.job_name, _OTHERS), **symbol_tag(run.tags.get(PARTITION_NAME_TAG)), **origin_tag(run)}
    return {name: value for name, value in tags.items() if name not in run.tags}


def symbol_tag(partition: str | None) -> dict[str, str]:
    """The tag that names the symbol of a partition."""
    return {SYMBOL_TAG: partition.split("|")[-1]} if partition else {}


def told(run: dg.DagsterRun) -> str:
    """A run in words: what it makes, of which symbol, in which process."""
    process = run.tags.get(PID_TAG, "unknown")
    return f"{job_told(run.job_name)} of {run.tags.get(SYMBOL_TAG, 'no symbol')} (run {run.run_id[:8]}, process {process})"


def waited_too_long(pool: str, step: str, holders: str) -> BusyError:
    """The end of a wait on `pool`."""
    minutes = LONGEST_WAIT.total_seconds() / 60
    return BusyError(
        f"{step.replace('__', '/')}, which waits for the pool {pool}", found=f"it held for {minutes:.0f} minutes by {holders}",
        wanted="a free place", mend="wait for that run or stop it, then run the same command again",
    )  # fmt: skip
