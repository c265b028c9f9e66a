"""Naive forecasters against brute force: shares of known labels only, blind to everything after the decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.validation.baselines import (
    ACTIVITY,
    LAST_LABEL,
    MOMENTUM,
    MOMENTUM_ROWS,
    NAIVE,
    PRIOR,
    activity_only,
    naive_forecasts,
)


def make_labels(rows: int) -> pl.DataFrame:
    """Hourly LABELS of a random walk; some end early, as touched barriers do."""
    rng = np.random.default_rng(0)
    hours = pl.Series(
        [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=k) for k in range(rows)], dtype=pl.Datetime("us", "UTC")
    )
    lives = pl.duration(minutes=pl.Series(rng.integers(1, 300, rows)))
    return pl.DataFrame({
        "decision_at": hours, "entry_at": hours, "entry_price": 100 * np.exp(np.cumsum(rng.standard_normal(rows) * 0.01)),
        "label": rng.integers(-1, 2, rows).astype(np.int8),
    }).with_columns(label_end=pl.col("decision_at") + lives)  # fmt: skip


def label_before(labels: pl.DataFrame, at: datetime) -> int:
    ended = labels.filter(pl.col("label_end") <= at).sort("label_end", "decision_at")
    return ended["label"][-1] if ended.height else 0


def test_naive_models_know_only_what_was_known() -> None:
    labels = make_labels(400)
    decisions = labels[200:300].select("decision_at", fold=pl.lit("fold_00"))
    found = naive_forecasts(labels, decisions)
    begun = decisions["decision_at"][0]
    known = labels.filter(pl.col("label_end") <= begun)
    counts = [(known["label"] == k).sum() + 1 for k in (-1, 0, 1)]
    prior = found.filter(pl.col("model") == PRIOR).select("p_short", "p_neutral", "p_long").to_numpy()
    assert prior == pytest.approx(np.tile(np.array(counts) / sum(counts), (100, 1)))
    row = 57
    at = decisions["decision_at"][row]
    last = label_before(labels, at)
    following = np.ones(3)
    for label, decided in known.select("label", "decision_at").iter_rows():
        following[label + 1] += label_before(labels, decided) == last
    forecast = found.filter(pl.col("model") == LAST_LABEL).select("p_short", "p_neutral", "p_long").row(row)
    assert forecast == pytest.approx(following / following.sum())


@pytest.mark.parametrize("model", NAIVE)
def test_naive_forecast_does_not_change_with_the_future(model: str) -> None:
    labels = make_labels(400)
    decisions = labels[200:300].select("decision_at", fold=pl.lit("fold_00"))
    at = decisions["decision_at"][40]
    future = pl.col("label_end") > at
    other = labels.with_columns(
        label=pl.when(future).then(-pl.col("label")).otherwise("label"),
        entry_price=pl.when(pl.col("entry_at") >= at).then(1.0).otherwise("entry_price"),
    )
    before = (pl.col("model") == model) & (pl.col("decision_at") <= at)
    assert naive_forecasts(labels, decisions).filter(before).equals(naive_forecasts(other, decisions).filter(before))


def test_momentum_state_is_the_sign_of_the_last_day() -> None:
    labels = make_labels(300)
    rising = labels.with_columns(entry_price=pl.int_range(pl.len()).cast(pl.Float64) + 1)
    decisions = rising[200:].select("decision_at", fold=pl.lit("f"))
    found = naive_forecasts(rising, decisions).filter(pl.col("model") == MOMENTUM)
    known = rising[2:].filter(pl.col("label_end") <= decisions["decision_at"][0])["label"]
    assert MOMENTUM_ROWS > 1
    counts = np.array([(known == k).sum() + 1 for k in (-1, 0, 1)])
    assert found.select("p_short", "p_neutral", "p_long").row(0) == pytest.approx(counts / counts.sum())


def test_before_any_label_is_known_a_third_each() -> None:
    labels = make_labels(50)
    found = naive_forecasts(labels, labels[:1].select("decision_at", fold=pl.lit("f")))
    assert found.select("p_short", "p_neutral", "p_long").rows() == [(pytest.approx(1 / 3),) * 3] * 3


def test_activity_of_a_model_is_its_neutral_and_the_prior_s_split_and_ranks_nothing() -> None:
    labels = make_labels(200)
    decisions = labels[100:150].select("decision_at", fold=pl.lit("fold_00"))
    prior = naive_forecasts(labels, decisions).filter(pl.col("model") == PRIOR)
    p = np.random.default_rng(1).dirichlet([2, 3, 4], 50)
    told = decisions.with_columns(
        model=pl.lit("m"), p_short=p[:, 0], p_neutral=p[:, 1], p_long=p[:, 2], e_r=pl.lit(0.1), label=labels["label"][100:150]
    )
    found = activity_only(told, prior)
    share = prior["p_long"][0] / (prior["p_long"][0] + prior["p_short"][0])
    assert found["p_neutral"].to_list() == told["p_neutral"].to_list()
    assert found["p_long"].to_numpy() == pytest.approx((p[:, 0] + p[:, 2]) * share)
    assert found.select(pl.sum_horizontal("p_short", "p_neutral", "p_long")).to_series().to_numpy() == pytest.approx(np.ones(50))
    assert found["ranking"].to_list() == [0.0] * 50
    assert found["e_r"].null_count() == 50
    assert found["model"].unique().to_list() == [ACTIVITY + "m"]
    assert found["label"].equals(told["label"])
