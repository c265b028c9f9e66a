"""One row an hour: days of ticks over calendars and primaries, through outages, sleep, dead runs and what cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_FAILURE_REASON_TAG

from quant_pipeline.config.timeframes import minutes
from quant_pipeline.errors import BundleError, DataError
from quant_pipeline.inference.champion import Decision
from quant_pipeline.inference.predictor import Predictor
from quant_pipeline.inference.schedule import decision_moments
from quant_pipeline.orchestration.hours import answers, hours, make_up, tick
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.moments import DECISION, decisions_of
from quant_pipeline.orchestration.owners import BOOT_TAG, owner_tags
from quant_pipeline.orchestration.schedules import trained
from quant_pipeline.orchestration.slots import INFERENCE

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CALENDARS = {"BTC-USD": "24/7", "SPY": "NYSE", "GC=F": "CMEGlobex_GC", "NIFTY": "XNSE", "SENSEX": "BSE"}
SUCCESS, FAILURE, WAITING = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.NOT_STARTED
STARTED = dg.DagsterRunStatus.STARTED


@dataclass
class World:
    """A house whose clock is moved by hand, and runs that do what the signals asset does, unless they are made to fail."""

    home: House
    instance: dg.DagsterInstance
    asked: list[tuple[str, datetime]] = field(default_factory=list)
    status: dg.DagsterRunStatus = SUCCESS

    def house(self, now: datetime) -> House:
        return House(replace(self.home.workplace, as_of=now), self.home.universe, self.home.experiment)

    def tick(self, now: datetime) -> list[str]:
        """One tick and the runs that it asks for, a minute later; returns what it says."""
        requests, said = tick(self.house(now), self.instance, trained(self.home))
        for request in requests:
            told = decisions_of(request.tags)
            self.asked += [(request.partition_key, at) for at in told]
            tags = {**request.tags, PARTITION_NAME_TAG: request.partition_key}
            self.instance.add_run(dg.DagsterRun(INFERENCE, str(uuid4()), tags=tags, status=self.status))
            if self.status == SUCCESS:
                self.run(request.partition_key, told, now + MINUTE)
        return said

    def run(self, symbol: str, told: list[datetime], now: datetime) -> None:
        house = self.house(now)
        for signal in answers(house, symbol, told, ()):
            house.signals.write(signal)

    def ticks(self, start: datetime, end: datetime) -> None:
        for step in range((end - start) // (5 * MINUTE)):
            self.tick(start + 5 * step * MINUTE)

    def rows(self, symbol: str) -> dict[datetime, str]:
        return {signal.as_of: signal.status for signal in self.home.signals.read(symbol)}

    def closes(self, symbol: str, start: datetime, end: datetime) -> list[datetime]:
        return decision_moments(self.home.symbol(symbol).calendar, self.home.experiment.primary, start, end)


@pytest.fixture
def status(monkeypatch) -> dict[str, object]:
    """What a decision comes to: a status, or an error; `ok` unless a test says otherwise."""
    says: dict[str, object] = {"status": "ok"}

    def signal(self: Predictor, symbol, _, as_of, seen_by=None):
        if isinstance(says["status"], Exception):
            raise says["status"]
        return self.unread(symbol, as_of, says["status"], "told by a test", None, seen_by)

    monkeypatch.setattr(Predictor, "signal", signal)
    monkeypatch.setattr(House, "live_bundle", lambda *_: None)
    return says


@pytest.fixture
def make(bare_home, status) -> Iterator:  # noqa: ARG001 - no test asks a real bundle
    """Maker of a world: some symbols with a champion and a signal of Sunday, at a primary."""
    with dg.DagsterInstance.ephemeral() as instance:

        def made(*symbols: str, primary: str = "1h") -> World:
            house = bare_home.house(ladder=sorted({"1m", primary}, key=minutes), primary=primary)
            like = house.universe.symbols["BTC-USD"]
            known = {name: like.model_copy(update={"calendar": CALENDARS[name], "correlated": ()}) for name in symbols}
            house = House(house.workplace, house.universe.model_copy(update={"symbols": known}), house.experiment)
            world = World(house, instance)
            for name in symbols:
                house.champions.record(name, "abc", Decision(True, "none yet"), as_of=MONDAY - 30 * DAY, since=MONDAY - 30 * DAY)
                newest = world.closes(name, MONDAY - 7 * DAY, MONDAY)[-1]
                world.run(name, [newest], newest)
            return world

        yield made


@pytest.mark.parametrize(
    ("symbol", "primary", "days"),
    [
        ("BTC-USD", "1h", 2), ("SPY", "1h", 5), ("GC=F", "1h", 2), ("NIFTY", "1h", 3), ("SENSEX", "1h", 3), ("NIFTY", "15m", 1),
        ("SENSEX", "5m", 1), ("SPY", "15m", 1), ("SPY", "5m", 1), ("GC=F", "1m", 1 / 24), ("NIFTY", "1m", 5 / 24),
        ("SPY", "1d", 7), ("BTC-USD", "1w", 8), ("BTC-USD", "45m", 1), ("SPY", "4h", 3),
    ],
)  # fmt: skip
def test_every_close_is_asked_for_once_and_in_time(make, symbol, primary, days):
    world = make(symbol, primary=primary)
    world.ticks(MONDAY, MONDAY + days * DAY + 10 * MINUTE)
    wanted = [at for at in world.closes(symbol, MONDAY, MONDAY + days * DAY) if at > MONDAY or primary == "1w"]
    rows = world.rows(symbol)
    assert [at for at in rows if MONDAY < at <= MONDAY + days * DAY] == [at for at in wanted if at > MONDAY]
    assert set(rows.values()) == {"ok"}
    assert len(world.asked) == len(set(world.asked))
    assert wanted


def test_a_week_of_two_calendars_with_sleep_and_outage_has_one_row_a_close(make, status):
    world = make("BTC-USD", "GC=F")
    world.ticks(MONDAY, MONDAY + 30 * HOUR)
    world.ticks(MONDAY + 37 * HOUR, MONDAY + 3 * DAY)  # seven hours of sleep
    status["status"] = "stale"
    world.ticks(MONDAY + 3 * DAY, MONDAY + 3 * DAY + 5 * HOUR)
    status["status"], world.status = "ok", FAILURE
    world.ticks(MONDAY + 3 * DAY + 5 * HOUR, MONDAY + 3 * DAY + 8 * HOUR)
    world.status = SUCCESS
    world.ticks(MONDAY + 3 * DAY + 8 * HOUR, MONDAY + 7 * DAY + 10 * MINUTE)
    for symbol in ("BTC-USD", "GC=F"):
        closes = [at for at in world.closes(symbol, MONDAY, MONDAY + 7 * DAY) if at > MONDAY]
        rows = {at: status for at, status in world.rows(symbol).items() if at > MONDAY}
        assert list(rows) == closes
        slept = {at for at in closes if MONDAY + 30 * HOUR <= at < MONDAY + 37 * HOUR}
        assert {at for at, status in rows.items() if status == "late" and at < MONDAY + 3 * DAY} == slept
        assert {rows[at] for at in closes if MONDAY + 3 * DAY < at < MONDAY + 3 * DAY + 5 * HOUR} == {"stale"}
    assert not any(signal.action for signal in world.home.signals.read("BTC-USD"))


def test_a_late_row_stands_against_an_answer_that_comes_too_late(make):
    world = make("BTC-USD")
    house = world.house(MONDAY + 5 * HOUR)
    make_up(house, "BTC-USD", [MONDAY + HOUR])
    assert house.signals.write(house.predictor().signal("BTC-USD", None, MONDAY + HOUR)) == "conflict"
    assert world.rows("BTC-USD")[MONDAY + HOUR] == "late"


def test_a_run_writes_the_hour_that_it_was_told_however_late_it_starts(make):
    """Asked for 11:00, started at 13:05: the row is of 11:00, and late; 13:00 is another run's."""
    world = make("BTC-USD")
    eleven = MONDAY + 11 * HOUR
    world.run("BTC-USD", [eleven], eleven + 2 * HOUR + 5 * MINUTE)
    world.run("BTC-USD", [eleven + HOUR], eleven + HOUR + 40 * MINUTE)
    rows = world.rows("BTC-USD")
    assert (rows[eleven], rows[eleven + HOUR]) == ("late", "ok")
    assert eleven + 2 * HOUR not in rows


