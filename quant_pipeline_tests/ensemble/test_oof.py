import numpy as np
import polars as pl
import pytest

from quant_pipeline.ensemble.oof import SCHEMA, base_predictions, outcomes
from quant_pipeline.errors import DataError, LeakageError, ModelError


@pytest.fixture(scope="module")
def small(market):
    return market(50)


def test_rows_are_matched_whatever_their_order(small):
    assert dict(small.predictions.schema) == SCHEMA
    base = base_predictions(small.predictions.sample(fraction=1.0, shuffle=True, seed=1), ("noise", "good"))
    assert base.p.shape == (50, 2, 3)
    assert base.decision_at.equals(small.labels["decision_at"])
    np.testing.assert_allclose(base.p[:, 1], small.truth, atol=4e-4)
    for row in range(50):
        wanted = small.predictions.filter(pl.col("decision_at") == base.decision_at[row], pl.col("model") == "noise")
        assert base.p[row, 0].tolist() == list(wanted.select("p_short", "p_neutral", "p_long").row(0))
        assert (base.fold[row], base.e_r[row, 0]) == (wanted["fold"][0], wanted["e_r"][0])


def test_a_missing_row_is_refused(small):
    first = (pl.col("model") == "loud") & (pl.col("decision_at") == small.labels["decision_at"][7])
    with pytest.raises(ModelError, match="rows of loud: found 1 of 50 absent, first 1970-01-01 07:00"):
        base_predictions(small.predictions.filter(~first), small.models)
    with pytest.raises(ModelError, match="absent"):
        base_predictions(small.predictions, ("good", "unheard"))
    with pytest.raises(ModelError, match="none"):
        base_predictions(small.predictions.clear(), small.models)


def test_a_row_predicted_twice_is_a_leak(small):
    again = small.predictions.head(1).with_columns(fold=pl.lit("fold_03"))
    with pytest.raises(LeakageError, match="fold_00 and fold_03"):
        base_predictions(pl.concat([small.predictions, again]), small.models)


def test_models_of_different_folds_on_one_row_are_a_leak(small):
    moved = small.predictions.with_columns(
        fold=pl.when((pl.col("model") == "good") & (pl.col("fold") == "fold_01")).then(pl.lit("fold_02")).otherwise("fold")
    )
    with pytest.raises(LeakageError, match="fold_01, fold_02"):
        base_predictions(moved, small.models)


def test_rows_of_the_final_span_are_a_leak_unless_scored(small):
    held = small.predictions.with_columns(fold=pl.lit("holdout"))
    with pytest.raises(LeakageError, match="holdout"):
        base_predictions(held, small.models)
    assert len(base_predictions(held, small.models, allow_holdout=True)) == 50


@pytest.mark.parametrize("value", [float("nan"), -0.1, 0.9999])
def test_a_row_that_is_no_distribution_is_refused_by_model(small, value):
    broken = small.predictions.with_columns(p_long=pl.when(pl.col("model") == "loud").then(value).otherwise("p_long"))
    with pytest.raises(ModelError, match="of loud"):
        base_predictions(broken, small.models)


def test_outcomes_follow_the_rows_and_need_a_label_each(small):
    base = base_predictions(small.predictions, small.models)
    happened = outcomes(base, small.labels.reverse())
    np.testing.assert_array_equal(happened.label, small.labels["label"])
    np.testing.assert_array_equal(happened.label_end - happened.decision_at, 5 * 3_600_000_000)
    with pytest.raises(DataError, match="none for 1 predictions, first 1970-01-03 01:00"):
        outcomes(base, small.labels.head(49))


def test_returns_are_known_at_the_horizon_and_never_before_the_label(small):
    base = base_predictions(small.predictions, small.models)
    happened = outcomes(base, small.labels)
    np.testing.assert_array_equal(happened.horizon_end - happened.decision_at, 8 * 3_600_000_000)
    odd = outcomes(base, small.labels.with_columns(horizon_end="decision_at"))
    np.testing.assert_array_equal(odd.horizon_end, odd.label_end)
