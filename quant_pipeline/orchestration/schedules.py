"""Schedules: inference five minutes after every close of a primary bar, drift once a day, training once a week."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import AnyJob

HALF_HOUR = timedelta(minutes=30)
LATE = ("stale", "no_data")
"""What a signal says while its bars may still come; half an hour later they are asked for once more."""


def build_schedules(house: House, jobs: dict[str, AnyJob]) -> list[dg.ScheduleDefinition]:
    """Every schedule of the code location."""

    @dg.schedule(
        job=jobs["hourly_inference"],
        cron_schedule=["5 * * * *", "35 * * * *"],
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="A signal for every trained symbol whose primary bar closed in the last half hour (New York's close at :30).",
    )
    def hourly_inference_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time
        asked = {symbol: f"{symbol}@{at:%Y-%m-%dT%H:%M}" for symbol, at in due_decisions(house, tick).items()}
        again = {symbol: f"{symbol}@{at:%Y-%m-%dT%H:%M} again" for symbol, at in late_decisions(house, tick).items()}
        requests = [dg.RunRequest(run_key=key, partition_key=symbol) for symbol, key in (asked | again).items()]
        return requests or dg.SkipReason(
            "no bar of a trained symbol closed in the last half hour; `quant train SYMBOL` trains one"
        )

    @dg.schedule(
        job=jobs["drift_check"],
        cron_schedule="20 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Drift of every trained symbol, once a day.",
    )
    def daily_drift_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        day = context.scheduled_execution_time.date()
        return [dg.RunRequest(run_key=f"drift {symbol}@{day}", partition_key=symbol) for symbol in trained(house)]

    @dg.schedule(
        job=jobs["train_symbol"],
        cron_schedule="30 0 * * 1",
        execution_timezone="UTC",
        description="Weekly training of every trained symbol on the bars up to Monday (off until you switch it on).",
    )
    def weekly_training_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        day = context.scheduled_execution_time.date()
        return [dg.RunRequest(run_key=f"train {symbol}@{day}", partition_key=symbol) for symbol in trained(house)]

    return [hourly_inference_schedule, daily_drift_schedule, weekly_training_schedule]


def trained(house: House) -> list[str]:
    """Symbols with a live bundle."""
    return [symbol for symbol in house.universe.symbols if house.champions.live_at(symbol, house.workplace.now())]


def due_decisions(house: House, tick: datetime) -> dict[str, datetime]:
    """Trained symbols with a scheduled close of a primary bar in the half hour before `tick`, and that close."""
    return {name: at for name, at in _last_decisions(house, tick).items() if tick - at < HALF_HOUR}


def late_decisions(house: House, tick: datetime) -> dict[str, datetime]:
    """Trained symbols whose close was due at the tick before, and had come too late for it: their signal is stale or absent."""
    waiting = {name: at for name, at in _last_decisions(house, tick).items() if HALF_HOUR <= tick - at < 2 * HALF_HOUR}
    signals = {name: house.signals.latest(name, at) for name, at in waiting.items()}
    told = {name for name, signal in signals.items() if signal and signal.as_of == waiting[name] and signal.status not in LATE}
    return {name: at for name, at in waiting.items() if name not in told}


def _last_decisions(house: House, tick: datetime) -> dict[str, datetime]:
    from quant_pipeline.inference.schedule import decision_time

    return {name: decision_time(house.symbol(name).calendar, house.experiment.primary, tick) for name in trained(house)}