def test_a_run_that_sleeps_between_its_steps_does_not_act(make):
    """It started in time, so its moment is, but the clock is not."""
    world = make("BTC-USD")
    asleep = world.house(MONDAY + 9 * HOUR).at(MONDAY + HOUR + 5 * MINUTE, {})
    assert [signal.status for signal in answers(asleep, "BTC-USD", [MONDAY + HOUR], ())] == ["late"]


@pytest.mark.parametrize("kind", [BundleError, DataError])
def test_what_cannot_be_opened_is_a_failed_row(make, status, kind):
    world, error = make("BTC-USD"), kind("thing", found="x", wanted="y", mend="z")
    status["status"] = error
    world.tick(MONDAY + HOUR + 5 * MINUTE)
    signal = world.home.signals.latest("BTC-USD")
    assert (signal.as_of, signal.status, signal.reason, signal.bundle_id) == (MONDAY + HOUR, "failed", str(error), "abc")


def test_a_damaged_record_of_champions_stops_no_symbol(make):
    world = make("BTC-USD", "GC=F")
    (world.home.workplace.bundles / "champions" / "BTC-USD.jsonl").write_text("{")
    world.tick(MONDAY + HOUR + 5 * MINUTE)
    assert MONDAY + HOUR in world.rows("GC=F")
    assert world.rows("BTC-USD")[MONDAY + HOUR] == "ok"
    world.tick(MONDAY + 4 * HOUR + 5 * MINUTE)
    assert [world.rows("BTC-USD")[MONDAY + hour * HOUR] for hour in (2, 3, 4)] == ["late", "late", "ok"]


