"""Sensors: alerts for failed runs and new signals, and retraining on drift. They read figures that assets computed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dagster as dg

from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import AnyJob
from quant_pipeline.orchestration.keeping import keeper


def build_sensors(house: House, jobs: dict[str, AnyJob]) -> list[dg.SensorDefinition]:
    """Every sensor of the code location."""
    return [_failure_alert(house), _signal_alert(house), _drift_retrain(house, jobs["train_symbol"]), keeper()]


def _failure_alert(house: House) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        default_status=dg.DefaultSensorStatus.RUNNING, description="Tells Telegram, or the log, that a run failed; once a run."
    )
    def run_failure_alert(context: dg.RunFailureSensorContext) -> None:
        from quant_pipeline.monitoring.alerts import failure_message, send_once

        run = context.dagster_run
        text = failure_message(run.job_name, run.run_id, context.failure_event.message or "")
        context.log.info(send_once(house.workplace.alerts, f"failure/{run.run_id}", text, os.environ))

    return run_failure_alert


def _signal_alert(house: House) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends each symbol's newest signal once, however often its run is retried; without a token, to the log.",
    )
    def new_signal_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        outcomes = list(_send_signals(house))
        for outcome in outcomes:
            if "sent before" not in outcome:
                context.log.info(outcome)
        return dg.SkipReason("; ".join(outcomes) or "no signal yet")

    return new_signal_alert


def _send_signals(house: House) -> Iterator[str]:
    from quant_pipeline.monitoring.alerts import send_once, signal_message

    wanted = house.experiment.signal.alert
    for symbol in house.universe.symbols:
        signal = house.signals.latest(symbol, house.workplace.now())
        if signal is not None and signal.status == "ok" and (wanted == "all" or signal.action):
            key = f"signal/{symbol}/{signal.as_of.isoformat()}"
            yield f"{key}: {send_once(house.workplace.alerts, key, signal_message(signal), os.environ)}"


def _drift_retrain(house: House, job: AnyJob) -> dg.SensorDefinition:
    @dg.sensor(
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Retrains a symbol when its drift report says so; the report counts the cool-down and states the reason.",
    )
    def drift_retrain(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        requests, cursor = [], dict(pair.split("=>") for pair in (context.cursor or "").split(";") if pair)
        for symbol in house.universe.symbols:
            event = context.instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey("drift_report"), asset_partitions=[symbol]), limit=1
            ).records
            if not event or cursor.get(symbol) == str(event[0].storage_id) or not event[0].asset_materialization:
                continue
            cursor[symbol] = str(event[0].storage_id)
            metadata = event[0].asset_materialization.metadata
            if metadata["retrain"].value:
                reason = str(metadata["reason"].value)
                requests.append(_retrain(symbol, cursor[symbol], reason))
        return dg.SensorResult(run_requests=requests, cursor=";".join(f"{symbol}=>{seen}" for symbol, seen in cursor.items()))

    return drift_retrain


def _retrain(symbol: str, seen: str, reason: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"drift {symbol} {seen}",
        partition_key=symbol,
        tags={"quant/reason": reason[:200]},
        run_config={"ops": {"train": {"config": {"reason": reason}}}},
    )
