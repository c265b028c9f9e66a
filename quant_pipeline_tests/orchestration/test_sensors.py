from __future__ import annotations

import types

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.monitoring.alert_ledger import AlertLedger

SYMBOL = "BTC-USD"
REASON = "12 of 20 features drifted (60 %, alarm at 45 %): rsi_1h, macd_1h"


def evaluate(house, instance: dg.DagsterInstance, name: str, cursor: str | None = None):
    repository = build_defs(house).get_repository_def()
    context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository)
    return repository.get_sensor_def(name).evaluate_tick(context)


def test_a_signal_is_sent_once_though_the_sensor_looks_twice(home, telegram):
    with home.open() as instance:
        first, second = (evaluate(home.house(), instance, "new_signal_alert") for _ in range(2))
    assert len(telegram) == 1
    assert telegram[0].startswith("SIMULATED BTC-USD: ")
    assert "2026-11-18 10:00" in telegram[0]
    assert first.skip_message != second.skip_message
    assert first.run_requests == second.run_requests == []


def test_a_signal_is_sent_once_though_its_run_is_retried(home, telegram):
    with home.runner() as runner:
        for _ in range(2):
            runner.materialize([dg.AssetKey("signals")], SYMBOL)
            evaluate(home.house(), runner.instance, "new_signal_alert")
    assert len(telegram) == 1


def test_actionable_alone_leaves_hold_to_the_ui(home, telegram):
    signal = home.house().signals.latest(SYMBOL)
    with home.open() as instance:
        evaluate(home.house(signal={"alert": "actionable"}), instance, "new_signal_alert")
    assert len(telegram) == abs(signal.action)


def test_before_the_first_signal_there_is_nothing_to_send(bare_home, telegram):
    with bare_home.open() as instance:
        assert evaluate(bare_home.house(), instance, "new_signal_alert").skip_message == "no signal yet"
    assert telegram == []


def test_telegram_down_loses_nothing_and_stops_nobody(home, monkeypatch):
    monkeypatch.setenv("QUANT_TELEGRAM_TOKEN", "1:secret")
    monkeypatch.setenv("QUANT_TELEGRAM_CHAT", "42")
    monkeypatch.setenv("QUANT_TELEGRAM_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("tenacity.nap.time", types.SimpleNamespace(sleep=lambda _: None))
    with home.open() as instance:
        found = evaluate(home.house(), instance, "new_signal_alert")
    assert "secret" not in found.skip_message
    waiting = AlertLedger(home.lake / "alerts.sqlite").alerts()
    assert [alert.state for alert in waiting] == ["pending"]


def test_without_a_token_alerts_go_to_the_log(home, monkeypatch):
    monkeypatch.delenv("QUANT_TELEGRAM_TOKEN", raising=False)
    with home.open() as instance:
        evaluate(home.house(), instance, "new_signal_alert")
    assert [alert.state for alert in AlertLedger(home.lake / "alerts.sqlite").alerts()] == ["logged"]


def test_a_failed_run_is_told_once_with_its_reason(bare_home, telegram):
    house = bare_home.house()
    with bare_home.runner(house) as runner:
        with pytest.raises(MissingUpstreamError):
            runner.materialize([dg.AssetKey("champion")], SYMBOL)
        run = runner.instance.get_runs()[0]
        event = runner.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)[0].dagster_event
        for _ in range(2):
            context = dg.build_run_status_sensor_context("run_failure_alert", event, runner.instance, run)
            build_defs(house).get_repository_def().get_sensor_def("run_failure_alert")(context.for_run_failure())
    assert len(telegram) == 1
    assert telegram[0].startswith(f"FAILED __ASSET_JOB, run {run.run_id[:8]}")


def drifted(instance: dg.DagsterInstance, *, retrain: bool) -> None:
    metadata = {"retrain": retrain, "reason": REASON}
    instance.report_runless_asset_event(dg.AssetMaterialization("drift_report", partition=SYMBOL, metadata=metadata))


def test_drift_asks_for_one_training_with_its_reason(bare_home):
    house = bare_home.house()
    with bare_home.open() as instance:
        drifted(instance, retrain=True)
        first = evaluate(house, instance, "drift_retrain")
        second = evaluate(house, instance, "drift_retrain", first.cursor)
    assert [request.partition_key for request in first.run_requests] == [SYMBOL]
    assert first.run_requests[0].tags["quant/reason"] == REASON
    assert second.run_requests == []
    job = build_defs(house).resolve_job_def("train_symbol")
    assert dg.validate_run_config(job, first.run_requests[0].run_config)["ops"]["train"]["config"]["reason"] == REASON


def test_a_later_report_may_ask_again_and_a_calm_one_does_not(bare_home):
    house = bare_home.house()
    with bare_home.open() as instance:
        drifted(instance, retrain=True)
        first = evaluate(house, instance, "drift_retrain")
        drifted(instance, retrain=False)
        calm = evaluate(house, instance, "drift_retrain", first.cursor)
        drifted(instance, retrain=True)
        again = evaluate(house, instance, "drift_retrain", calm.cursor)
    assert calm.run_requests == []
    assert len(again.run_requests) == 1
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_without_a_report_drift_asks_for_nothing(bare_home):
    with bare_home.open() as instance:
        assert evaluate(bare_home.house(), instance, "drift_retrain").run_requests == []
