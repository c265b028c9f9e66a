from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.inference.champion import Decision
from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.schedules import due_decisions, trained

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
def answered(house):
    """The house, with a signal of the hour before the half."""
    for symbol in ("GC=F", "BTC-USD"):
        write(house, symbol, WEDNESDAY.replace(minute=0), "ok")
    return house


def tick(house, name: str, at: datetime):
    repository = build_defs(house).get_repository_def()
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=repository)
    return repository.get_schedule_def(name).evaluate_tick(context)


def asked(house, at: datetime) -> dict[str, str]:
    found = tick(house, "hourly_inference_schedule", at)
    return {request.partition_key: request.run_key for request in found.run_requests}


def test_only_symbols_with_a_champion_are_trained(house):
    assert trained(house) == ["GC=F", "BTC-USD", "SPY"]


def test_an_open_market_is_decided_after_its_bar_closed(house):
    assert asked(house, WEDNESDAY) == {"GC=F": "GC=F@2026-11-18T15:00", "BTC-USD": "BTC-USD@2026-11-18T15:00"}


def test_new_york_closes_its_hours_on_the_half(answered):
    assert asked(answered, WEDNESDAY.replace(minute=35)) == {"SPY": "SPY@2026-11-18T15:30"}


@pytest.mark.parametrize(
    ("status", "again"), [("ok", False), ("failed", False), ("no_model", False), ("stale", True), ("no_data", True)]
)
def test_a_decision_whose_bars_were_late_is_asked_for_once_more(house, status, again):
    write(house, "BTC-USD", WEDNESDAY.replace(minute=0), status)
    write(house, "GC=F", WEDNESDAY.replace(minute=0), "ok")
    keys = asked(house, WEDNESDAY.replace(minute=35))
    assert keys.get("BTC-USD") == ("BTC-USD@2026-11-18T15:00 again" if again else None)
    assert "GC=F" not in keys
    assert asked(house, WEDNESDAY.replace(hour=16))["BTC-USD"] == "BTC-USD@2026-11-18T16:00"


def test_a_decision_without_any_signal_is_asked_for_once_more(house):
    write(house, "GC=F", WEDNESDAY.replace(hour=14, minute=0), "ok")
    assert asked(house, WEDNESDAY.replace(minute=35))["GC=F"] == "GC=F@2026-11-18T15:00 again"


def test_a_closed_market_is_left_alone(house):
    assert asked(house, SATURDAY) == {"BTC-USD": "BTC-USD@2026-11-14T15:00"}


def test_the_last_bar_of_a_session_is_decided_too(house):
    close = datetime(2026, 11, 18, 22, 5, tzinfo=UTC)
    assert asked(house, close)["GC=F"] == "GC=F@2026-11-18T22:00"
    assert "GC=F" not in asked(house, close.replace(hour=23))


def test_an_early_close_moves_the_decision(house):
    thanksgiving_friday = datetime(2026, 11, 27, 18, 5, tzinfo=UTC)  # NYSE closes at 13:00 New York
    assert asked(house, thanksgiving_friday)["SPY"] == "SPY@2026-11-27T18:00"
    assert "SPY" not in asked(house, thanksgiving_friday.replace(hour=19))


def test_a_tick_that_is_evaluated_again_asks_for_the_same_runs(house):
    assert asked(house, WEDNESDAY) == asked(house, WEDNESDAY.replace(minute=9))


def test_every_decision_of_a_day_is_asked_for_exactly_once(house):
    ticks = [WEDNESDAY.replace(hour=hour, minute=minute) for hour in range(24) for minute in (5, 35)]
    decisions = [decision for at in ticks for decision in due_decisions(house, at).items()]
    assert len(decisions) == len(set(decisions))
    counts = {name: sum(symbol == name for symbol, _ in decisions) for name in trained(house)}
    assert counts == {"GC=F": 23, "BTC-USD": 24, "SPY": 7}


def test_without_a_trained_symbol_the_tick_says_what_to_do(bare_home):
    found = tick(bare_home.house(), "hourly_inference_schedule", WEDNESDAY)
    assert found.run_requests == []
    assert "quant train SYMBOL" in found.skip_message
    assert due_decisions(bare_home.house(), WEDNESDAY) == {}


@pytest.mark.parametrize(("name", "word"), [("daily_drift_schedule", "drift"), ("weekly_training_schedule", "train")])
def test_drift_and_training_ask_for_every_trained_symbol_once_a_day(house, name, word):
    found = tick(house, name, SATURDAY)
    assert [request.partition_key for request in found.run_requests] == trained(house)
    assert found.run_requests[0].run_key == f"{word} GC=F@2026-11-14"
    assert tick(house, name, SATURDAY).run_requests == found.run_requests


def test_the_crons_are_utc_and_after_the_bars_closed(house):
    crons = {schedule.name: (schedule.cron_schedule, schedule.execution_timezone) for schedule in build_defs(house).schedules}
    assert crons == {
        "hourly_inference_schedule": (["5 * * * *", "35 * * * *"], "UTC"),
        "daily_drift_schedule": ("20 0 * * *", "UTC"),
        "weekly_training_schedule": ("30 0 * * 1", "UTC"),
    }
