"""What Dagster's daemon does, a step at a time and in this process: ticks, the queue with its limits, and the runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import RUN_KEY_TAG
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

KEEPER = "record_keeper"
TELLERS = ("run_failure_alert", "new_signal_alert", "drift_retrain")
HOURLY, DAILY = "hourly_inference_schedule", "daily_drift_schedule"


@dataclass
class Daemon:
    """Ticks of the schedules and sensors of `repository`; what they ask for is queued, and worked on in turn."""

    repository: dg.RepositoryDefinition
    instance: dg.DagsterInstance
    launch: Callable[[Daemon, dg.DagsterRun], None] = field(default=lambda daemon, run: daemon.execute(run))
    cursors: dict[str, str] = field(default_factory=dict)

    def schedule(self, name: str, at: datetime) -> str:
        """A tick of a schedule; what it says where it asks for nothing."""
        schedule = self.repository.get_schedule_def(name)
        moments = {"scheduled_execution_time": at, "repository_def": self.repository}
        with dg.build_schedule_context(self.instance, **moments) as context:
            found = schedule.evaluate_tick(context)
        for request in found.run_requests or ():
            self._ask(schedule.job_name, request)
        return found.skip_message or ""

    def sense(self, name: str) -> str:
        """A tick of a sensor; what it says where it asks for nothing."""
        sensor = self.repository.get_sensor_def(name)
        context = dg.build_sensor_context(self.instance, cursor=self.cursors.get(name), repository_def=self.repository)
        found = sensor.evaluate_tick(context)
        if found.cursor:
            self.cursors[name] = found.cursor
        for request in found.run_requests or ():
            self._ask(sensor.job_name, request)
        return found.skip_message or ""

    def work(self) -> int:
        """Launch what the queue's limits allow until nothing is left that they do; how many runs that were."""
        queue, launched = QueuedRunCoordinatorDaemon(interval_seconds=5), 0
        while runs := queue._get_runs_to_dequeue(self.instance, self.instance.get_concurrency_config(), None):
            for run in runs:
                self._event(run, dg.DagsterEventType.RUN_STARTING)
                self.launch(self, self._again(run))
                launched += 1
        return launched

    def execute(self, run: dg.DagsterRun) -> None:
        """Do what a run's own process does; whatever fails in it is told by its events."""
        job = InMemoryJob(self.repository.get_job(run.job_name))
        with suppress(Exception):
            list(execute_run_iterator(job, run, self.instance))

    def _ask(self, job: str, request: dg.RunRequest) -> None:
        if request.run_key and self.instance.get_run_ids(dg.RunsFilter(job_name=job, tags={RUN_KEY_TAG: request.run_key})):
            return
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("month"), self.repository.name)
        key = {RUN_KEY_TAG: request.run_key} if request.run_key else {}
        run = self.instance.create_run_for_job(
            self.repository.get_job(job), run_config=request.run_config, tags={**request.tags, **key},
            status=dg.DagsterRunStatus.NOT_STARTED, remote_job_origin=RemoteJobOrigin(place, job),
        )  # fmt: skip
        self._event(run, dg.DagsterEventType.RUN_ENQUEUED)

    def _event(self, run: dg.DagsterRun, kind: dg.DagsterEventType) -> None:
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)

    def _again(self, run: dg.DagsterRun) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run.run_id)
        assert found
        return found
