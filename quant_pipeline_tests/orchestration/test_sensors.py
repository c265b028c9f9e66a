"""What reaches a person: each signal, failure, outage and drift alarm once, counted while it lasts, and its end."""

from __future__ import annotations

import types
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import MissingUpstreamError, SourceError
from quant_pipeline.inference.signals import Signal
from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.orchestration import sensors

SYMBOL = "BTC-USD"
REASON = "12 of 20 features drifted (60 %, alarm at 45 %): rsi_1h, macd_1h"
TEN = datetime(2026, 11, 18, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def evaluate(house, instance: dg.DagsterInstance, name: str, cursor: str | None = None):
    repository = build_defs(house).get_repository_def()
    context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository)
    return repository.get_sensor_def(name).evaluate_tick(context)


def write(house, hour: int, status: str = "ok", reason: str = "long pays", **changed: object) -> None:
    facts = {"experiment": "tiny", "profile": "simulated", "simulated": True, "reason": reason, **changed}
    house.signals.write(Signal(symbol=SYMBOL, as_of=TEN + hour * HOUR, status=status, **facts))


def looked(home, instance: dg.DagsterInstance, hour: int, **changed: object):
    """The signals' sensor at the hour, twice: what it told once it does not tell again."""
    house = home.house(as_of=TEN + (hour + 0.1) * HOUR, **changed)
    first, _ = (evaluate(house, instance, "new_signal_alert") for _ in range(2))
    return first


def test_a_signal_is_sent_once_though_the_sensor_looks_twice_and_its_run_is_retried(bare_home, telegram):
    with bare_home.open() as instance:
        for _ in range(2):
            write(bare_home.house(), 0)
            first = looked(bare_home, instance, 0)
    assert len(telegram) == 1
    assert telegram[0].startswith("SIMULATED BTC-USD: HOLD\ndecided 2026-11-18 10:00 UTC")
    assert first.run_requests == []


def test_actionable_alone_leaves_hold_to_the_ui(bare_home, telegram):
    with bare_home.open() as instance:
        write(bare_home.house(), 0)
        looked(bare_home, instance, 0, signal={"alert": "actionable"})
        assert telegram == []
        write(bare_home.house(), 1, action=1, position_size=1.5)
        looked(bare_home, instance, 1, signal={"alert": "actionable"})
    assert len(telegram) == 1
    assert "BUY\n1.50 units" in telegram[0]


def test_a_signal_to_act_on_comes_with_its_prices(bare_home, telegram):
    with bare_home.runner() as runner:
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
        write(bare_home.house(), 0, action=-1, position_size=1.5, equity_share=0.1, decision_at=TEN)
        looked(bare_home, runner.instance, 0)
    (text,) = telegram
    assert text.startswith("SIMULATED BTC-USD: SELL\n1.50 units, 10.0 % of equity\ndecided 2026-11-18 10:00 UTC\nprice then ")
    assert "\nstop " in text
    assert "else out by 2026-11-18 1" in text


def test_before_the_first_signal_there_is_nothing_to_send(bare_home, telegram):
    with bare_home.open() as instance:
        assert looked(bare_home, instance, 0).skip_message == "no new signal"
    assert telegram == []


def test_hours_that_say_nothing_are_one_message_and_their_end_another(bare_home, telegram):
    with bare_home.open() as instance:
        for hour in range(5):
            write(bare_home.house(), hour, "stale", f"the newest bar closed {hour} h ago")
            looked(bare_home, instance, hour)
        assert [text.splitlines()[:2] for text in telegram] == [["SIMULATED BTC-USD: NO SIGNAL", "the bars are too old"]]
        write(bare_home.house(), 5)
        looked(bare_home, instance, 5)
    over = "OVER BTC-USD signals, after 5 h 6 min\n5 times stale\n2026-11-18 10:00 to 14:00 UTC"
    assert min(telegram[1:]) == over
    assert len(telegram) == 3


def test_each_status_and_each_reason_of_a_failure_is_told(bare_home, telegram):
    rows = [
        ("stale", "old"),
        ("failed", "no column a"),
        ("failed", "no column b"),
        ("failed", "no column a"),
        ("no_model", "none"),
    ]
    with bare_home.open() as instance:
        for hour, (status, reason) in enumerate(rows):
            write(bare_home.house(), hour, status, reason)
            looked(bare_home, instance, hour)
    assert [text.splitlines()[3] for text in telegram] == ["old", "no column a", "no column b", "none"]


def test_missed_hours_made_up_after_the_newest_are_one_message(bare_home, telegram):
    with bare_home.open() as instance:
        write(bare_home.house(), 5)
        looked(bare_home, instance, 5)
        for hour in range(5):
            write(bare_home.house(), hour, "no_data", "the machine slept")
        looked(bare_home, instance, 5)
    assert len(telegram) == 2
    assert telegram[1].endswith("5 times, 2026-11-18 10:00 to 14:00 UTC\nover after 5 h 6 min")


