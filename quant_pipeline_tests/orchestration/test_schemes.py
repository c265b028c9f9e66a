"""Experiments that are not the default, from bars to signal."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

SYMBOL = "BTC-USD"
SMALLEST = {"history_days": 60, "ladder": ["1m", "1h"], "models": [{"name": "logistic", "params": {"C": 0.01, "max_iter": 50}}]}


@pytest.mark.parametrize("scheme", ["purged_kfold", "rolling"])
def test_another_fold_scheme_runs_to_the_signal(bare_home, scheme):
    house = bare_home.house(**SMALLEST, splits={"scheme": scheme}, labels={"tune_trials": 0})
    with bare_home.runner(house) as runner:
        runner.run(SYMBOL, until="reports" if scheme == "purged_kfold" else "ensemble")
        runner.materialize([dg.AssetKey("signals")], SYMBOL)
    assert house.signals.latest(SYMBOL).status == "ok"
    splits = pl.read_parquet(house.workplace.lake / "splits" / f"{SYMBOL}.parquet")
    learned = splits.filter(pl.col("role") != "oof")
    if scheme == "rolling":
        begins = learned.group_by("fold").agg(pl.col("start").min())["start"]
        assert begins.n_unique() == len(house.experiment.splits.fold_names)
    else:
        first = splits.filter(pl.col("role") == "oof", pl.col("fold") == "fold_00")
        assert (learned.filter(pl.col("fold") == "fold_00")["start"] >= first["end"][0]).all()


def test_long_only_runs_to_the_signal(bare_home):
    house = bare_home.house(**SMALLEST, labels={"side": "long", "tune_trials": 0})
    with bare_home.runner(house) as runner:
        runner.run(SYMBOL, until="ensemble")
        runner.materialize([dg.AssetKey("signals")], SYMBOL)
    labels = pl.read_parquet(house.workplace.lake / "labels" / f"{SYMBOL}.parquet")
    touched = labels.select("touched", "label").unique().rows()
    assert {label for side, label in touched if side == "upper"} == {1}
    assert {label for side, label in touched if side == "lower"} == {-1}
    assert house.signals.latest(SYMBOL).status == "ok"
