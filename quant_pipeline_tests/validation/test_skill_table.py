"""The skill table: rows, baselines without look-ahead, shares of the oracle, and the family-wise test of a null market."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from quant_pipeline.errors import DataError
from quant_pipeline.validation import skill
from quant_pipeline.validation.baselines import ACTIVITY, NAIVE
from quant_pipeline.validation.family import DIRECTIONAL, beyond_chance, covers_chance, widened
from quant_pipeline.validation.skill import METRICS
from quant_pipeline.validation.skill_table import SPANS, TableSettings, skill_table

START = datetime(2024, 1, 1, tzinfo=UTC)
HORIZON = 3
FAST = TableSettings(resamples=200)
DIRECTION = TableSettings(resamples=200, metrics=DIRECTIONAL)


def market(rows: int = 1_200, *, signal: float = 0.0, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hourly LABELS of a random walk with `signal` planted, and the oracle that knows it."""
    rng = np.random.default_rng(seed)
    drift = signal * np.convolve(rng.standard_normal(rows + 4), np.ones(5) / np.sqrt(5), "valid")
    steps = drift + rng.standard_normal(rows)
    price = 100 * np.exp(0.002 * np.cumsum(steps))
    ahead = np.append(price[HORIZON:], np.full(HORIZON, price[-1])) / price - 1
    hours = pl.Series([START + timedelta(hours=i) for i in range(rows + HORIZON)], dtype=pl.Datetime("us", "UTC"))
    labels = pl.DataFrame(
        {
            "timestamp": hours[:rows].dt.offset_by("-1h"),
            "decision_at": hours[:rows],
            "entry_at": hours[:rows],
            "entry_price": price,
            "label": np.where(ahead > 0.002, 1, np.where(ahead < -0.002, -1, 0)).astype(np.int8),
            "label_end": hours[HORIZON:],
            "forward_return": ahead,
        }
    )[: rows - HORIZON]
    known = np.append(drift[1:], 0.0)
    return labels, pl.DataFrame({"decision_at": hours[:rows], "expected_return": 0.002 * known})


