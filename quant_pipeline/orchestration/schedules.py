"""Schedules: inference after every close of a primary bar, drift once a day, training once a week."""

from __future__ import annotations

import dagster as dg

from quant_pipeline.config.commands import command
from quant_pipeline.errors import DamagedError, StorageError
from quant_pipeline.orchestration.hours import tick
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import AnyJob
from quant_pipeline.orchestration.slots import DRIFT, INFERENCE, TRAINING


def build_schedules(house: House, jobs: dict[str, AnyJob]) -> list[dg.ScheduleDefinition]:
    """Every schedule of the code location."""

    @dg.schedule(
        job=jobs[INFERENCE],
        cron_schedule="*/5 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="A signal for every close of a primary bar of a trained symbol; what was missed is made up as `late`.",
    )
    def hourly_inference_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        requests, words = tick(house, context.instance, trained(house))
        for line in words:
            context.log.warning(line)
        return requests or dg.SkipReason(
            "; ".join(words) or f"no close of a trained symbol is due; `{command('quant train SYMBOL')}` trains one"
        )

    @dg.schedule(
        job=jobs[DRIFT],
        cron_schedule="20 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Drift of every trained symbol, once a day.",
    )
    def daily_drift_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        day = context.scheduled_execution_time.date()
        return [dg.RunRequest(run_key=f"drift {symbol}@{day}", partition_key=symbol) for symbol in trained(house)]

    @dg.schedule(
        job=jobs[TRAINING],
        cron_schedule="30 0 * * 1",
        execution_timezone="UTC",
        description="Weekly training of every trained symbol on the bars up to Monday (off until you switch it on).",
    )
    def weekly_training_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        day = context.scheduled_execution_time.date()
        return [dg.RunRequest(run_key=f"train {symbol}@{day}", partition_key=symbol) for symbol in trained(house)]

    return [hourly_inference_schedule, daily_drift_schedule, weekly_training_schedule]


def trained(house: House) -> list[str]:
    """Symbols with a live bundle, or with a record of it that cannot be read: a signal then says so."""
    return [symbol for symbol in house.universe.symbols if _has_champion(house, symbol)]


def _has_champion(house: House, symbol: str) -> bool:
    try:
        return house.champions.live_at(symbol, house.workplace.now()) is not None
    except (DamagedError, StorageError):
        return True