def test_a_row_that_a_later_one_replaced_is_over(bare_home, telegram):
    with bare_home.open() as instance:
        write(bare_home.house(), 0, "stale", "old")
        looked(bare_home, instance, 0)
        write(bare_home.house(), 0)
        looked(bare_home, instance, 0.5)
    assert [text.split(",")[0] for text in sorted(telegram)][:2] == [
        "OVER BTC-USD signals",
        "SIMULATED BTC-USD: HOLD\ndecided 2026-11-18 10:00 UTC\nlong pays\nno bundle",
    ]


def test_signals_that_cannot_be_read_are_told_and_stop_no_other_symbol(bare_home, telegram):
    house = bare_home.house()
    write(house, 0)
    house.signals._files(SYMBOL, None, None)[0].write_text("no signal")
    with bare_home.open() as instance:
        looked(bare_home, instance, 0)
        looked(bare_home, instance, 1)
    assert len(telegram) == 1
    assert telegram[0].startswith("FAILED BTC-USD: signals cannot be read")


def test_telegram_down_loses_nothing_and_the_next_tick_of_any_sensor_sends_it(bare_home, telegram, monkeypatch):
    here = bare_home.house().workplace
    with bare_home.open() as instance:
        with monkeypatch.context() as away:
            away.setenv("QUANT_TELEGRAM_URL", "http://127.0.0.1:9")
            away.setattr("tenacity.nap.time", types.SimpleNamespace(sleep=lambda _: None))
            write(bare_home.house(), 0)
            found = looked(bare_home, instance, 0)
        assert "secret" not in found.skip_message
        assert [alert.state for alert in AlertLedger(here.alerts).alerts()] == ["pending"]
        with AlertLedger(here.alerts).connect() as base:
            base.execute("UPDATE alerts SET next_at = first_at")
        evaluate(bare_home.house(), instance, "drift_retrain")
    assert len(telegram) == 1


def test_without_a_token_alerts_go_to_the_log(bare_home, monkeypatch):
    monkeypatch.delenv("QUANT_TELEGRAM_TOKEN", raising=False)
    with bare_home.open() as instance:
        write(bare_home.house(), 0)
        write(bare_home.house(), 1, "stale", "old")
        looked(bare_home, instance, 0)
        looked(bare_home, instance, 1)
    assert [alert.state for alert in AlertLedger(bare_home.lake / "alerts.sqlite").alerts()] == ["logged"] * 2


class Runs:
    """Runs of a job like those of the pipeline, and the sensor that looks at them between."""

    def __init__(self, house, instance: dg.DagsterInstance) -> None:
        self.house, self.instance, self.cursor = house, instance, None

    def run(
        self, job: str = "hourly_inference", error: Exception | None = None, notes: dict | None = None, step: str = "raw_bars",
        **tags: str,
    ) -> None:  # fmt: skip
        @dg.op(name=step)
        def bring(context) -> None:
            if error:
                raise error
            if notes is not None:
                partition = SYMBOL if step == "raw_bars" else None
                context.log_event(dg.AssetMaterialization(step, partition=partition, metadata={"ledger": {"notes": notes}}))

        graph = dg.GraphDefinition(name=job, node_defs=[bring])
        tags = {"dagster/partition": SYMBOL, "quant/symbol": SYMBOL, **tags}
        graph.to_job(name=job).execute_in_process(instance=self.instance, raise_on_error=False, tags=tags)
        self.look()

    def look(self) -> None:
        for _ in range(2):
            self.cursor = evaluate(self.house, self.instance, "run_failure_alert", self.cursor).cursor or self.cursor


@pytest.fixture
def runs(bare_home, telegram):  # noqa: ARG001 - what the sensor tells goes there
    with bare_home.open() as instance:
        yield Runs(bare_home.house(), instance)


def refused(at: int) -> SourceError:
    return SourceError("yahoo: BTC-USD", found=f"no answer at 10:{at}", wanted="bars", mend="wait")


def test_a_failed_run_is_told_with_the_failing_steps_own_reason_and_symbol(runs, telegram):
    runs.run(error=refused(0))
    (run,) = runs.instance.get_runs()
    assert telegram[0].splitlines() == [
        "FAILED BTC-USD raw_bars",
        "yahoo: BTC-USD: found no answer at 10:0, wanted bars. To mend: wait",
        f"hourly_inference, run {run.run_id[:8]}",
    ]