def predict(labels: pl.DataFrame, score: np.ndarray, model: str, folds: int = 3) -> pl.DataFrame:
    """PREDICTIONS on all but the first 40 % of the rows; the last block is the holdout."""
    first = int(labels.height * 0.4)
    rows = labels[first:]
    logits = np.stack([-score, np.zeros_like(score), score], axis=1)[first : labels.height]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [f"fold_{k:02d}" for k in range(folds - 1)] + ["holdout"]
    fold = np.array(names)[np.arange(rows.height) * folds // rows.height]
    return rows.select("timestamp", "decision_at").with_columns(
        fold=pl.Series(fold), model=pl.lit(model), p_short=p[:, 0], p_neutral=p[:, 1], p_long=p[:, 2],
        p_up=pl.lit(None, pl.Float64), e_r=pl.lit(None, pl.Float64),
    )  # fmt: skip


def test_one_row_per_model_fold_and_metric_with_a_pool_that_spares_the_holdout() -> None:
    labels, _ = market()
    predictions = pl.concat(
        [predict(labels, np.random.default_rng(k).standard_normal(1_200), name) for k, name in enumerate("ab")]
    )
    table = skill_table(predictions, labels, settings=FAST)
    assert table.select("model", "fold", "metric").is_duplicated().sum() == 0
    free = len(METRICS) - len(DIRECTIONAL)  # a model's twin without direction stands on the pool and the holdout only
    assert table.height == (2 + len(NAIVE)) * 4 * len(METRICS) + 2 * 2 * free
    assert table["fold"].unique().sort().to_list() == ["all", "fold_00", "fold_01", "holdout"]
    rows = dict(table.filter(pl.col("model") == "a", pl.col("metric") == "ic").select("fold", "rows").iter_rows())
    assert rows["all"] == rows["fold_00"] + rows["fold_01"]
    assert table.filter(pl.col("metric") == "ic_e_r", pl.col("kind") == "model")["value"].is_null().all()
    bounded = table.drop_nulls(["low"]).filter(pl.col("metric") != "ece", pl.col("kind") == "model")
    assert ((bounded["low"] < bounded["value"]) & (bounded["value"] < bounded["high"])).mean() > 0.99


def test_values_are_those_of_the_joined_rows() -> None:
    labels, _ = market()
    predictions = predict(labels, np.random.default_rng(0).standard_normal(1_200), "a")
    shuffled = predictions.sample(fraction=1.0, shuffle=True, seed=1)
    table = skill_table(shuffled, labels, settings=FAST)
    one = predictions.filter(pl.col("fold") == "fold_01").join(labels, on="decision_at")
    p, label = one.select("p_short", "p_neutral", "p_long").to_numpy(), one["label"].to_numpy()
    found = dict(table.filter(pl.col("model") == "a", pl.col("fold") == "fold_01").select("metric", "value").iter_rows())
    assert found["log_loss"] == pytest.approx(skill.log_loss(p, label))
    assert found["ic"] == pytest.approx(skill.information_coefficient(p[:, 2] - p[:, 0], one["forward_return"].to_numpy()))


def test_naive_column_is_the_best_naive_model_on_the_same_rows() -> None:
    labels, _ = market(900)
    whole = predict(labels, np.zeros(900), "whole")
    later = whole.filter(pl.col("fold") != "fold_00").with_columns(model=pl.lit("later"))
    table = skill_table(pl.concat([whole, later]), labels, settings=FAST)
    losses = table.filter(pl.col("metric") == "log_loss")
    for fold in ("fold_01", "holdout"):
        rivals = [*NAIVE, ACTIVITY + "later"]
        best = losses.filter(pl.col("model").is_in(rivals), pl.col("fold") == fold).sort("value").row(0, named=True)
        mine = losses.filter(pl.col("model") == "later", pl.col("fold") == fold).row(0, named=True)
        assert (mine["naive"], mine["naive_model"]) == (pytest.approx(best["value"]), best["model"])
    pooled = losses.filter(pl.col("fold") == "all", pl.col("kind") == "model")
    assert losses.filter(pl.col("model") == ACTIVITY + "later", pl.col("fold") == "all").height == 1
    assert pooled.filter(pl.col("model") == "later")["naive"][0] != pooled.filter(pl.col("model") == "whole")["naive"][0]


def test_share_of_reachable_is_one_for_the_oracle_and_about_what_was_kept_of_the_signal() -> None:
    labels, oracle = market(4_000, signal=0.4)
    truth = oracle["expected_return"].to_numpy() / 0.002
    noise = np.random.default_rng(9).standard_normal(4_000) * truth.std()
    predictions = pl.concat(
        [predict(labels, truth, "sees all"), predict(labels, truth + noise, "sees half"), predict(labels, noise, "blind")]
    )
    table = skill_table(predictions, labels, oracle=oracle, settings=FAST)
    pooled = table.filter(pl.col("fold") == "all")
    share = {m: dict(pooled.filter(pl.col("metric") == m).select("model", "share_of_reachable").iter_rows()) for m in METRICS}
    assert share["ic"]["sees all"] == pytest.approx(1.0)
    assert share["auc_direction"]["sees all"] == pytest.approx(1.0)
    assert share["ic"]["sees half"] == pytest.approx(1 / np.sqrt(2), abs=0.12)
    assert abs(share["ic"]["blind"]) < 0.25
    bounds = pooled.filter(pl.col("metric") == "ic", pl.col("kind") == "model").select("share_low", "share_high")
    assert bounds.row(0) == (pytest.approx(1.0), pytest.approx(1.0))  # sees what the oracle sees: no doubt about the share
    for low, high in bounds.rows()[1:]:
        assert 0.05 < high - low < 0.5
    assert bounds["share_low"][1] < 1 / np.sqrt(2) < bounds["share_high"][1]
    assert bounds["share_low"][2] < 0 < bounds["share_high"][2]
    assert share["log_loss"]["oracle"] == pytest.approx(1.0)
    assert share["log_loss"]["sees half"] < 1
    assert table.filter(pl.col("kind") == "oracle", pl.col("fold") == "all", pl.col("metric") == "ic")["low"][0] > 0


def test_a_share_of_an_oracle_that_is_not_beyond_chance_has_no_bounds() -> None:
    labels, oracle = market(900, signal=0.0)
    blind = oracle.with_columns(expected_return=pl.Series(np.random.default_rng(5).standard_normal(oracle.height)))
    predictions = predict(labels, np.random.default_rng(6).standard_normal(900), "a")
    rows = skill_table(predictions, labels, oracle=blind, settings=FAST).filter(
        pl.col("metric") == "ic", pl.col("model") == "a", pl.col("fold").is_in(SPANS)
    )
    assert rows.height == 2
    assert rows["share_low"].null_count() == 2


def test_gain_over_the_own_activity_is_the_direction() -> None:
    """A forecaster of calm and wild hours without any direction gains nothing that its twin does not gain."""
    labels, _ = market(2_000)
    wild = (np.abs(labels["forward_return"].to_numpy()) > 0.002) * 1.5 - 0.75
    base = predict(labels, np.random.default_rng(3).standard_normal(2_000) * 0.3, "knows activity")
    moves = 1 / (1 + np.exp(-wild[labels.height - base.height :]))
    side = pl.col("p_long") / (pl.col("p_long") + pl.col("p_short"))
    told = base.with_columns(
        p_neutral=pl.Series(1 - moves), p_long=side * pl.Series(moves), p_short=(1 - side) * pl.Series(moves)
    )
    table = skill_table(told, labels, settings=FAST).filter(pl.col("fold") == "all")
    value = {(m, k): v for m, k, v in table.select("model", "metric", "value").iter_rows()}
    mine, twin = "knows activity", ACTIVITY + "knows activity"
    gain = value[mine, "log_loss_gain"]
    assert gain == pytest.approx(value[mine, "activity_gain"] + value[mine, "direction_gain"], abs=1e-12)
    assert value[mine, "direction_gain"] == pytest.approx(gain - value[twin, "log_loss_gain"], abs=1e-12)
    assert value[mine, "activity_gain"] == pytest.approx(value[twin, "activity_gain"], abs=1e-12)
    rows = {row["metric"]: row for row in table.filter(pl.col("model") == mine).iter_rows(named=True)}
    assert rows["log_loss_gain"]["low"] > 0  # what stood first and looked like skill
    assert rows["direction_gain"]["low"] < 0 or rows["direction_gain"]["high"] < 0
    assert rows["log_loss_gain"]["naive_model"] == twin


def test_single_folds_hold_the_level_together_and_a_used_holdout_with_its_uses() -> None:
    labels, _ = market(1_200)
    predictions = predict(labels, np.random.default_rng(1).standard_normal(1_200), "a")
    table = skill_table(predictions, labels, settings=FAST)
    rows = table.filter(pl.col("metric") == "ic", pl.col("model") == "a")
    assert dict(rows.select("fold", "looks").iter_rows()) == {"fold_00": 2, "fold_01": 2, "holdout": 1, "all": 1}
    width = {row["fold"]: row["high"] - row["low"] for row in rows.iter_rows(named=True)}
    used = widened(table, pl.when(pl.col("fold") == "holdout").then(5).otherwise("looks"), FAST.level)
    again = widened(used, pl.when(pl.col("fold") == "holdout").then(3).otherwise(1), FAST.level)
    assert again.equals(used)  # nobody takes a look back
    after = {row["fold"]: row["high"] - row["low"] for row in used.filter(metric="ic", model="a").iter_rows(named=True)}
    blocks = rows.filter(pl.col("fold") == "holdout")["blocks"][0]
    wanted = stats.t.isf((1 - 0.95 ** (1 / 5)) / 2, blocks - 1) / stats.t.isf(0.025, blocks - 1)
    assert after["holdout"] / width["holdout"] == pytest.approx(wanted)
    assert {fold: after[fold] for fold in ("all", "fold_00", "fold_01")} == {
        fold: width[fold] for fold in ("all", "fold_00", "fold_01")
    }
    value = used.filter(metric="ic", model="a", fold="holdout").row(0, named=True)
    assert value["low"] < value["value"] < value["high"]


def test_few_null_models_have_a_fold_beyond_chance() -> None:
    """Six folds of overlapping labels: one by one they would show a lucky fold in a quarter of all worlds."""
    lucky, alone, worlds = 0, 0, 40
    settings = TableSettings(resamples=150, metrics=("ic",))
    for seed in range(worlds):
        labels, _ = market(1_800, seed=seed)
        score = np.convolve(np.random.default_rng(900 + seed).standard_normal(1_804), np.ones(5), "valid") * 0.2
        table = skill_table(predict(labels, score, "m", folds=7), labels, settings=settings)
        rows = table.filter(pl.col("kind") == "model", ~pl.col("fold").is_in(SPANS))
        lucky += rows.select((pl.col("low") > 0) | (pl.col("high") < 0)).to_series().any()
        one = stats.t.isf(0.025, rows["blocks"].to_numpy() - 1) * rows["error"].to_numpy()
        alone += bool((np.abs(rows["value"].to_numpy()) > one).any())
    assert lucky / worlds <= 0.15  # 5 % wanted; P(more than 6 of 40 at 5 %) is 0.004
    assert alone > lucky


def test_oracle_probabilities_are_taken_when_given() -> None:
    labels, oracle = market(900, signal=0.4)
    given = oracle.with_columns(p_short=0.2, p_neutral=0.5, p_long=0.3)
    table = skill_table(predict(labels, np.zeros(900), "a"), labels, oracle=given, settings=FAST)
    row = table.filter(pl.col("model") == "oracle", pl.col("fold") == "holdout", pl.col("metric") == "log_loss")
    label = labels.join(predict(labels, np.zeros(900), "a").filter(pl.col("fold") == "holdout"), on="decision_at", how="semi")[
        "label"
    ]
    assert row["value"][0] == pytest.approx(skill.log_loss(np.tile([0.2, 0.5, 0.3], (len(label), 1)), label.to_numpy()))


def test_folds_that_the_oracle_does_not_know_have_no_reachable() -> None:
    labels, oracle = market(900, signal=0.4)
    predictions = predict(labels, np.zeros(900), "a")
    first = predictions["decision_at"][0]
    partial = oracle.with_columns(expected_return=pl.when(pl.col("decision_at") > first).then("expected_return"))
    table = skill_table(predictions, labels, oracle=partial, settings=DIRECTION)
    known = dict(table.filter(pl.col("model") == "a", pl.col("metric") == "ic").select("fold", "reachable").iter_rows())
    assert {fold: value is not None for fold, value in known.items()} == {
        "fold_00": False, "fold_01": True, "holdout": True, "all": False,
    }  # fmt: skip


def test_family_of_null_models_covers_chance_and_a_planted_signal_does_not() -> None:
    refused = 0
    for seed in range(8):
        labels, _ = market(1_200, seed=seed)
        rng = np.random.default_rng(100 + seed)
        blind = [predict(labels, np.convolve(rng.standard_normal(1_204), np.ones(5), "valid") * 0.2, f"m{k}") for k in range(3)]
        refused += not covers_chance(skill_table(pl.concat(blind), labels, settings=DIRECTION), level=0.95)
    assert refused <= 2  # P(more than 2 of 8 at 5 %) is 0.006
    labels, oracle = market(1_200, signal=0.5)
    table = skill_table(predict(labels, oracle["expected_return"].to_numpy() * 300, "sees"), labels, settings=FAST)
    caught = beyond_chance(table)
    assert not covers_chance(table)
    assert {"ic", "auc_direction"} <= set(caught.filter(pl.col("fold") == "all")["metric"])
    assert set(caught["metric"]) <= set(DIRECTIONAL)
    assert (caught["p_value"] < caught["threshold"]).all()


def test_overfitted_log_loss_is_not_called_skill() -> None:
    labels, _ = market(1_200)
    wild = skill_table(predict(labels, np.random.default_rng(2).standard_normal(1_200) * 4, "wild"), labels, settings=FAST)
    row = wild.filter(pl.col("model") == "wild", pl.col("fold") == "all", pl.col("metric") == "log_loss").row(0, named=True)
    assert row["low"] > row["chance"]
    assert covers_chance(wild, metrics=("log_loss", "log_loss_gain"))


def test_predictions_of_other_hours_are_refused() -> None:
    labels, _ = market(300)
    moved = predict(labels, np.zeros(300), "a").with_columns(pl.col("decision_at").dt.offset_by("7m"))
    with pytest.raises(DataError, match="none at a decision_at"):
        skill_table(moved, labels)
    with pytest.raises(DataError, match="label_end"):
        skill_table(predict(labels, np.zeros(300), "a"), labels.drop("label_end"))


def test_oracle_that_knows_its_deviation_has_probabilities_no_worse() -> None:
    labels, oracle = market(2_000, signal=0.4)
    calm = np.random.default_rng(0).random(oracle.height) + 0.5
    predictions = predict(labels, np.zeros(2_000), "a")
    settings = TableSettings(resamples=20, metrics=("log_loss", "ic"))
    plain, knowing = (
        skill_table(predictions, labels, oracle=each, settings=settings).filter(
            pl.col("model") == "oracle", pl.col("fold") == "all"
        )["value"]
        for each in (oracle, oracle.with_columns(deviation=pl.Series(calm)))
    )
    assert knowing[0] <= plain[0] + 1e-3
    assert knowing[1] == plain[1]
