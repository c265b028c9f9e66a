"""Schedules: inference five minutes after every close of a primary bar, drift once a day, training once a week."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import AnyJob

HALF_HOUR = timedelta(minutes=30)


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
        due = due_decisions(house, context.scheduled_execution_time)
        requests = [dg.RunRequest(run_key=f"{symbol}@{at:%Y-%m-%dT%H:%M}", partition_key=symbol) for symbol, at in due.items()]
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
    return [symbol for symbol in house.universe.symbols if house.champions.events(symbol)]


def due_decisions(house: House, tick: datetime) -> dict[str, datetime]:
    """Trained symbols with a scheduled close of a primary bar in the half hour before `tick`, and that close."""
    from quant_pipeline.inference.schedule import decision_time

    primary = house.experiment.primary
    last = {name: decision_time(house.symbol(name).calendar, primary, tick) for name in trained(house)}
    return {name: at for name, at in last.items() if tick - at < HALF_HOUR}
