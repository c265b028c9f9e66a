from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.inference.champion import Decision
from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.moments import DECISION
from quant_pipeline.orchestration.schedules import trained

LONG_AGO = datetime(2026, 1, 5, tzinfo=UTC)
WEDNESDAY = datetime(2026, 11, 18, 15, 5, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 14, 15, 5, tzinfo=UTC)


@pytest.fixture
def house(bare_home):
    """A house in which gold, bitcoin and SPY have a champion."""
    made = bare_home.house()
    for symbol in ("GC=F", "BTC-USD", "SPY"):
        made.champions.record(symbol, "abc", Decision(True, "no champion yet"), as_of=LONG_AGO, since=LONG_AGO)
    return made


def write(house, symbol: str, at: datetime, status: str) -> None:
    facts = {"symbol": symbol, "as_of": at, "experiment": "tiny", "profile": "simulated", "simulated": True}
    house.signals.write(Signal(**facts, status=status, reason="told by a test"))


@pytest.fixture
def evaluated(bare_home):
    """A schedule's tick: evaluated(house, name, at)."""

    def told(house, name: str, at: datetime):
        repository = build_defs(house).get_repository_def()
        moments = {"scheduled_execution_time": at, "repository_def": repository}
        with bare_home.open() as instance, dg.build_schedule_context(instance, **moments) as context:
            return repository.get_schedule_def(name).evaluate_tick(context)

    return told


@pytest.fixture
def asked(house, evaluated):
    """What the clock asks for at a moment, whichever tick is told."""

    def at_clock(at: datetime) -> dict[str, str]:
        there = House(replace(house.workplace, as_of=at), house.universe, house.experiment)
        found = evaluated(there, "hourly_inference_schedule", LONG_AGO)
        return {request.partition_key: request.tags[DECISION] for request in found.run_requests}

    return at_clock


def test_only_symbols_with_a_champion_are_trained(house):
    assert trained(house) == ["GC=F", "BTC-USD", "SPY"]


def test_what_is_due_is_asked_for_with_its_moment(house, asked):
    for symbol in ("GC=F", "BTC-USD"):
        write(house, symbol, WEDNESDAY.replace(hour=14, minute=0), "ok")
    write(house, "SPY", WEDNESDAY.replace(day=17, hour=21, minute=0), "ok")
    due = {"GC=F": "2026-11-18T15:00:00+00:00", "BTC-USD": "2026-11-18T15:00:00+00:00"}
    assert asked(WEDNESDAY) == due
    assert asked(WEDNESDAY.replace(minute=35)) == {**due, "SPY": "2026-11-18T15:30:00+00:00"}


def test_an_early_close_moves_the_decision(house, asked):
    thanksgiving_friday = datetime(2026, 11, 27, 18, 5, tzinfo=UTC)  # NYSE closes at 13:00 New York
    assert asked(thanksgiving_friday)["SPY"] == "2026-11-27T18:00:00+00:00"
    write(house, "SPY", thanksgiving_friday.replace(minute=0), "ok")
    assert "SPY" not in asked(thanksgiving_friday.replace(hour=19))


def test_without_a_trained_symbol_the_tick_says_what_to_do(bare_home, evaluated):
    found = evaluated(bare_home.house(), "hourly_inference_schedule", WEDNESDAY)
    assert found.run_requests == []
    assert "quant train SYMBOL" in found.skip_message


@pytest.mark.parametrize(("name", "word"), [("daily_drift_schedule", "drift"), ("weekly_training_schedule", "train")])
def test_drift_and_training_ask_for_every_trained_symbol_once_a_day(house, evaluated, name, word):
    found = evaluated(house, name, SATURDAY)
    assert [request.partition_key for request in found.run_requests] == trained(house)
    assert found.run_requests[0].run_key == f"{word} GC=F@2026-11-14"
    assert evaluated(house, name, SATURDAY).run_requests == found.run_requests


def test_the_crons_are_utc(house):
    crons = {schedule.name: (schedule.cron_schedule, schedule.execution_timezone) for schedule in build_defs(house).schedules}
    assert crons == {
        "hourly_inference_schedule": ("*/5 * * * *", "UTC"),
        "daily_drift_schedule": ("20 0 * * *", "UTC"),
        "weekly_training_schedule": ("30 0 * * 1", "UTC"),
    }
