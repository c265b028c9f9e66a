from __future__ import annotations

from collections import deque
from datetime import timedelta

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import StorageError
from quant_pipeline.orchestration.jobs import live_inputs
from quant_pipeline.orchestration.runner import Order, Runner

SYMBOL = "BTC-USD"


def execute(house, instance: dg.DagsterInstance, name: str, **arguments: object) -> dg.ExecuteInProcessResult:
    job = build_defs(house).resolve_job_def(name)
    return job.execute_in_process(instance=instance, partition_key=SYMBOL, **arguments)


def test_hourly_inference_run_twice_writes_one_signal(home):
    house = home.house(as_of=home.as_of + timedelta(hours=2))
    before = house.signals.table(SYMBOL).height
    with home.open() as instance:
        results = [execute(house, instance, "hourly_inference") for _ in range(2)]
    outcomes = [_metadata(result, "signals")["outcome"].value for result in results]
    assert outcomes == ["written", "unchanged"]
    assert house.signals.table(SYMBOL).height == before + 1
    latest = house.signals.latest(SYMBOL)
    assert (latest.status, latest.as_of) == ("ok", house.workplace.as_of.replace(minute=0))


def test_live_inputs_are_those_of_the_families(home_of_nothing):
    def asked(*families: str) -> list[str]:
        return live_inputs(home_of_nothing.house(features={"families": ["returns", *families]}))

    assert asked() == ["raw_bars"]
    assert asked("macro") == ["raw_bars", "macro_series"]
    assert asked("news", "cross_asset") == ["raw_bars", "correlated_bars", "raw_news", "news_embeddings"]


def test_drift_check_measures_and_says_whether_to_retrain(home):
    with home.open() as instance:
        told = _metadata(execute(home.house(), instance, "drift_check"), "drift_report")
    assert isinstance(told["retrain"].value, bool)
    assert "features drifted" in told["reason"].value
    assert told["dagster/row_count"].value > 10


def test_train_symbol_reuses_what_is_fresh(home):
    with home.open() as instance:
        assert execute(home.house(), instance, "train_symbol").success
        runs = instance.get_runs()
    assert {run.job_name for run in runs[:3]} == {"train_symbol", "__ASSET_JOB"}


def test_a_reason_lets_training_see_newer_bars(bare_home, monkeypatch):
    seen = []

    def remember(self: Runner, orders: deque[Order], *_: object) -> None:
        if orders[0].stage.name == "ingest":
            seen.append((self.house.cutoff(SYMBOL), self.house.last_retrain(SYMBOL)))

    monkeypatch.setattr(Runner, "_make_all", remember)
    house = bare_home.house()
    monday = house.cutoff(SYMBOL)
    with bare_home.open() as instance:
        execute(house, instance, "train_symbol")
        execute(house, instance, "train_symbol", run_config={"ops": {"train": {"config": {"reason": "drift"}}}})
    full_hour = bare_home.as_of.replace(minute=0)
    assert seen == [(monday, None), (full_hour, full_hour)]
    assert '"reason": "drift"' in (bare_home.lake / "cutoffs" / f"{SYMBOL}.json").read_text()


def test_a_retraining_that_finds_another_at_work_leaves_its_cutoff_alone(bare_home):
    house = bare_home.house()
    monday = house.cutoff(SYMBOL)
    with bare_home.runner() as runner, runner.locked(SYMBOL), pytest.raises(StorageError, match="another run"):
        runner.run(SYMBOL, reason="drift")
    assert (house.cutoff(SYMBOL), house.last_retrain(SYMBOL)) == (monday, None)


def _metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict:
    events = result.get_asset_materialization_events()
    return next(event.materialization.metadata for event in events if event.asset_key == dg.AssetKey(asset))
