"""Trying is not deploying: experiments and profiles of one symbol, side by side, leave one another's bytes alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from quant_pipeline.orchestration.house import House

if TYPE_CHECKING:
    from quant_pipeline_tests.conftest import Home

SYMBOL = "BTC-USD"
SHORT = {"history_days": 45, "labels": {"tune_trials": 0}}


@pytest.fixture
def short_home(home_of_nothing, tmp_path) -> Home:
    """Trained once, on six weeks, by one model."""
    tiny = home_of_nothing.tiny
    home = home_of_nothing.make(tmp_path, {**tiny, **SHORT, "models": [tiny["models"][1]]})
    with home.runner() as runner:
        runner.run(SYMBOL)
    return home


def bundle_of(house: House) -> str:
    return pl.read_parquet(house.workplace.lake / "bundle" / f"{SYMBOL}.parquet")["bundle"][0]


def neighbours(home: Home) -> list[House]:
    """A faster clock, another window, and the same bars as files of one's own."""
    house = home.house()
    folder = home.root / "own"
    folder.mkdir()
    bars = house.store.read(SYMBOL, "1m").select("timestamp", "open", "high", "low", "close", "volume")
    bars.write_parquet(folder / f"{SYMBOL}_1m.parquet")
    files = replace(house.workplace, profile="files", bars_folder=folder)
    return [
        home.house(name="quarter", primary="15m", history_days=20),
        home.house(name="calm", features={"zscore_window": 60}),
        replace(house, workplace=files, origin=None),
    ]


@pytest.mark.long
def test_three_experiments_and_two_profiles_do_not_touch_one_another(short_home):
    home = short_home
    kept, lives = home.contents(), [home.house().champions.live_at(SYMBOL, home.as_of)]
    for house in neighbours(home):
        with home.runner(house) as runner:
            runner.run(SYMBOL)
        now = home.contents()
        touched = {name for name, digest in kept.items() if now.get(name) != digest}
        assert {name.split("/")[3] for name in touched} <= {"test_uses"}  # the one record that all of a market share
        kept = now
        live = house.champions.live_at(SYMBOL, house.workplace.now())
        assert house.signals.latest(SYMBOL).bundle_id == live
        lives.append(live)
    assert lives[-1] == lives[0]  # equal bars give an equal bundle, whoever gave them
    assert len(set(lives)) == 3
    with home.runner() as runner:
        summary = runner.run(SYMBOL)
    assert summary.made == [f"raw_bars|{SYMBOL}", f"signals|{SYMBOL}"]
    assert home.contents() == kept


@pytest.mark.long
def test_features_changed_and_back_leave_a_champion_that_answers_each_time(short_home):
    """As a person who tries: a window of the z-score, then the old one again; between them a challenger loses."""
    home = short_home
    first, live = bundle_of(home.house()), []
    for step, window in enumerate((60, 100)):
        house = home.house(features={"zscore_window": window}, as_of=home.as_of + timedelta(hours=1 + step))
        with home.runner(house) as runner:
            runner.run(SYMBOL)
        live.append(house.champions.live_at(SYMBOL, house.workplace.now()))
        assert house.signals.latest(SYMBOL).status == "ok", house.signals.latest(SYMBOL).reason
        assert house.signals.latest(SYMBOL).bundle_id == live[-1] == bundle_of(house)
    assert live[0] != live[1] == first
