"""All runs of one command, tick or click carry one tag."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from quant_pipeline.definitions import build_defs
from quant_pipeline.orchestration.origins import COMMAND_TAG, command_tag, origin_tag
from quant_pipeline.orchestration.runner import Runner

SYMBOL = "BTC-USD"
AT = {".dagster/scheduled_execution_time": "2026-11-18T15:05:00+00:00", "dagster/schedule_name": "hourly_inference_schedule"}


class Elsewhere:
    """A worker in this process that hands all back, and remembers with which tags it was asked."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, _: str) -> None:
        pass

    def materialize(self, *order: object) -> bool:
        self.told.append(order[-1][COMMAND_TAG])
        return False


def fresh_tags(instance: dg.DagsterInstance, known: set[str]) -> list[str | None]:
    return [run.tags.get(COMMAND_TAG) for run in instance.get_runs() if run.run_id not in known]


def test_all_runs_of_one_command_carry_its_tag_in_both_processes(home):
    (home.lake / "oof_predictions" / "fold_00" / f"{SYMBOL}.parquet").unlink()
    (home.lake / "oof_predictions" / "fold_01" / f"{SYMBOL}.parquet").unlink()
    worker = Elsewhere()
    with home.open(house := home.house()) as instance:
        known = {run.run_id for run in instance.get_runs()}
        asked = command_tag(f"run {SYMBOL}")
        Runner(build_defs(house), instance, house, worker=worker, asked=asked).run(SYMBOL, until="ensemble")
        tags = fresh_tags(instance, known)
    assert len(tags) > 2
    assert {*tags, *worker.told} == {asked[COMMAND_TAG]}
    assert worker.told


@pytest.mark.parametrize("target", ["splits/BTC-USD", "oof_predictions/BTC-USD/*"])
def test_the_shell_says_which_command_it_was(home, quant, target):
    with home.open() as instance:
        known = {run.run_id for run in instance.get_runs()}
    assert quant(home, "materialize", target).exit_code == 0
    with home.open() as instance:
        tags = fresh_tags(instance, known)
    assert len(set(tags)) == 1
    assert tags[0].startswith(f"materialize {target} 20")


def test_a_training_and_what_it_runs_within_are_one(home):
    with home.open() as instance:
        known = {run.run_id for run in instance.get_runs()}
        job = build_defs(home.house()).resolve_job_def("train_symbol")
        job.execute_in_process(instance=instance, partition_key=SYMBOL, tags={COMMAND_TAG: "drift_retrain 7"})
        tags = fresh_tags(instance, known)
    assert len(tags) > 1
    assert set(tags) == {"drift_retrain 7"}


def test_runs_of_one_tick_carry_one_tag(bare_home):
    with bare_home.open() as instance:
        runs = [create_run_for_test(instance, job_name="hourly_inference", tags={"dagster/tick": "4", **AT}) for _ in range(2)]
        drift = create_run_for_test(instance, tags={"dagster/sensor_name": "drift_retrain", "dagster/tick": "7"})
        filled = create_run_for_test(instance, tags={"dagster/backfill": "abc"})
        alone = create_run_for_test(instance, job_name="__ASSET_JOB")
    assert [origin_tag(run)[COMMAND_TAG] for run in runs] == ["hourly_inference_schedule 2026-11-18T15:05:00+00:00"] * 2
    assert origin_tag(drift) == {COMMAND_TAG: "drift_retrain 7"}
    assert origin_tag(filled) == {COMMAND_TAG: "backfill abc"}
    assert origin_tag(alone) == {COMMAND_TAG: f"asset_job {alone.run_id[:8]}"}
