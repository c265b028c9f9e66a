"""Schedules: inference five minutes after every hour, drift once a day, training once a week."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import AnyJob

HOUR = timedelta(hours=1)


def build_schedules(house: House, jobs: dict[str, AnyJob]) -> list[dg.ScheduleDefinition]:
    """Every schedule of the code location."""

    @dg.schedule(
        job=jobs["hourly_inference"],
        cron_schedule="5 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="A signal for every trained symbol whose session was open in the hour just ended.",
    )
    def hourly_inference_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time
        chosen = open_and_trained(house, tick)
        hour = tick.replace(minute=0)
        requests = [dg.RunRequest(run_key=f"{symbol}@{hour:%Y-%m-%dT%H}", partition_key=symbol) for symbol in chosen]
        return requests or dg.SkipReason("no trained symbol traded in the last hour; `quant train SYMBOL` trains one")

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
    return [symbol for symbol in house.universe.symbols if house.champions.events(symbol)]


def open_and_trained(house: House, tick: datetime) -> list[str]:
    """Trained symbols whose session was open at some time in the hour before `tick`."""
    from quant_pipeline.bars.sessions import open_time_between

    return [name for name in trained(house) if open_time_between(house.symbol(name).calendar, tick - HOUR, tick) > timedelta(0)]
