from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from quant_pipeline.orchestration import keeping
from quant_pipeline.orchestration.keeping import forget_old_runs, keep, keeper
from quant_pipeline.orchestration.owners import BOOT_TAG, owner_tags

STATUS = dg.DagsterRunStatus
NOW = datetime.now(UTC)


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def features() -> None: ...


@dg.asset(deps=[features], partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def feature_audit() -> None: ...


def make(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, partition: str = "a") -> str:
    return dg.materialize([features, feature_audit], instance=instance, selection=list(assets), partition_key=partition).run_id


def left(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


@pytest.mark.parametrize(
    ("status", "days"), [(STATUS.SUCCESS, 14), (STATUS.CANCELED, 14), (STATUS.FAILURE, 60), (STATUS.STARTED, 10_000)]
)
def test_a_run_is_forgotten_once_it_is_old(bare_home, status, days):
    with bare_home.open() as instance:
        run_id = create_run_for_test(instance, status=status).run_id
        assert forget_old_runs(instance, NOW + timedelta(days=days - 1)) == []
        forgotten = [] if status is STATUS.STARTED else [run_id]
        assert forget_old_runs(instance, NOW + timedelta(days=days + 1)) == forgotten


def test_what_is_newest_of_a_partition_is_never_forgotten(bare_home):
    with bare_home.open() as instance:
        superseded, other = make(instance, features), make(instance, features, partition="b")
        newest, derived = make(instance, features), make(instance, feature_audit)
        assert forget_old_runs(instance, NOW + timedelta(days=100)) == [superseded]
        assert left(instance) == {other, newest, derived}
        assert not [path for path in bare_home.root.rglob(f"*{superseded}*") if path.exists()]
        assert [*bare_home.root.rglob(f"logs/{newest}")]


def test_the_oldest_go_first_and_few_at_once(bare_home, monkeypatch):
    monkeypatch.setattr(keeping, "AT_ONCE", 2)
    with bare_home.open() as instance:
        runs = [create_run_for_test(instance, status=STATUS.SUCCESS).run_id for _ in range(3)]
        assert forget_old_runs(instance, NOW + timedelta(days=15)) == runs[:2]
        assert left(instance) == {runs[2]}


def test_the_sensor_buries_and_says_so(bare_home):
    with bare_home.open() as instance:
        create_run_for_test(instance, status=STATUS.STARTED, tags={**owner_tags(), BOOT_TAG: "another"})
        told = keeper()(dg.build_sensor_context(instance=instance))
        assert told.skip_message == "1 runs buried, 0 forgotten"
        assert keep(instance) == "0 runs buried, 0 forgotten"
    assert keeper().default_status is dg.DefaultSensorStatus.RUNNING
