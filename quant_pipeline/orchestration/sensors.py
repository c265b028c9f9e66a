"""Sensors: what happened is told to a person, and drift asks for retraining. They read figures that assets computed.

Each tick of each sensor also sends what waits since Telegram was not reached.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import AnyJob
from quant_pipeline.orchestration.keeping import keeper
from quant_pipeline.orchestration.slots import TRAINING

if TYPE_CHECKING:
    from quant_pipeline.orchestration.telling import DriftReport, Teller

TRIES = 4  # of one report; the next day's report asks anew
FIRST_WAIT = timedelta(minutes=10)  # after a training that failed, then twice as long each time


def build_sensors(house: House, jobs: dict[str, AnyJob]) -> list[dg.SensorDefinition]:
    """Every sensor of the code location."""
    return [_run_alert(house), _signal_alert(house), _drift_retrain(house, jobs[TRAINING]), keeper()]


def _run_alert(house: House) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells Telegram, or the log, of each failure and outage once, how often it was so, and when it was over.",
    )
    def run_failure_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from quant_pipeline.orchestration.run_troubles import tell_runs
        from quant_pipeline.orchestration.telling import Teller

        teller = Teller.of(house)
        until = tell_runs(teller, context.instance, datetime.fromisoformat(context.cursor) if context.cursor else None)
        if until:
            context.update_cursor(until.isoformat())
        return _flushed(teller, context, "no run to tell")

    return run_failure_alert


def _signal_alert(house: House) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends each symbol's newest signal once, and why there is none; without a token, to the log.",
    )
    def new_signal_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from quant_pipeline.orchestration.telling import Teller, tell_signals

        teller = Teller.of(house)
        tell_signals(teller)
        return _flushed(teller, context, "no new signal")

    return new_signal_alert


def _flushed(teller: Teller, context: dg.SensorEvaluationContext, nothing: str) -> dg.SkipReason:
    outcomes = teller.flush()
    for outcome in outcomes:
        context.log.info(outcome)
    return dg.SkipReason("; ".join(outcomes) or nothing)


def _drift_retrain(house: House, job: AnyJob) -> dg.SensorDefinition:
    @dg.sensor(
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells drift, and retrains a symbol when its report says so; asks again until a training ended well.",
    )
    def drift_retrain(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from quant_pipeline.orchestration.telling import DriftReport, Teller, tell_drift

        teller = Teller.of(house)
        requests, cursor = [], dict(pair.split("=>") for pair in (context.cursor or "").split(";") if pair)
        for symbol in house.universe.symbols:
            report = DriftReport.newest(context.instance, symbol)
            if report is None or cursor.get(symbol) == str(report.id):
                continue
            tell_drift(teller, report)
            runs = _trainings(context.instance, report)
            if _settled(report, runs):
                cursor[symbol] = str(report.id)
            elif _is_due(runs):
                requests.append(_retrain(report, len(runs)))
        _flushed(teller, context, "")
        return dg.SensorResult(run_requests=requests, cursor=";".join(f"{symbol}=>{seen}" for symbol, seen in cursor.items()))

    return drift_retrain


def _trainings(instance: dg.DagsterInstance, report: DriftReport) -> list[dg.RunRecord]:
    """Runs that became of the requests for this report, the newest first."""
    keys = [_run_key(report, number) for number in range(TRIES)]
    return list(instance.get_run_records(dg.RunsFilter(tags={"dagster/run_key": keys})))


def _settled(report: DriftReport, runs: list[dg.RunRecord]) -> bool:
    """Whether nothing more is to be asked: no training is wanted, one ended well or was stopped, or too many failed.

    A request that became no training, or one that failed (another run held the lock, the power went), is made again.
    """
    if not report.retrain or len(runs) >= TRIES:
        return True
    return bool(runs) and runs[0].dagster_run.is_finished and not _failed(runs[0])


def _is_due(runs: list[dg.RunRecord]) -> bool:
    waited = not runs or datetime.now(UTC) >= runs[0].update_timestamp + FIRST_WAIT * 2 ** (len(runs) - 1)
    return waited and all(map(_failed, runs))


def _failed(run: dg.RunRecord) -> bool:
    return run.dagster_run.status == dg.DagsterRunStatus.FAILURE


def _run_key(report: DriftReport, number: int) -> str:
    again = f" again {number}" if number else ""
    return f"drift {report.symbol} {report.id}{again}"


def _retrain(report: DriftReport, number: int) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=_run_key(report, number),
        partition_key=report.symbol,
        tags={"quant/reason": report.reason[:200]},
        run_config={"ops": {"train": {"config": {"reason": report.reason}}}},
    )