def test_failures_of_a_kind_are_one_message_until_the_step_works_again_in_any_job(runs, telegram):
    for at in range(4):
        runs.run(error=refused(at))
    runs.run(error=ValueError("another reason"))
    assert len(telegram) == 2
    assert "ValueError: another reason" in telegram[1]
    runs.run("drift_check")
    assert telegram[2].startswith("OVER BTC-USD raw_bars, after less than 1 min\n5 times failed")
    runs.run(error=refused(9))
    assert len(telegram) == 4


def test_a_failure_of_what_all_symbols_share_is_one_message_and_its_end_the_first_success(runs, telegram):
    runs.run(step="macro_series", notes={})
    for symbol in ("BTC-USD", "GC=F", "SPY"):
        runs.run("drift_check", refused(0), step="macro_series", **{"dagster/partition": symbol, "quant/symbol": symbol})
    assert [text.splitlines()[0] for text in telegram] == ["FAILED macro_series"]
    runs.run(step="macro_series", notes={})
    assert telegram[1].startswith("OVER macro_series, after less than 1 min\n3 times failed")
    assert len(telegram) == 2


def test_a_cursor_that_was_lost_tells_nothing_twice(runs, telegram):
    runs.run(error=refused(0))
    runs.cursor = None
    runs.look()
    assert len(telegram) == 1


def test_a_run_whose_process_died_is_told_as_it_was_buried(runs, telegram):
    run = runs.instance.create_run_for_job(
        dg.GraphDefinition(name="train_symbol", node_defs=[]).to_job(),
        tags={"quant/symbol": SYMBOL},
        status=dg.DagsterRunStatus.STARTED,
    )
    runs.instance.report_run_failed(run, "its process 77 ended without a word")
    runs.look()
    assert telegram == [f"FAILED BTC-USD train_symbol\nits process 77 ended without a word\ntrain_symbol, run {run.run_id[:8]}"]


def test_a_killed_fold_of_a_run_in_the_shell_is_named_as_a_person_would(runs, telegram):
    job = dg.GraphDefinition(name="none", node_defs=[]).to_job(name="__ASSET_JOB")
    tags = {"dagster/partition": f"fold_00|{SYMBOL}"}
    run = runs.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    runs.instance.report_run_failed(run, "its process 77 ended without a word")
    runs.look()
    (text,) = telegram
    assert text.splitlines() == [
        "FAILED BTC-USD/fold_00 asset_job", "its process 77 ended without a word", f"asset_job, run {run.run_id[:8]}",
    ]  # fmt: skip


def test_a_training_and_its_own_run_fail_with_one_message(runs, telegram):
    @dg.op
    def train(context) -> None:
        graph = dg.GraphDefinition(name="inner", node_defs=[fails])
        graph.to_job(name="__ASSET_JOB").execute_in_process(instance=context.instance, tags={"quant/symbol": SYMBOL})

    @dg.op
    def fails() -> None:
        raise refused(0)

    job = dg.GraphDefinition(name="train_symbol", node_defs=[train]).to_job()
    job.execute_in_process(instance=runs.instance, raise_on_error=False, tags={"dagster/partition": SYMBOL})
    runs.look()
    assert [text.splitlines()[0] for text in telegram] == ["FAILED BTC-USD fails"]


def test_an_outage_inside_a_run_that_succeeds_is_told_once_and_its_end(runs, telegram):
    for at in range(3):
        runs.run(notes={"partial": True, "problems": [f"1m: timed out at 10:{at}", "15m: timed out"]})
    assert telegram == ["OUTAGE BTC-USD raw_bars\nnot all data came\n1m: timed out at 10:0\nand 1 more"]
    runs.run(notes={"partial": False, "problems": []})
    assert telegram[1].startswith("OVER BTC-USD raw_bars, after less than 1 min\n3 times outage")
    runs.run(notes={"down": "FRED: found no answer"})
    assert telegram[2] == "OUTAGE BTC-USD raw_bars\nnot all data came\nFRED: found no answer"
    runs.run(notes={})
    runs.run(notes={"down": {"ETH-USD": "no answer", "SPY": "no answer"}})
    assert telegram[4] == "OUTAGE BTC-USD raw_bars\nnot all data came\nETH-USD: no answer\nand 1 more"


def test_a_failed_run_of_the_pipeline_is_told_with_its_mend(bare_home, telegram):
    house = bare_home.house()
    with bare_home.runner(house) as runner:
        with pytest.raises(MissingUpstreamError):
            runner.materialize([dg.AssetKey("champion")], SYMBOL)
        evaluate(house, runner.instance, "run_failure_alert")
    assert len(telegram) == 1
    assert telegram[0].startswith("FAILED BTC-USD champion\n")
    assert "To mend: run: quant materialize" in telegram[0]


