"""Paths and averages of combinatorial folds against the splitter and slow loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import HOLDOUT, SplitSettings
from quant_pipeline.ensemble.oof import SCHEMA
from quant_pipeline.validation.baselines import PRIOR, naive_forecasts
from quant_pipeline.validation.paths import averaged, path_rows, paths
from quant_pipeline.validation.skill_table import skill_table
from quant_pipeline.validation.splits import fold_rows, make_splits
from quant_pipeline_tests.backtest.conftest import make_market

MODELS = ("good", "bad")


@pytest.fixture(scope="module")
def market():
    return make_market(1_200)


def predicted(labels, folds, seed=0):
    """PREDICTIONS of two models by every fold of a combinatorial scheme, each fold with its own noise."""
    chosen, rng = SplitSettings(scheme="combinatorial", folds=folds), np.random.default_rng(seed)
    splits = make_splits(labels, chosen)
    frames = []
    for model in MODELS:
        for fold in chosen.fold_names:
            block = labels[fold_rows(splits, fold, labels, chosen).oof]
            p = rng.dirichlet([2.0, 3.0, 2.0], block.height)
            columns = {"p_short": p[:, 0], "p_neutral": p[:, 1], "p_long": p[:, 2], "p_up": p[:, 2] + p[:, 1] / 2}
            named = block.select("timestamp", "decision_at").with_columns(
                fold=pl.lit(fold), model=pl.lit(model), e_r=pl.Series(rng.normal(size=block.height)),
                **{name: pl.Series(values) for name, values in columns.items()},
            )  # fmt: skip
            frames.append(named.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()))
    return pl.concat(frames)


@settings(max_examples=6, deadline=None)
@given(groups=st.integers(3, 5), seed=st.integers(0, 99))
def test_every_path_holds_every_row_once_and_uses_every_prediction_once(market, groups, seed):
    told = predicted(market.labels, groups * (groups - 1) // 2, seed)
    developed = told.filter(pl.col("fold") != HOLDOUT)
    found = paths(told.sample(fraction=1.0, shuffle=True, seed=seed))
    assert list(found) == [f"path_{k:02d}" for k in range(groups - 1)]
    everything = developed["decision_at"].unique().sort()
    for frame in found.values():
        assert dict(frame.schema) == SCHEMA
        for model in MODELS:
            assert frame.filter(pl.col("model") == model)["decision_at"].to_list() == everything.to_list()
    keys = ["model", "decision_at", "p_long", "p_short", "e_r"]
    assert pl.concat(found.values()).select(keys).sort(keys).equals(developed.select(keys).sort(keys))


@pytest.mark.parametrize("groups", [3, 4])
def test_a_path_takes_each_group_from_one_fold_and_names_it(market, groups):
    told = predicted(market.labels, groups * (groups - 1) // 2)
    pairs = [f"fold_{k:02d}" for k in range(groups * (groups - 1) // 2)]
    by_value = dict(told.select("p_long", "fold").iter_rows())
    for j, frame in enumerate(paths(told).values()):
        for group in range(groups):
            rows = frame.filter(pl.col("fold") == f"group_{group:02d}", pl.col("model") == "good")
            leaving_out = [name for name, pair in zip(pairs, combinations(range(groups), 2), strict=True) if group in pair]
            assert {by_value[value] for value in rows["p_long"]} == {leaving_out[j]}


def test_the_average_is_the_mean_of_a_rows_folds_and_the_holdout_stays(market):
    told = predicted(market.labels, 6)
    mean = averaged(told)
    assert dict(mean.schema) == SCHEMA
    assert mean.filter(pl.col("fold") == HOLDOUT).equals(told.filter(pl.col("fold") == HOLDOUT))
    for model, at in (("good", 0), ("bad", 500), ("good", 900)):
        moment = market.labels["decision_at"][at]
        own = (pl.col("model") == model) & (pl.col("decision_at") == moment)
        assert told.filter(own).height == 3
        for name in ("p_short", "p_neutral", "p_long", "p_up", "e_r"):
            assert mean.filter(own)[name].to_list() == pytest.approx([told.filter(own)[name].mean()])
    assert mean.filter(pl.col("fold") != HOLDOUT).select("model", "decision_at").is_unique().all()


def test_the_rows_of_a_path_are_those_of_the_skill_table(market):
    told = paths(predicted(market.labels, 3))
    rows = path_rows(told, market.labels)
    assert rows["fold"].unique().sort().to_list() == list(told)
    for path, predictions in told.items():
        table = skill_table(predictions, market.labels, around=True).filter(pl.col("fold") == "all", pl.col("kind") == "model")
        keys = ["model", "metric"]
        mine = rows.filter(pl.col("fold") == path).select(*keys, "value", "chance", "rows").sort(keys)
        assert mine.equals(table.filter(pl.col("metric").is_in(mine["metric"].implode())).select(mine.columns).sort(keys))


def test_naive_models_know_both_sides_where_models_do(market):
    labels = market.labels
    decisions = labels[200:400].select("decision_at", fold=pl.lit("fold_01"))
    held = labels[900:].select("decision_at", fold=pl.lit(HOLDOUT))
    told = naive_forecasts(labels, pl.concat([decisions, held]), around=True).filter(pl.col("model") == PRIOR)
    first, last = decisions["decision_at"][0], labels["label_end"][399]
    apart = labels.filter((pl.col("label_end") <= first) | (pl.col("decision_at") >= last))
    past = labels.filter(pl.col("label_end") <= held["decision_at"][0])
    for fold, known in (("fold_01", apart), (HOLDOUT, past)):
        share = ((known["label"] == 1).sum() + 1) / (known.height + 3)
        np.testing.assert_allclose(told.filter(pl.col("fold") == fold)["p_long"], share)
