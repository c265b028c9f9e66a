"""Replay: signals emitted hour by hour through the live assets come back byte for byte from the full store.

The clock is moved by hand. In each hour `raw_bars` fetches what is new and `signals` speaks, as `quant predict` and the
hourly schedule do; nothing of a later hour is in the store by then.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_pipeline.bars.sessions import open_time_between
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import Costs
from quant_pipeline.definitions import build_defs
from quant_pipeline.files import write_parquet
from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.replaying import replay_symbol
from quant_pipeline.orchestration.runner import Runner

SYMBOLS = ("BTC-USD", "GC=F")  # one never closes, one has a daily break and weekends
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FREE = Costs(fee_bps=0)  # so that the signals act, and the account that replay rebuilds is not empty


@dataclass
class Desk:
    """A house whose clock is moved by hand, with the assets of every symbol at hand."""

    house: House
    instance: dg.DagsterInstance

    def at(self, moment: datetime) -> House:
        return replace(self.house, workplace=replace(self.house.workplace, as_of=moment))

    def train(self, symbol: str, moment: datetime) -> None:
        house = self.at(moment)
        Runner(build_defs(house), self.instance, house).run(symbol, until="ensemble")

    def tick(self, moment: datetime, *assets: str) -> None:
        """What one hourly run does, for every symbol that traded in the hour before."""
        house = self.at(moment)
        runner = Runner(build_defs(house), self.instance, house)
        for symbol in SYMBOLS:
            if open_time_between(house.symbol(symbol).calendar, moment - HOUR, moment) > timedelta(0):
                runner.materialize([dg.AssetKey(name) for name in assets or ("raw_bars", "signals")], symbol)

    def replayed(self) -> pl.DataFrame:
        """Every emitted signal of every symbol against itself computed again."""
        tables = [replay_symbol(self.house, name, None, None).with_columns(symbol=pl.lit(name)) for name in SYMBOLS]
        return pl.concat(tables)

    def hours(self, symbol: str) -> int:
        return len(self.house.signals.read(symbol))


@pytest.fixture(scope="module")
def experiment(small) -> Experiment:
    signal = small.signal.model_copy(update={"min_confidence": 0.5})
    return small.model_copy(update={"signal": signal})


@pytest.fixture(scope="module")
def trained(experiment, make_house, universe) -> Path:
    """A folder in which both symbols have a live bundle and have emitted nothing."""
    house = make_house(experiment)
    with dg.DagsterInstance.ephemeral() as instance:
        for symbol in SYMBOLS:
            Desk(house, instance).train(symbol, house.workplace.now())
    return house.workplace.data


@pytest.fixture
def desk(trained, experiment, make_house, universe, tmp_path) -> Desk:
    cheap = {name: universe.symbol(name).model_copy(update={"costs": FREE}) for name in SYMBOLS}
    house = make_house(experiment, folder=Path(shutil.copytree(trained, tmp_path / "data")))
    traded = universe.model_copy(update={"symbols": {**universe.symbols, **cheap}})
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(replace(house, universe=traded), instance)


def emit(desk: Desk, hours: int) -> None:
    start = desk.house.workplace.now().replace(minute=5)
    for hour in range(hours):
        desk.tick(start + hour * HOUR)


def assert_files_are_canonical(desk: Desk) -> None:
    """Equal canonical forms are equal bytes only if the files hold nothing else."""
    files = [path for name in SYMBOLS for path in (desk.house.workplace.signals / name).rglob("*Z.json")]
    assert files
    assert all(path.read_bytes() == Signal.from_bytes(path.read_bytes(), str(path)).canonical() for path in files)


def test_ten_hours_come_back_byte_for_byte(desk):
    emit(desk, 10)
    table = desk.replayed()
    assert desk.hours("BTC-USD") == 10
    assert table["equal"].all(), table.filter(~pl.col("equal")).to_dicts()
    assert set(table["status"]) == {"ok"}
    assert_files_are_canonical(desk)


def test_bars_that_came_late_are_named_in_the_hours_that_missed_them(desk):
    start = desk.house.workplace.now().replace(minute=5)
    for hour in range(6):
        desk.tick(start + hour * HOUR, *(["signals"] if hour in {2, 3} else []))
    table = desk.replayed()
    odd = table.filter(~pl.col("equal"))
    assert odd["as_of"].unique().sort().to_list() == [start - 5 * MINUTE + hour * HOUR for hour in (2, 3)]
    assert set(odd["symbol"]) == set(SYMBOLS)
    assert all(
        "data_hash" in fields and "arrived late" in cause for fields, cause in odd.select("differing", "cause").iter_rows()
    )


def test_a_rewritten_bar_is_named_in_every_hour_that_read_it(desk):
    emit(desk, 6)
    rewritten = desk.house.workplace.now().replace(minute=0) + 2 * HOUR + 17 * MINUTE
    path = desk.house.store.folder("BTC-USD", "1m") / f"{rewritten:%Y-%m}.parquet"
    higher = pl.when(pl.col("timestamp") == rewritten).then(pl.col("high") + 1).otherwise(pl.col("high"))
    write_parquet(path, pl.read_parquet(path).with_columns(high=higher))
    table = desk.replayed().filter(pl.col("symbol") == "BTC-USD")
    assert table["equal"].to_list() == (table["as_of"] <= rewritten).to_list()
    assert table["equal"].sum() == 3
    assert all("store was rebuilt" in cause for cause in table.filter(~pl.col("equal"))["cause"])


def test_a_revision_that_the_provider_sends_changes_nothing_and_is_on_record(desk):
    emit(desk, 3)
    store, now = desk.house.store, desk.house.workplace.now()
    newest = store.read("BTC-USD", "1m", now - HOUR, now)
    store.append("BTC-USD", "1m", newest.with_columns(pl.col("high") + 1), now + HOUR)
    assert store.revisions("BTC-USD").height == newest.height
    assert desk.replayed()["equal"].all()


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_two_hundred_hours_come_back_byte_for_byte(desk, capsys):
    """Eight days, a weekend and a retraining among them: each signal is replayed with the bundle that made it."""
    start = desk.house.workplace.now().replace(minute=5)
    for hour in range(200):
        moment = start + hour * HOUR
        desk.tick(moment)
        if moment.weekday() == 0 and moment.hour == 0:
            desk.train("BTC-USD", moment)
    table = desk.replayed()
    acted = sum(signal.action != 0 for name in SYMBOLS for signal in desk.house.signals.read(name))
    bundles = {signal.bundle_id for signal in desk.house.signals.read("BTC-USD")}
    with capsys.disabled():
        told = table.group_by("symbol", "status").agg(pl.len().alias("signals"), pl.col("equal").sum().alias("identical"))
        print(f"\n{told.sort('symbol', 'status')}\n{acted} of them act; bundles of BTC-USD: {len(bundles)}")
    assert desk.hours("BTC-USD") == 200
    assert desk.hours("GC=F") > 100
    assert acted > 20
    assert table["equal"].all(), table.filter(~pl.col("equal")).to_dicts()
    assert_files_are_canonical(desk)
