from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from quant_pipeline.orchestration.burial import bury_dead_runs
from quant_pipeline.orchestration.owners import BOOT_TAG, owner_tags

STATUS = dg.DagsterRunStatus
OF_ANOTHER_BOOT = {**owner_tags(), BOOT_TAG: "another"}


def made(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
    return create_run_for_test(instance, status=status, tags=tags).run_id


@pytest.mark.parametrize(
    ("status", "after"),
    [
        (STATUS.STARTED, STATUS.FAILURE), (STATUS.STARTING, STATUS.FAILURE), (STATUS.NOT_STARTED, STATUS.FAILURE),
        (STATUS.CANCELING, STATUS.CANCELED),
    ],
)  # fmt: skip
def test_runs_of_every_symbol_whose_process_is_gone_are_buried(bare_home, status, after):
    with bare_home.open() as instance:
        dead = {made(instance, status, {**OF_ANOTHER_BOOT, "quant/symbol": symbol}) for symbol in ("GC=F", "BTC-USD")}
        assert set(bury_dead_runs(instance)) == dead
        assert {run.status for run in instance.get_runs()} == {after}
        assert bury_dead_runs(instance) == []


@pytest.mark.parametrize(
    ("job", "after"), [("hourly_inference", "the next tick asks for it"), ("train_symbol", "the next `quant run`")]
)
def test_what_is_told_of_the_dead_says_what_goes_on(bare_home, job, after):
    with bare_home.open() as instance:
        dead = create_run_for_test(instance, job_name=job, status=STATUS.STARTED, tags=OF_ANOTHER_BOOT).run_id
        bury_dead_runs(instance)
        (told,) = [event.message for event in instance.all_logs(dead, of_type=dg.DagsterEventType.RUN_FAILURE)]
    assert f"ended without a word; {after}" in told


def test_runs_that_live_or_are_over_are_left_alone(bare_home):
    with bare_home.open() as instance:
        kept = {
            made(instance, STATUS.STARTED, owner_tags()): STATUS.STARTED,
            made(instance, STATUS.STARTED, {}): STATUS.STARTED,
            made(instance, STATUS.SUCCESS, OF_ANOTHER_BOOT): STATUS.SUCCESS,
        }
        assert bury_dead_runs(instance) == []
        assert {run.run_id: run.status for run in instance.get_runs()} == kept


def test_every_command_that_works_buries_the_dead_of_all_symbols(bare_home, quant):
    with bare_home.open() as instance:
        dead = made(instance, STATUS.STARTED, {**OF_ANOTHER_BOOT, "quant/symbol": "GC=F"})
    assert quant(bare_home, "materialize", "features/BTC-USD").exit_code == 1  # its input is missing
    with bare_home.open() as instance:
        assert instance.get_run_by_id(dead).status is STATUS.FAILURE
