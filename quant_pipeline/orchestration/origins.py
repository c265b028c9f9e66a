"""Who asked for a run: one tag, the same on all runs of one command, tick or click, by which *Runs* shows them together.

Not Dagster's own tags of a root and a parent run: by those it shows every run as a re-execution of another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster._core.storage.tags import (
    BACKFILL_ID_TAG,
    SCHEDULE_NAME_TAG,
    SCHEDULED_EXECUTION_TIME_TAG,
    SENSOR_NAME_TAG,
    TICK_ID_TAG,
)

if TYPE_CHECKING:
    import dagster as dg

COMMAND_TAG = "quant/asked"
"""In the list of runs tags stand by their names: this one comes before those that name the process."""


def command_tag(command: str) -> dict[str, str]:
    """The tag of all runs of a command that begins now, as `run GC=F 2026-11-16T10:00:05`."""
    return {COMMAND_TAG: f"{command} {datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"}


def job_told(name: str) -> str:
    """A job as a person reads it: Dagster's own for any assets is called __ASSET_JOB."""
    return name.strip("_").lower()


def origin_tag(run: dg.DagsterRun) -> dict[str, str]:
    """The tag of a run as it is, else by what asked for it: the tick of a schedule or sensor, a backfill, a person."""
    tags = run.tags
    by = tags.get(SCHEDULE_NAME_TAG) or tags.get(SENSOR_NAME_TAG) or ("backfill" if BACKFILL_ID_TAG in tags else run.job_name)
    when = tags.get(SCHEDULED_EXECUTION_TIME_TAG) or tags.get(TICK_ID_TAG) or tags.get(BACKFILL_ID_TAG) or run.run_id[:8]
    return {COMMAND_TAG: tags.get(COMMAND_TAG, f"{job_told(by)} {when}")}
