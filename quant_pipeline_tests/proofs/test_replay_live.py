"""Replay: signals emitted hour by hour through the live assets come back byte for byte from the full store.

The clock is moved by hand. In each hour bars, other markets, headlines and releases that are new are fetched and `signals`
speaks, as `quant predict` and the hourly schedule do; nothing of a later hour is in the stores by then.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from quant_pipeline.bars.sessions import open_time_between
from quant_pipeline.config.universe import Costs
from quant_pipeline.definitions import build_defs
from quant_pipeline.files import write_parquet
from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import live_inputs
from quant_pipeline.orchestration.replaying import replay_symbol
from quant_pipeline.orchestration.runner import Runner

SYMBOLS = ("BTC-USD", "GC=F")  # one never closes, one has a daily break and weekends
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
CLEAN = 10  # hours


@dataclass
class Desk:
    """A house whose clock is moved by hand, with the assets of every symbol at hand."""

    house: House
    instance: dg.DagsterInstance

    @property
    def start(self) -> datetime:
        """Five minutes past the first hour."""
        return self.house.workplace.now().replace(minute=5)

    def at(self, moment: datetime) -> House:
        return replace(self.house, workplace=replace(self.house.workplace, as_of=moment))

    def train(self, symbol: str, moment: datetime) -> None:
        house = self.at(moment)
        Runner(build_defs(house), self.instance, house).run(symbol, until="ensemble")

    def tick(self, moment: datetime, *assets: str) -> None:
        """What one hourly run does, for every symbol that traded in the hour before."""
        house = self.at(moment)
        assets = assets or (*live_inputs(house), "signals")
        runner = Runner(build_defs(house), self.instance, house)
        for symbol in SYMBOLS:
            if open_time_between(house.symbol(symbol).calendar, moment - HOUR, moment) > timedelta(0):
                runner.materialize([dg.AssetKey(name) for name in assets], symbol)

    def replayed(self, *symbols: str) -> pl.DataFrame:
        """Every emitted signal of `symbols` against itself computed again."""
        tables = [replay_symbol(self.house, name, None, None).with_columns(symbol=pl.lit(name)) for name in symbols or SYMBOLS]
        return pl.concat(tables)

    def moved(self, folder: Path) -> Desk:
        """The same desk in a copy of its folder."""
        place = replace(self.house.workplace, data=Path(shutil.copytree(self.house.workplace.data, folder)))
        return Desk(replace(self.house, workplace=place), self.instance)


@pytest.fixture(scope="module")
def house(small, make_house, universe) -> House:
    """Trading is free here, so that the signals act and the account that replay rebuilds is not empty."""
    free = {name: symbol.model_copy(update={"costs": Costs(fee_bps=0)}) for name, symbol in universe.symbols.items()}
    eager = small.model_copy(update={"signal": small.signal.model_copy(update={"min_confidence": 0.0})})
    return make_house(eager, traded=universe.model_copy(update={"symbols": free}))


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def trained(house, instance) -> Desk:
    """Both symbols have a live bundle and have emitted nothing."""
    desk = Desk(house, instance)
    for symbol in SYMBOLS:
        desk.train(symbol, house.workplace.now())
    return desk


@pytest.fixture(scope="module")
def emitted(trained) -> Desk:
    """Ten hours, then one in which the feed was down, then one in which its bars came late."""
    desk = trained.moved(trained.house.workplace.data.with_name("emitted"))
    for hour in range(CLEAN + 2):
        desk.tick(desk.start + hour * HOUR, *(["signals"] if hour == CLEAN else []))
    return desk


@pytest.fixture
def copy(emitted, tmp_path) -> Desk:
    """What was emitted, in a folder that a test may spoil."""
    return emitted.moved(tmp_path / "data")


def replayed_by_the_shell(desk: Desk, place) -> dict[str, str]:
    """What `quant replay` says of each symbol, from the same folder and equal settings."""
    (place.home / "small.yaml").write_text(yaml.safe_dump(desk.house.experiment.model_dump(mode="json")))
    (place.home / "universe.yaml").write_text(yaml.safe_dump(desk.house.universe.model_dump(mode="json")))
    place = replace(place, data=desk.house.workplace.data)
    return {name: place.quant("replay", name, QUANT_UNIVERSE=str(place.home / "universe.yaml")) for name in SYMBOLS}


def assert_files_are_canonical(desk: Desk) -> None:
    """Equal canonical forms are equal bytes only if the files hold nothing else."""
    files = [path for name in SYMBOLS for path in (desk.house.workplace.signals / name).rglob("*Z.json")]
    assert files
    assert all(path.read_bytes() == Signal.from_bytes(path.read_bytes(), str(path)).canonical() for path in files)


def test_all_hours_come_back_byte_for_byte_though_bars_came_late(emitted):
    table = emitted.replayed()
    assert table["symbol"].value_counts(sort=True)["count"].to_list() == [CLEAN + 2, CLEAN + 2]
    assert table["equal"].all(), table.filter(~pl.col("equal")).to_dicts()
    late = emitted.start - 5 * MINUTE + CLEAN * HOUR
    stale = table.filter(pl.col("status") == "stale")
    assert stale.filter(pl.col("as_of") == late)["symbol"].to_list() == list(SYMBOLS)
    assert table.filter(pl.col("status") == "ok").height >= 2 * CLEAN, "the simulated feed has holes of its own, but few"
    assert_files_are_canonical(emitted)


def test_a_rewritten_bar_is_named_in_every_hour_that_read_it(copy):
    rewritten = copy.start + 2 * HOUR + 12 * MINUTE
    path = copy.house.store.folder("BTC-USD", "1m") / f"{rewritten:%Y-%m}.parquet"
    higher = pl.when(pl.col("timestamp") == rewritten).then(pl.col("high") + 1).otherwise(pl.col("high"))
    write_parquet(path, pl.read_parquet(path).with_columns(high=higher))
    table = copy.replayed("BTC-USD").head(CLEAN)
    assert table["equal"].to_list() == (table["as_of"] <= rewritten).to_list()
    assert table["equal"].sum() == 3
    assert all("store was rebuilt" in cause for cause in table.filter(~pl.col("equal"))["cause"])


def test_a_revision_that_the_provider_sends_changes_no_signal_of_before(copy):
    store = copy.house.store
    newest = store.read("BTC-USD", "1m", copy.start, copy.start + HOUR)
    store.append("BTC-USD", "1m", newest.with_columns(pl.col("high") + 1), copy.start + 99 * HOUR)
    assert store.read("BTC-USD", "1m", copy.start, copy.start + HOUR)["high"].equals(newest["high"] + 1)
    assert copy.replayed("BTC-USD")["equal"].all()


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_two_hundred_hours_come_back_byte_for_byte(trained, shell, tmp_path, capsys):
    """Eight days, a weekend and a retraining among them: each signal is replayed with the bundle that made it.

    Here, and by `quant replay` in a process of its own.
    """
    desk = trained.moved(tmp_path / "data")
    for hour in range(200):
        moment = desk.start + hour * HOUR
        desk.tick(moment)
        if moment.weekday() == 0 and moment.hour == 0:
            desk.train("BTC-USD", moment)
    table = desk.replayed()
    signals = {name: desk.house.signals.read(name) for name in SYMBOLS}
    acted = sum(signal.action != 0 for name in SYMBOLS for signal in signals[name])
    bundles = {signal.bundle_id for signal in signals["BTC-USD"]}
    with capsys.disabled():
        told = table.group_by("symbol", "status").agg(pl.len().alias("signals"), pl.col("equal").sum().alias("identical"))
        print(f"\n{told.sort('symbol', 'status')}\n{acted} of them act; bundles of BTC-USD: {len(bundles)}")
    for name, said in replayed_by_the_shell(desk, shell("replay")).items():
        assert f"{len(signals[name])} signals replayed, {len(signals[name])} identical, 0 different" in said
    assert len(signals["BTC-USD"]) == 200
    assert len(signals["GC=F"]) > 100
    assert acted > 20
    assert table["equal"].all(), table.filter(~pl.col("equal")).to_dicts()
    assert_files_are_canonical(desk)
