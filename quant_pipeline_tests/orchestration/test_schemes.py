"""Experiments that are not the default, from bars to signal."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import polars as pl

SYMBOL = "BTC-USD"
SMALLEST = {"history_days": 60, "ladder": ["1m", "1h"], "models": [{"name": "logistic", "params": {"C": 0.01, "max_iter": 50}}]}


def run_all(home, splits):
    """A run of every asset to the signal, and the house that it ran in."""
    house = home.house(**SMALLEST, splits=splits, labels={"tune_trials": 0})
    with home.runner(house) as runner:
        runner.run(SYMBOL, until="reports")
        runner.materialize([dg.AssetKey("signals")], SYMBOL)
    assert house.signals.latest(SYMBOL).status == "ok"
    return house


def table(house, name):
    return pl.read_parquet(house.workplace.lake / name / f"{SYMBOL}.parquet")


def page(house):
    return (house.workplace.reports / SYMBOL / "skill_report.html").read_text()


def learned(house):
    return table(house, "splits").filter(pl.col("role") != "oof")


def test_rolling_runs_to_the_signal_and_is_a_trading_record(bare_home):
    house = run_all(bare_home, {"scheme": "rolling"})
    begins = learned(house).group_by("fold").agg(pl.col("start").min())["start"]
    assert begins.n_unique() == len(house.experiment.splits.fold_names)
    first = table(house, "splits").filter(pl.col("role") == "oof", pl.col("fold") == "fold_01")["start"][0]
    assert table(house, "backtest")["known_at"][0] - first <= timedelta(hours=1)
    assert "no trading record" not in page(house)


def test_no_money_is_made_of_rows_whose_models_saw_the_future(bare_home):
    house = run_all(bare_home, {"scheme": "purged_kfold"})
    first = table(house, "splits").filter(pl.col("role") == "oof", pl.col("fold") == "fold_00")
    assert (learned(house).filter(pl.col("fold") == "fold_00")["start"] >= first["end"][0]).all()
    only_the_final_span_is_traded(house)
    skill = table(house, "skill_report").filter(pl.col("metric") == "log_loss", pl.col("model") == "ensemble")
    assert set(skill["fold"]) == {"all", *house.experiment.splits.fold_names}
    assert "Skill over paths" not in page(house)


def test_combinatorial_folds_are_averaged_and_shown_as_paths(bare_home):
    house = run_all(bare_home, {"scheme": "combinatorial", "folds": 3})
    only_the_final_span_is_traded(house)
    skill = table(house, "skill_report")
    groups, paths = [f"group_{k:02d}" for k in range(3)], ["path_00", "path_01"]
    for model in ("ensemble", "logistic"):
        rows = skill.filter(pl.col("metric") == "ic", pl.col("model") == model)
        size = dict(rows.select("fold", "rows").iter_rows())
        assert set(size) == {"all", "holdout", *groups, *paths}
        assert size["all"] == size["path_00"] == size["path_01"] == sum(size[group] for group in groups)
        spread = rows.filter(pl.col("fold").is_in(paths))
        assert spread["value"].n_unique() == 2
        assert spread["low"].null_count() == 2
    assert "The 2 paths of combinatorial cross-validation" in page(house)


def only_the_final_span_is_traded(house):
    start = table(house, "splits").filter(pl.col("fold") == "holdout", pl.col("role") == "oof")["start"][0]
    equity = table(house, "backtest")
    assert equity["timestamp"].min() >= start
    assert "no trading record" in page(house)
    assert house.experiment.splits.scheme in page(house)


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
