"""A symbol whose own bars are hours: its rungs, features and labels, and what shell and ledger say of the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError
from quant_pipeline.inference.inputs import decision_features
from quant_pipeline.orchestration.showing import absent_rungs

SYMBOL = "BTC-USD"
END = datetime(2026, 11, 18, 10, tzinfo=UTC)
HOURS = 24 * 60


@pytest.fixture(scope="module")
def hourly(home_of_nothing, tmp_path_factory):
    """A home and its house with two months of hours in a file."""
    home, folder = home_of_nothing.copy(tmp_path_factory.mktemp("hourly") / "home"), tmp_path_factory.mktemp("hours")
    stamps = pl.datetime_range(END - timedelta(hours=HOURS), END, "1h", closed="left", eager=True, time_unit="us")
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.004, HOURS)))
    opened = np.r_[100.0, close[:-1]]
    columns = [stamps, opened, np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999, close, np.full(HOURS, 5.0)]
    pl.DataFrame(dict(zip(BARS_SCHEMA, columns, strict=True))).write_parquet(folder / f"{SYMBOL}_1h.parquet")
    house, universe = home.house(), load_universe()
    symbol = universe.symbols[SYMBOL]
    hours = symbol.model_copy(update={"files": symbol.files.model_copy(update={"interval": "1h"})})
    return home, replace(
        house, workplace=replace(house.workplace, profile="files", bars_folder=folder),
        universe=universe.model_copy(update={"symbols": {**universe.symbols, SYMBOL: hours}}),
    )  # fmt: skip


def ledger(instance: dg.DagsterInstance, key: list[str]) -> dict:
    made = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=dg.AssetKey(key)), limit=1).records[0]
    return made.asset_materialization.metadata["ledger"].value


def test_the_pipeline_runs_on_the_rungs_that_there_are(hourly):
    home, house = hourly
    with home.runner(house) as runner:
        runner.run(SYMBOL, until="features")
        raw, features = ledger(runner.instance, ["raw_bars"]), ledger(runner.instance, ["features"])
    lake = house.workplace.lake
    table = {
        name: pl.read_parquet(lake / name / f"{SYMBOL}.parquet")
        for name in ("bars/1m", "bars/15m", "bars/1h", "features", "labels")
    }
    assert table["bars/1m"].is_empty()
    assert table["bars/15m"].is_empty()
    assert table["bars/1h"].height > 1_000
    assert (table["bars/1h"]["known_at"] - table["bars/1h"]["timestamp"] == timedelta(hours=1)).all()
    assert raw["notes"]["absent_rungs"] == features["notes"]["absent_rungs"] == ["1m", "15m"]
    left_out = features["notes"]["left_out_with_them"]
    assert left_out
    assert {name.rsplit("_", 1)[1] for name in left_out} == {"1m", "15m"}
    assert set(table["features"].columns).isdisjoint(left_out)
    assert table["labels"].height > 1_000
    assert absent_rungs(house, SYMBOL) == f"{SYMBOL} has bars of 1h: rungs 1m, 15m do not exist, and their features are left out"
    predictor = house.predictor()
    moment = table["features"]["decision_at"][-1]
    rungs = {"1h": table["bars/1h"]}
    context = house.context(SYMBOL, house.experiment.features)
    live = decision_features(rungs, context, house.experiment, "24/7", since=moment - timedelta(hours=1))
    assert live.tail(1).equals(table["features"].tail(1).select(live.columns))
    assert predictor.signal(SYMBOL, None, moment).status == "no_model"
    assert predictor.raw(predictor.task(SYMBOL), moment)["1h"].height


def test_a_primary_shorter_than_the_bars_is_refused_at_once(hourly):
    home, house = hourly
    short = replace(house, experiment=house.experiment.model_copy(update={"primary": "15m"}))
    with home.runner(short) as runner, pytest.raises(ConfigError, match=r"15m, and bars of 1h for BTC-USD.*set `primary`"):
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
