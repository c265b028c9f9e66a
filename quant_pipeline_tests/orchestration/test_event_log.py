"""Slots and pools with real processes, killed as a power cut would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from quant_pipeline.errors import BusyError
from quant_pipeline.orchestration import slots
from quant_pipeline.orchestration.owners import PID_TAG, owner_tags

SYMBOL = "BTC-USD"
REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("quant_pipeline"), "__repository__")
STATUS = dg.DagsterRunStatus
# a run that stops in the middle of its only asset, as long as it is let
HOLD = """
import sys, time
import dagster as dg

@dg.asset(pool="source_simulated")
def held():
    print("held", file=sys.__stderr__, flush=True)
    open(sys.argv[1], "w").close()
    time.sleep(120)

dg.Definitions(assets=[held]).resolve_implicit_global_asset_job_def().execute_in_process(instance=dg.DagsterInstance.get())
"""


@contextmanager
def holders(home, count: int = 2) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of another symbol, each in a place of the source's pool until it is killed."""
    marks = [home.root / f"held-{number}" for number in range(count)]
    places = {**os.environ, **home.environment()}
    running = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(mark)], env=places, cwd=home.root, stderr=subprocess.DEVNULL)
        for mark in marks
    ]
    try:
        while not all(mark.exists() for mark in marks):
            assert [process.poll() for process in running] == [None] * count
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def enqueue(instance: dg.DagsterInstance, job: str, **tags: str) -> dg.DagsterRun:
    run = create_run_for_test(instance, job_name=job, tags=tags, remote_job_origin=RemoteJobOrigin(REPOSITORY, job))
    instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run_id=run.run_id)
    return instance.get_run_by_id(run.run_id)


def dequeued(instance: dg.DagsterInstance) -> list[str]:
    """Jobs that the daemon would launch now, in its order."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    return [run.job_name for run in daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)]


def test_a_killed_run_of_another_symbol_makes_nobody_wait(bare_home):
    with bare_home.runner() as runner:
        with holders(bare_home) as running:
            assert {run.tags[PID_TAG] for run in runner.instance.get_runs()} == {str(process.pid) for process in running}
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
        statuses = [run.status for run in runner.instance.get_runs()]
        info = runner.instance.event_log_storage.get_concurrency_info("source_simulated")
    assert statuses == [STATUS.SUCCESS, STATUS.FAILURE, STATUS.FAILURE]
    assert info.claimed_slots == info.pending_steps == []


def test_a_wait_says_for_what_and_ends(bare_home, monkeypatch):
    monkeypatch.setattr(slots, "LONGEST_WAIT", timedelta(seconds=1))
    with bare_home.runner() as runner:
        with holders(bare_home) as running:
            with pytest.raises(BusyError, match=rf"pool source_simulated.*held for.*process {running[0].pid}") as caught:
                runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
            waited = runner.instance.get_runs()[0]
            told = [event.message for event in runner.instance.all_logs(waited.run_id) if event.message.startswith("waits")]
            left = runner.instance.event_log_storage.get_concurrency_info("source_simulated").pending_steps
        assert "wait for that run or stop it" in str(caught.value)
    assert waited.status is STATUS.FAILURE
    assert len(told) == 1
    assert str(running[0].pid) in told[0]
    assert waited.run_id not in {step.run_id for step in left}


def test_runs_of_the_queue_say_their_slot_and_symbol(bare_home):
    with bare_home.open() as instance:
        hourly = enqueue(instance, "hourly_inference", **{"dagster/partition": SYMBOL})
        fold = enqueue(instance, "__ASSET_JOB", **{"dagster/partition": f"fold_00|{SYMBOL}", "quant/slot": "training"})
        training = enqueue(instance, "train_symbol")
    assert (hourly.tags["quant/slot"], hourly.tags["quant/symbol"]) == ("inference", SYMBOL)
    assert (fold.tags["quant/slot"], fold.tags["quant/symbol"]) == ("training", SYMBOL)
    assert "dagster/max_runtime" not in training.tags


def test_signals_do_not_wait_behind_trainings_and_what_they_run_within(bare_home):
    with bare_home.open() as instance:
        assert instance.run_monitoring_max_runtime_seconds == 0
        training = enqueue(instance, "train_symbol")
        assert dequeued(instance) == ["train_symbol"]
        create_run_for_test(instance, job_name="train_symbol", status=STATUS.STARTED, tags=training.tags)
        for _ in range(3):
            create_run_for_test(instance, status=STATUS.STARTED, tags=owner_tags())
        enqueue(instance, "__ASSET_JOB")
        enqueue(instance, "hourly_inference")
        assert dequeued(instance) == ["hourly_inference", "__ASSET_JOB"]


def test_what_a_training_runs_within_its_process_holds_no_slot(home):
    from quant_pipeline.definitions import build_defs

    with home.open() as instance:
        known = {run.run_id for run in instance.get_runs()}
        build_defs(home.house()).resolve_job_def("train_symbol").execute_in_process(instance=instance, partition_key=SYMBOL)
        within = [run for run in instance.get_runs() if run.run_id not in known]
    assert {run.job_name for run in within} == {"train_symbol", "__ASSET_JOB"}
    assert not [run for run in within if "quant/slot" in run.tags]
    assert {run.tags[PID_TAG] for run in within} == {str(os.getpid())}


def test_a_forgotten_run_leaves_no_file(bare_home):
    with bare_home.runner() as runner:
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
        run_id = runner.instance.get_runs()[0].run_id
        assert [*bare_home.root.rglob(f"{run_id}*")]
        runner.instance.delete_run(run_id)
        assert [path.name for path in bare_home.root.rglob(f"{run_id}*.db*")] == []
        assert runner.instance.get_runs() == []
