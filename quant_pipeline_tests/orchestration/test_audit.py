from __future__ import annotations

import importlib
import shutil
import sqlite3
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_pipeline.errors import LeakageError
from quant_pipeline.features import registry
from quant_pipeline.inference.faults import OUTSIDE
from quant_pipeline.orchestration import doctor

SYMBOL = "GC=F"
WINTER = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)  # the clocks, Thanksgiving and Christmas are among the 120 days before
MODULE = "leaking_features"
SOURCE = Path(__file__).with_name(f"{MODULE}.py")


@dataclass(frozen=True)
class Spoiled:
    """A run of an experiment with leaking features: its home, what it raised, and the faults that it left."""

    home: object
    folder: Path
    error: LeakageError
    faults: pl.DataFrame
    names: dict[str, list[str]]

    @property
    def accused(self) -> set[str]:
        return set(self.faults["where"])


def write_daily(folder: Path) -> None:
    """Daily closes of a made-up year, as the files that people keep."""
    days = pl.DataFrame({"day": np.arange(20_300.0, 20_500.0), "close": np.arange(200.0)})
    days.write_csv(folder / "daily.csv")
    days.write_parquet(folder / "daily.parquet")
    np.save(folder / "daily.npy", days.to_numpy())
    with sqlite3.connect(folder / "daily.sqlite") as base:
        base.execute("CREATE TABLE daily (day REAL, close REAL)")
        base.executemany("INSERT INTO daily VALUES (?, ?)", days.rows())
    import duckdb
    import h5py
    import xgboost
    from safetensors.numpy import save_file

    save_file({"daily": days.to_numpy(order="c").copy()}, folder / "daily.safetensors")
    learned = xgboost.DMatrix(days.select("day").to_numpy(), days["close"].to_numpy())
    xgboost.train({"max_depth": 3}, learned, 5).save_model(folder / "daily.ubj")
    with duckdb.connect(str(folder / "daily.duckdb")) as base:
        base.execute("CREATE TABLE daily AS SELECT * FROM days")
    with h5py.File(folder / "daily.h5", "w") as file:
        file["daily"] = days.to_numpy()


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory, home_of_nothing):
    """`quant run` of a null market with every leak of `leaking_features` among its features."""
    folder = tmp_path_factory.mktemp("features")
    shutil.copy(SOURCE, folder)
    write_daily(folder)
    registered = dict(registry._REGISTERED)
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(MODULE)
        tiny = {**home_of_nothing.tiny, "features": {**home_of_nothing.tiny["features"], "families": ["returns"]},
                "simulated": {"no_signal": True}}  # fmt: skip
        home = replace(home_of_nothing.make(tmp_path_factory.mktemp("spoiled"), tiny), symbol=SYMBOL, as_of=WINTER)
        with home.runner() as runner, pytest.raises(LeakageError) as caught:
            runner.run(SYMBOL)
        faults = pl.read_parquet(home.lake / "feature_audit" / f"{SYMBOL}.parquet")
        names = {kind: getattr(module, kind) for kind in ("LEAKS", "READERS", "HONEST")}
        yield Spoiled(home, folder, caught.value, faults, names)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(MODULE, None)
        registry._REGISTERED.clear()
        registry._REGISTERED.update(registered)


def test_every_leak_is_caught(spoiled):
    columns = {column for column in spoiled.accused if column.endswith(("_1h", "_15m"))}
    caught = {column.rpartition("_")[0] for column in columns}
    assert set(spoiled.names["LEAKS"]) - caught == set()


def test_no_honest_feature_is_accused(spoiled):
    suspects = {*spoiled.names["LEAKS"], *spoiled.names["READERS"]}
    rest = {name for name in spoiled.accused if name not in suspects and name.rpartition("_")[0] not in suspects}
    assert rest == {f"{MODULE}.<module>"}  # the file that opened a table while it was imported


def test_every_way_to_an_outside_table_is_named_with_its_file(spoiled):
    outside = spoiled.faults.filter(pl.col("fault") == OUTSIDE)
    assert set(spoiled.names["READERS"]) - set(outside["where"]) == set()
    assert all("daily." in found and f"{MODULE}.py:" in found for found in outside["found"])


def test_the_error_names_the_columns_and_a_mend(spoiled):
    told = str(spoiled.error)
    assert "features of GC=F" in told
    assert "by_another_program" in told
    assert "at_session_ends_1h" in told
    assert "To mend:" in told


def test_nothing_was_trained(spoiled):
    made = {path.relative_to(spoiled.home.lake).parts[0] for path in spoiled.home.lake.rglob("*") if path.is_file()}
    assert "feature_audit" in made
    assert made.isdisjoint({"regimes", "selection", "models", "meta_learner", "bundle", "champion"})
    assert not spoiled.home.house().workplace.bundles.exists()


def test_the_check_failed_and_names_the_columns(spoiled):
    key = dg.AssetCheckKey(dg.AssetKey("feature_audit"), "live_path")
    with spoiled.home.open() as instance:
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert record.status.value == "FAILED"
    told = record.event.dagster_event.asset_check_evaluation_data.metadata
    assert "future_shift_1h" in told["columns"].value
    assert {"session end", "half day", "clock change", "large move", "change", "week"} <= set(told["kinds"].value)


def test_the_shell_ends_with_one_and_its_one_line_names_them(spoiled, quant):
    result = quant(spoiled.home, "run", SYMBOL)
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("LeakageError: features of GC=F")
    assert "by_duckdb" in last


def test_the_report_and_the_doctor_name_them(spoiled, quant, monkeypatch):
    result = quant(spoiled.home, "report", SYMBOL)
    assert "feature audit of GC=F failed" in result.output
    for name, value in spoiled.home.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor, "_leaks", lambda: "")
    monkeypatch.chdir(spoiled.home.root)
    told = [text for name, good, text in doctor.examine() if name == "feature audit" and not good]
    assert len(told) == 1
    assert "GC=F" in told[0]


PLUGIN = """
from pathlib import Path
import numpy as np
from quant_pipeline.features.registry import Columns, feature

@feature("peeking", "mine", ("close",), 1, rungs=("1h",))
def peeking(columns: Columns):
    close = columns["close"]
    return np.append(close[1:] / close[:-1] - 1, 0.0)

@feature("reading", "mine", ("close",), 1, rungs=("1h",))
def reading(columns: Columns):
    return columns["close"] * 0 + len((Path(__file__).parent / "daily.csv").read_text())

@feature("honest", "mine", ("close",), 1, rungs=("1h",))
def honest(columns: Columns):
    return columns["close"] * 1.0
"""


def test_a_leak_in_a_plugin_is_caught(bare_home, plug):
    (plug(mine=PLUGIN) / "daily.csv").write_text("day,close")
    house = bare_home.house(features={"families": ["mine"]}, ladder=["1m", "1h"], history_days=30)
    with bare_home.runner(house) as runner, pytest.raises(LeakageError, match=r"peeking_1h|reading"):
        runner.run(bare_home.symbol)
    faults = pl.read_parquet(house.workplace.lake / "feature_audit" / f"{bare_home.symbol}.parquet")
    assert {"peeking_1h", "reading"} == set(faults["where"])
    assert all("mine.py:" in found for found in faults.filter(pl.col("fault") == OUTSIDE)["found"])