def drifted(instance: dg.DagsterInstance, *, retrain: bool, share: float = 0.0) -> None:
    metadata = {"retrain": retrain, "reason": REASON, "drifted_share": share}
    instance.report_runless_asset_event(dg.AssetMaterialization("drift_report", partition=SYMBOL, metadata=metadata))


def began(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    """The run that became of a request, as the daemon tags it."""
    job = dg.GraphDefinition(name="train_symbol", node_defs=[]).to_job()
    run = instance.create_run_for_job(job, tags={"dagster/run_key": request.run_key, "dagster/partition": SYMBOL})
    ended = {
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
    }
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run, "another run")
    elif status in ended:
        instance.report_dagster_event(dg.DagsterEvent(ended[status].value, "train_symbol"), run.run_id)


def test_drift_asks_for_one_training_with_its_reason(bare_home):
    house = bare_home.house()
    with bare_home.open() as instance:
        drifted(instance, retrain=True)
        (request,) = evaluate(house, instance, "drift_retrain").run_requests
    assert request.partition_key == SYMBOL
    assert request.tags["quant/reason"] == REASON
    job = build_defs(house).resolve_job_def("train_symbol")
    assert dg.validate_run_config(job, request.run_config)["ops"]["train"]["config"]["reason"] == REASON


def test_a_request_that_became_no_training_is_asked_again(bare_home):
    house = bare_home.house()
    with bare_home.open() as instance:
        drifted(instance, retrain=True)
        first = evaluate(house, instance, "drift_retrain")
        second = evaluate(house, instance, "drift_retrain", first.cursor)
        began(instance, second.run_requests[0], dg.DagsterRunStatus.NOT_STARTED)
        third = evaluate(house, instance, "drift_retrain", second.cursor)
    assert first.run_requests[0].run_key == second.run_requests[0].run_key
    assert third.run_requests == []


@pytest.mark.parametrize("end", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED])
def test_a_training_that_ended_well_or_was_stopped_is_not_asked_again(bare_home, end):
    house = bare_home.house()
    with bare_home.open() as instance:
        drifted(instance, retrain=True)
        first = evaluate(house, instance, "drift_retrain")
        began(instance, first.run_requests[0], end)
        second = evaluate(house, instance, "drift_retrain", first.cursor)
        third = evaluate(house, instance, "drift_retrain", second.cursor)
    assert second.run_requests == third.run_requests == []
    assert third.cursor.startswith(f"{SYMBOL}=>")


def test_a_training_that_failed_is_asked_again_after_a_while_and_not_for_ever(bare_home, monkeypatch):
    house, keys, cursor = bare_home.house(), [], None
    with bare_home.open() as instance:
        drifted(instance, retrain=True)
        for wait in [timedelta(minutes=10), timedelta(0)] * (sensors.TRIES + 1):
            monkeypatch.setattr(sensors, "FIRST_WAIT", wait)
            tick = evaluate(house, instance, "drift_retrain", cursor)
            cursor = tick.cursor
            assert not (tick.run_requests and wait and keys)
            for request in tick.run_requests:
                keys.append(request.run_key)
                began(instance, request, dg.DagsterRunStatus.FAILURE)
    assert len(set(keys)) == len(keys) == sensors.TRIES


def test_a_later_report_may_ask_again_and_a_calm_one_does_not(bare_home):
    house, ticks = bare_home.house(), []
    with bare_home.open() as instance:
        for retrain in (True, False, True):
            drifted(instance, retrain=retrain)
            ticks.append(evaluate(house, instance, "drift_retrain", ticks[-1].cursor if ticks else None))
    first, calm, again = ticks
    assert calm.run_requests == []
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_drift_alarms_and_retrainings_are_told_with_their_reason_and_their_end(bare_home, telegram):
    house, cursor = bare_home.house(), None
    with bare_home.open() as instance:
        for retrain, share in ((False, 0.1), (True, 0.6), (False, 0.6), (False, 0.6), (False, 0.1)):
            drifted(instance, retrain=retrain, share=share)
            for _ in range(2):
                cursor = evaluate(house, instance, "drift_retrain", cursor).cursor
    assert telegram[:2] == [
        f"SIMULATED BTC-USD: DRIFT\na retraining is asked for\n{REASON}", f"SIMULATED BTC-USD: DRIFT\nno retraining\n{REASON}",
    ]  # fmt: skip
    assert telegram[2].startswith("OVER BTC-USD drift, after less than 1 min\nonce retraining, 2 times alarm")
    assert len(telegram) == 3


def test_without_a_report_drift_asks_for_nothing(bare_home):
    with bare_home.open() as instance:
        assert evaluate(bare_home.house(), instance, "drift_retrain").run_requests == []