def test_a_symbol_without_a_calendar_is_said_and_stops_no_other(make):
    world = make("BTC-USD", "GC=F")
    known = {**world.home.universe.symbols}
    known["BTC-USD"] = known["BTC-USD"].model_copy(update={"calendar": "MARS"})
    world.home = House(world.home.workplace, world.home.universe.model_copy(update={"symbols": known}), world.home.experiment)
    (said,) = world.tick(MONDAY + HOUR + 5 * MINUTE)
    assert said.startswith("BTC-USD: calendar 'MARS'")
    assert MONDAY + HOUR in world.rows("GC=F")


def test_bars_that_may_still_come_are_asked_for_again_each_time_after_twice_the_wait(make, status):
    world, status["status"] = make("SPY", primary="1d"), "stale"
    close = world.closes("SPY", MONDAY, MONDAY + DAY)[0]
    seen = []
    for step in range(1, 16 * 12):
        before = len(world.asked)
        world.tick(close + 5 * step * MINUTE)
        seen += [5 * step] * (len(world.asked) - before)
    assert seen == [5, 30, 90, 210, 450, 930]
    status["status"] = "ok"
    world.run("SPY", [close], close + 16 * HOUR)
    assert world.rows("SPY")[close] == "ok"


@pytest.mark.parametrize(("status_", "again"), [("ok", 0), ("failed", 0), ("no_model", 0), ("stale", 1), ("no_data", 1)])
def test_an_hour_is_asked_for_again_only_while_its_bars_are_late(make, status, status_, again):
    world, status["status"] = make("BTC-USD"), status_
    world.ticks(MONDAY + HOUR + 5 * MINUTE, MONDAY + 2 * HOUR)
    assert world.asked == [("BTC-USD", MONDAY + HOUR)] * (1 + again)


def test_nothing_stacks_up_behind_a_run_that_waits(make):
    world = make("BTC-USD")
    world.status = WAITING
    world.ticks(MONDAY + HOUR + 5 * MINUTE, MONDAY + 3 * HOUR)
    assert world.asked == [("BTC-USD", MONDAY + HOUR), ("BTC-USD", MONDAY + 2 * HOUR)]
    assert world.rows("BTC-USD")[MONDAY + HOUR] == "late"


def test_a_run_that_a_kill_ended_is_made_up_for_at_the_next_tick_and_the_third_waits(make):
    """One kill may be anybody's; a run that ends so each time may itself be the reason."""
    world, seen = make("BTC-USD", primary="4h"), []
    for step in range(1, 25):
        world.status = STARTED
        before = len(world.asked)
        world.tick(MONDAY + 4 * HOUR + 5 * step * MINUTE)
        seen += [5 * step] * (len(world.asked) - before)
        for run in world.instance.get_runs(dg.RunsFilter(statuses=[STARTED])):
            world.instance.add_run_tags(run.run_id, {**owner_tags(), BOOT_TAG: "another"})
    assert seen == [5, 10, 15, 30, 90]


def test_a_step_that_failed_is_no_kill(make):
    world = make("BTC-USD", primary="4h")
    world.status = FAILURE
    world.tick(MONDAY + 4 * HOUR + 5 * MINUTE)
    world.instance.add_run_tags(world.instance.get_runs()[0].run_id, {RUN_FAILURE_REASON_TAG: "STEP_FAILURE"})
    for minute in (10, 25, 30):
        world.tick(MONDAY + 4 * HOUR + minute * MINUTE)
        assert len(world.asked) == 1 + (minute == 30)


def test_several_closes_are_one_run_that_is_told_all_of_them(make):
    world = make("BTC-USD", primary="5m")
    world.run("BTC-USD", [MONDAY + 5 * MINUTE], MONDAY + 6 * MINUTE)
    (request,), _ = tick(world.house(MONDAY + 20 * MINUTE), world.instance, ["BTC-USD"])
    assert request.tags == {DECISION: "2026-11-16T00:10:00+00:00 2026-11-16T00:15:00+00:00"}
    assert request.run_key == "BTC-USD@2026-11-16T00:15"


def test_what_was_missed_is_said_and_older_than_a_week_left_to_the_replay(make):
    world = make("BTC-USD")
    (said,) = world.tick(MONDAY + 20 * DAY + 5 * MINUTE)
    assert said.startswith("BTC-USD: 167 missed, made up as late, from 2026-11-29 01:00")
    assert len(world.rows("BTC-USD")) == 1 + 167 + 1


def test_before_its_first_signal_a_symbol_has_missed_nothing(make):
    world = make("BTC-USD")
    for path in world.home.workplace.signals.rglob("*.json"):
        path.unlink()
    found = hours(world.house(MONDAY + 5 * HOUR + 5 * MINUTE), "BTC-USD", MONDAY + 5 * HOUR + 5 * MINUTE)
    assert (found.due, found.missed) == ([MONDAY + 5 * HOUR], [])


def test_a_week_of_minutes_is_made_up_within_a_tick(make):
    world = make("BTC-USD", primary="1m")
    world.tick(MONDAY + DAY)
    rows = world.rows("BTC-USD")
    assert len([at for at in rows if MONDAY < at <= MONDAY + DAY - 5 * MINUTE]) == 24 * 60 - 5
    assert list(rows.values()).count("ok") == 1 + 9  # the run began a minute after the tick
