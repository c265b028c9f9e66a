"""One moment a run: however long it takes, and whatever happens to the clock meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from quant_pipeline.config.workplace import Workplace
from quant_pipeline.orchestration.moments import CUTOFFS, NOW, moment_tags, pinned

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
SYMBOL = "BTC-USD"


@pytest.fixture
def open_house(bare_home):
    """A house whose clock runs."""
    house = bare_home.house()
    return replace(house, workplace=replace(house.workplace, as_of=None))


def context(tags: dict[str, str], record: object = None) -> SimpleNamespace:
    instance = SimpleNamespace(get_run_record_by_id=lambda _: record)
    return SimpleNamespace(run=SimpleNamespace(tags=tags, run_id="r"), instance=instance)


def test_the_tags_of_a_run_fix_its_moment_and_its_cutoffs(open_house):
    fixed = open_house.at(MONDAY, {SYMBOL: MONDAY - timedelta(days=7)})
    there = pinned(open_house, context(moment_tags(fixed)))
    assert there.workplace.now() == MONDAY
    assert there.cutoff(SYMBOL) == MONDAY - timedelta(days=7)
    assert there.workplace.lake == open_house.workplace.lake


def test_a_run_without_tags_works_at_the_moment_when_it_started(open_house):
    started = SimpleNamespace(start_time=MONDAY.timestamp(), create_timestamp=MONDAY - timedelta(hours=1))
    assert pinned(open_house, context({}, started)).workplace.now() == MONDAY
    queued = SimpleNamespace(start_time=None, create_timestamp=MONDAY)
    assert pinned(open_house, context({}, queued)).workplace.now() == MONDAY


def test_a_pinned_clock_stands_where_it_was_put(bare_home):
    started = SimpleNamespace(start_time=MONDAY.timestamp())
    assert pinned(bare_home.house(), context({}, started)).workplace.now() == bare_home.as_of


def test_a_run_over_monday_midnight_has_one_cutoff(bare_home, open_house, monkeypatch):
    """The clock passes midnight right after the run has begun; every stage must still be told the same."""
    clock = iter([MONDAY - timedelta(seconds=1)])
    monkeypatch.setattr(Workplace, "now", lambda self: self.as_of or next(clock, MONDAY + timedelta(minutes=5)))
    with bare_home.runner(open_house) as runner:
        runner.run(SYMBOL, until="features")
        runs = runner.instance.get_runs()
        made = runner.instance.fetch_materializations(dg.AssetKey("raw_bars"), limit=1).records[0]
        bars = runner.instance.fetch_materializations(dg.AssetKey(["bars", "1h"]), limit=1).records[0]
    assert {run.tags[NOW] for run in runs} == {(MONDAY - timedelta(seconds=1)).isoformat()}
    assert {json.loads(run.tags[CUTOFFS])[SYMBOL] for run in runs} == {(MONDAY - timedelta(days=7)).isoformat()}
    assert made.asset_materialization.metadata["training_cutoff"].value == str(MONDAY - timedelta(days=7))
    assert bars.asset_materialization.metadata["last"].value == str(MONDAY - timedelta(days=7, hours=1))


def test_a_reason_moves_the_cutoff_before_anything_is_made(bare_home):
    with bare_home.runner() as runner:
        runner.run(SYMBOL, until="ingest", reason="drift")
        (run,) = runner.instance.get_runs()
    moved = bare_home.as_of.replace(minute=0)
    assert json.loads(run.tags[CUTOFFS]) == {SYMBOL: moved.isoformat()}
    assert bare_home.house().cutoff(SYMBOL) == moved


def test_a_cutoff_that_drift_moves_meanwhile_is_the_next_run_s(bare_home):
    house = bare_home.house()
    fixed = house.at(house.workplace.now(), {SYMBOL: MONDAY})
    house.move_cutoff(SYMBOL, "drift")
    assert fixed.cutoff(SYMBOL) == MONDAY
    assert house.cutoff(SYMBOL) > MONDAY
