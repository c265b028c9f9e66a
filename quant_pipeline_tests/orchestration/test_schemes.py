"""Experiments that are not the default, from bars to signal."""

from __future__ import annotations

import polars as pl
import pytest

SYMBOL = "BTC-USD"
SMALLEST = {"history_days": 60, "ladder": ["1m", "1h"], "models": [{"name": "logistic", "params": {"C": 0.01, "max_iter": 50}}]}


@pytest.mark.parametrize("scheme", ["purged_kfold", "rolling"])
def test_another_fold_scheme_runs_to_the_signal(bare_home, scheme):
    house = bare_home.house(**SMALLEST, splits={"scheme": scheme}, labels={"tune_trials": 0})
    with bare_home.runner(house) as runner:
        summary = runner.run(SYMBOL)
    assert summary.reused == []
    assert house.signals.latest(SYMBOL).status == "ok"
    splits = pl.read_parquet(house.workplace.lake / "splits" / f"{SYMBOL}.parquet")
    trained = splits.filter(pl.col("role") == "train")
    if scheme == "rolling":
        assert trained["rows"].max() <= 1.1 * trained["rows"].min()
        assert trained["start"].n_unique() == trained["fold"].n_unique()
    else:
        oof = splits.filter(pl.col("role") == "oof", pl.col("fold") == "fold_00")
        assert trained.filter(pl.col("fold") == "fold_00", pl.col("start") > oof["end"][0]).height


def test_long_only_runs_to_the_signal(bare_home):
    house = bare_home.house(**SMALLEST, labels={"side": "long", "tune_trials": 0})
    with bare_home.runner(house) as runner:
        runner.run(SYMBOL)
    labels = pl.read_parquet(house.workplace.lake / "labels" / f"{SYMBOL}.parquet")
    touched = labels.select("touched", "label").unique().rows()
    assert {label for side, label in touched if side == "upper"} == {1}
    assert {label for side, label in touched if side == "lower"} == {-1}
    assert house.signals.latest(SYMBOL).status == "ok"
