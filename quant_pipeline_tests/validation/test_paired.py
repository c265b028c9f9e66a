"""Two models on the decisions that both forecast: figures of each, and a difference with the interval of pairs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import DataError
from quant_pipeline.validation.paired import DIFFERENCE, FEWEST_SHARED, paired_table, shared
from quant_pipeline.validation.skill_table import POOLED, TableSettings, skill_table

START, ROWS, HORIZON = datetime(2024, 1, 1, tzinfo=UTC), 900, 3
FAST = TableSettings(resamples=300, metrics=("ic", "log_loss_gain"))


@pytest.fixture
def labels() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    at = pl.datetime_range(START, START + timedelta(hours=ROWS - 1), "1h", time_unit="us", eager=True)
    ahead = rng.standard_normal(ROWS) * 0.01
    label = np.where(ahead > 0.004, 1, np.where(ahead < -0.004, -1, 0)).astype(np.int8)
    return pl.DataFrame({
        "timestamp": at.dt.offset_by("-1h"), "decision_at": at, "entry_at": at, "entry_price": 100.0, "label": label,
        "label_end": at.dt.offset_by(f"{HORIZON}h"), "forward_return": ahead,
    })  # fmt: skip


def told(labels: pl.DataFrame, name: str, *, knows: float, seed: int, first: int = 300, test: int = 700) -> pl.DataFrame:
    """PREDICTIONS of rows `first` on, the final test from `test` on; `knows` is how much of what follows they see."""
    noise = np.random.default_rng(seed).standard_normal(labels.height)
    score = np.clip(knows * labels["forward_return"].to_numpy() * 50 + 0.3 * noise, -2, 2)
    p = np.exp(np.stack([-score, np.zeros_like(score), score], axis=1))
    p /= p.sum(axis=1, keepdims=True)
    fold = [HOLDOUT if row >= test else f"fold_{row // 200:02d}" for row in range(labels.height)]
    return labels.select("timestamp", "decision_at").with_columns(
        fold=pl.Series(fold), model=pl.lit(name), p_short=p[:, 0], p_neutral=p[:, 1], p_long=p[:, 2], p_up=p[:, 2],
        e_r=pl.lit(None, pl.Float64),
    )[first:]  # fmt: skip


def cell(table: pl.DataFrame, model: str, metric: str = "ic", fold: str = POOLED) -> dict:
    found = table.filter(pl.col("model") == model, pl.col("metric") == metric, pl.col("fold") == fold)
    return found.row(0, named=True)


def test_only_decisions_of_the_same_kind_in_both_are_shared(labels):
    one, other = told(labels, "a", knows=0, seed=0), told(labels, "b", knows=0, seed=1, first=400, test=750)
    left, right = shared(one, other)
    assert left["decision_at"].to_list() == right["decision_at"].to_list()
    assert left["fold"].to_list() == right["fold"].to_list()
    rows = [int((at - START) / timedelta(hours=1)) for at in left["decision_at"]]
    assert sorted(rows) == [*range(400, 700), *range(750, 900)]
    assert right.columns == left.columns


def test_too_few_shared_decisions_are_refused(labels):
    one = told(labels, "a", knows=0, seed=0, test=ROWS)
    with pytest.raises(DataError, match="train both experiments"):
        shared(one, one.tail(FEWEST_SHARED - 1))


def test_the_difference_is_that_of_the_figures_beside_it(labels):
    one, other = told(labels, "a", knows=1, seed=0), told(labels, "b", knows=0.2, seed=2)
    table = paired_table(*shared(one, other), labels, FAST)
    for fold in (POOLED, HOLDOUT):
        for metric in FAST.metrics:
            less = cell(table, DIFFERENCE, metric, fold)["value"]
            assert less == pytest.approx(cell(table, "a", metric, fold)["value"] - cell(table, "b", metric, fold)["value"])
    assert cell(table, "a") == cell(skill_table(pl.concat([one, other]), labels, settings=FAST), "a")
    assert cell(table, DIFFERENCE)["low"] > 0


def test_the_interval_is_of_pairs(labels):
    """A forecaster and its slightly blurred twin hardly differ, however wide the interval of each; against itself, not at all."""
    one = told(labels, "a", knows=1, seed=0)
    blur = 0.01 * np.random.default_rng(5).random(one.height)
    twin = one.with_columns(model=pl.lit("b"), p_short=pl.col("p_short") * (1 - blur))
    twin = twin.with_columns(p_neutral=1 - pl.col("p_short") - pl.col("p_long"))
    less, alone = (cell(paired_table(*shared(one, twin), labels, FAST), name) for name in (DIFFERENCE, "a"))
    assert less["high"] - less["low"] < (alone["high"] - alone["low"]) / 5
    same = paired_table(*shared(one, one.with_columns(model=pl.lit("b"))), labels, FAST)
    assert (cell(same, DIFFERENCE)["low"], cell(same, DIFFERENCE)["high"]) == (0, 0)


def test_of_two_that_know_nothing_the_interval_holds_zero_about_as_often_as_it_says(labels):
    held = 0
    for seed in range(40):
        pair = [told(labels, name, knows=0, seed=2 * seed + k + 100, test=ROWS) for k, name in enumerate("ab")]
        less = cell(paired_table(*shared(*pair), labels, TableSettings(resamples=200, metrics=("ic",))), DIFFERENCE)
        held += less["low"] <= 0 <= less["high"]
    assert held >= 34  # of 40 at 95 %: fewer by luck once in 3,000 times
