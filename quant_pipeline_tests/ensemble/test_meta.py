import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.known import by_time, left_out
from quant_pipeline.ensemble.meta import MetaFit, MetaLearner, fit_meta
from quant_pipeline.ensemble.oof import SCHEMA, base_predictions
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.errors import BundleError, LeakageError
from quant_pipeline.validation.skill import log_loss

META, CALIBRATION = EnsembleSettings(), CalibrationSettings()


@pytest.fixture(scope="module")
def one(market):
    return market(1_500)


@pytest.fixture(scope="module")
def fit(one):
    return fit_meta(one.predictions, one.labels, one.models, META, CALIBRATION)


def test_the_learner_does_on_fresh_rows_what_its_report_says(fit, market):
    fresh = market(4_000, seed=9)
    p, label = base_predictions(fresh.predictions, fresh.models).p, fresh.labels["label"].to_numpy()
    report = dict(fit.report.select("name", "log_loss").iter_rows())
    assert log_loss(fit.learner.combine(p), label) == pytest.approx(report["stack"], abs=0.06)
    assert log_loss(fit.learner.combine(p), label) < log_loss(fresh.truth, label) + 0.02
    assert report["stack"] < min(report["loud"], report["noise"], report["vote"], report["prior"])


def test_the_report_compares_on_equal_rows_best_first(fit):
    assert fit.report["rows"].unique().to_list() == [900]
    assert fit.report["log_loss"].is_sorted()
    assert {"good", "loud", "noise", "vote", "prior", "stack", "stack, isotonic"} <= set(fit.report["name"])
    best = fit.report.filter(pl.col("name").str.starts_with("stack, "))["name"][0]
    assert best == f"stack, {fit.learner.calibrator.method}"


def test_nested_rows_are_predictions(fit, one):
    assert dict(fit.nested.select(list(SCHEMA)).schema) == SCHEMA
    assert fit.nested["decision_at"].equals(one.labels["decision_at"])
    assert fit.nested["timestamp"].equals(one.labels["timestamp"])
    np.testing.assert_allclose(fit.nested.select(pl.sum_horizontal("p_short", "p_neutral", "p_long")).to_series(), 1, atol=1e-12)
    first = fit.nested.filter(pl.col("stack_rows") == 0)
    assert fit.nested["e_long"].null_count() == fit.nested["e_short"].null_count() == len(first) == 300
    late = fit.nested.tail(300)  # costs of 0.001 a round trip, on both sides
    np.testing.assert_allclose(late["e_long"], late["e_r"] - 0.001, atol=1e-12)
    np.testing.assert_allclose(late["e_short"], -late["e_r"] - 0.001, atol=1e-12)
    correlation = np.corrcoef(fit.nested["e_r"], one.labels["forward_return"])[0, 1]
    assert correlation > 0.2


def test_json_keeps_every_bit(fit, one):
    reborn = MetaLearner.from_dict(json.loads(json.dumps(fit.learner.to_dict())))
    assert reborn == fit.learner
    p = base_predictions(one.predictions, one.models).p
    np.testing.assert_array_equal(reborn.combine(p), fit.learner.combine(p))
    assert all((reborn.combine(p[i : i + 1])[0] == reborn.combine(p)[i]).all() for i in range(0, 1_500, 50))


def test_a_saved_fit_is_whole_or_refused(fit, tmp_path):
    fit.save(tmp_path / "one")
    fit.save(tmp_path / "two")
    loaded = MetaFit.load(tmp_path / "one")
    assert loaded.learner == fit.learner
    assert loaded.nested.equals(fit.nested)
    assert loaded.report.equals(fit.report)
    for path in sorted((tmp_path / "one").iterdir()):
        raw = path.read_bytes()
        assert raw == (tmp_path / "two" / path.name).read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(BundleError, match=path.name):
            MetaFit.load(tmp_path / "one")
        path.write_bytes(raw)


def test_a_second_fit_is_equal(fit, one):
    again = fit_meta(one.predictions.reverse(), one.labels, one.models, META, CALIBRATION)
    assert again.learner == fit.learner
    assert again.nested.equals(fit.nested)


def test_until_leaves_out_labels_that_were_open(fit, one):
    moment = one.labels["decision_at"][1_400]
    cut = fit_meta(one.predictions, one.labels, one.models, META, CALIBRATION, until=moment)
    assert (cut.learner.stacker.rows, cut.learner.payoffs.rows) == (1_395, 1_392)
    assert cut.nested["decision_at"].max() < moment
    assert fit.learner.payoffs.rows == 1_500


@pytest.mark.parametrize("gate", [by_time, left_out(timedelta(0))], ids=["walk_forward", "left_out"])
@pytest.mark.parametrize("name", ["forward_return", "long_return", "short_return"])
def test_returns_known_in_the_final_span_are_not_learned_from(one, name, gate):
    """Not even by forecasts of earlier folds, in schemes where those learn of later ones."""
    moment = one.labels["decision_at"][1_400]
    late = (pl.col("horizon_end") >= moment) & (pl.col("label_end") < moment)
    assert one.labels.filter(late).height == 3
    changed = one.labels.with_columns(pl.when(late).then(9.0).otherwise(name).alias(name))
    first, other = (
        fit_meta(one.predictions, each, one.models, META, CALIBRATION, until=moment, gate=gate) for each in (one.labels, changed)
    )
    assert first.learner == other.learner
    assert first.nested.equals(other.nested)


def test_the_final_span_is_never_fitted_on(one):
    held = one.predictions.with_columns(fold=pl.lit("holdout"))
    with pytest.raises(LeakageError, match="holdout"):
        fit_meta(held, one.labels, one.models, META, CALIBRATION)


def test_few_rows_make_a_vote(market):
    few = market(60)
    fit = fit_meta(few.predictions, few.labels, few.models, META, CALIBRATION)
    p = base_predictions(few.predictions, few.models).p
    assert fit.learner.stacker is None
    np.testing.assert_array_equal(fit.learner.combine(p), vote(p))
    assert MetaLearner.from_dict(json.loads(json.dumps(fit.learner.to_dict()))) == fit.learner


def test_shuffled_labels_score_chance(market):
    one = market(2_000, seed=4)
    rng = np.random.default_rng(0)
    order = rng.permutation(2_000)
    shuffled = one.labels.with_columns(
        label=one.labels["label"].gather(order), forward_return=one.labels["forward_return"].gather(order)
    )
    fit = fit_meta(one.predictions, shuffled, one.models, META, CALIBRATION)
    report = dict(fit.report.select("name", "log_loss").iter_rows())
    assert abs(report["stack"] - report["prior"]) < 0.01
    late = fit.nested.filter(pl.col("stack_rows") > 0)
    assert abs(np.corrcoef(late["e_r"], shuffled["forward_return"][-len(late) :])[0, 1]) < 4 / np.sqrt(len(late))
