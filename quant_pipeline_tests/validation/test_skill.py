"""Metrics against scikit-learn and scipy; weighted by counts against the same metric on repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from quant_pipeline.errors import DataError
from quant_pipeline.validation import skill
from quant_pipeline.validation.skill import METRICS, Forecasts


def forecasts(rows: int = 400, seed: int = 0, *, decimals: int = 2) -> Forecasts:
    """Skilful forecasts with many ties (rounded), every class present."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(rows)
    logits = np.stack([-0.4 * truth, np.full(rows, 0.3), 0.4 * truth], axis=1) + rng.standard_normal((rows, 3)) * 0.5
    p = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), decimals)
    # rounding may leave the middle class a hair below zero
    p[:, 1] = np.maximum(1 - p[:, 0] - p[:, 2], 0.0)
    noisy = truth + rng.standard_normal(rows)
    label = np.where(noisy > 0.6, 1, np.where(noisy < -0.6, -1, 0)).astype(np.int8)
    return Forecasts(p, label, np.round(noisy * 0.01, 4), np.round(truth, 1))


def test_losses_equal_scikit_learn() -> None:
    f = forecasts()
    weight = np.random.default_rng(1).random(len(f.label))
    assert skill.log_loss(f.probabilities, f.label) == pytest.approx(sk.log_loss(f.label, f.probabilities, labels=[-1, 0, 1]))
    assert skill.log_loss(f.probabilities, f.label, weight) == pytest.approx(
        sk.log_loss(f.label, f.probabilities, labels=[-1, 0, 1], sample_weight=weight)
    )
    assert skill.brier(f.probabilities, f.label) == pytest.approx(
        sk.brier_score_loss(f.label, f.probabilities, labels=[-1, 0, 1], scale_by_half=False)
    )


def test_auc_equals_scikit_learn_with_ties() -> None:
    f = forecasts()
    macro = sk.roc_auc_score(f.label, f.probabilities, multi_class="ovr", average="macro", labels=[-1, 0, 1])
    assert skill.point(METRICS["auc"], f) == pytest.approx(macro)
    moved = f.label != 0
    assert skill.point(METRICS["auc_direction"], f) == pytest.approx(sk.roc_auc_score(f.label[moved] > 0, f.score[moved]))
    assert skill.auc(f.score, f.label > 0) == pytest.approx(sk.roc_auc_score(f.label > 0, f.score))


def test_auc_averages_only_classes_that_are_present() -> None:
    f = forecasts()
    kept = f.label != -1
    two = Forecasts(f.probabilities[kept], f.label[kept], f.forward_return[kept], f.expected_return[kept])
    each = [sk.roc_auc_score(two.label == k - 1, two.probabilities[:, k]) for k in (1, 2)]
    assert skill.point(METRICS["auc"], two) == pytest.approx(np.mean(each))
    assert np.isnan(skill.point(METRICS["auc_direction"], two))


def test_f1_accuracy_and_confusion_equal_scikit_learn() -> None:
    f = forecasts()
    called = f.probabilities.argmax(axis=1) - 1
    assert skill.macro_f1(f.probabilities, f.label) == pytest.approx(sk.f1_score(f.label, called, average="macro"))
    assert skill.point(METRICS["accuracy"], f) == pytest.approx(sk.accuracy_score(f.label, called))
    assert (skill.confusion_matrix(f.probabilities, f.label) == sk.confusion_matrix(f.label, called, labels=[-1, 0, 1])).all()


def test_information_coefficient_equals_scipy_with_ties() -> None:
    f = forecasts()
    assert skill.information_coefficient(f.score, f.forward_return) == pytest.approx(
        stats.spearmanr(f.score, f.forward_return)[0]
    )
    assert skill.information_coefficient(f.score, f.forward_return, ranks=False) == pytest.approx(
        stats.pearsonr(f.score, f.forward_return)[0]
    )
    assert skill.point(METRICS["ic_e_r"], f) == pytest.approx(stats.spearmanr(f.expected_return, f.forward_return)[0])
    assert np.isnan(skill.information_coefficient(np.ones(50), f.forward_return[:50]))
    assert np.isnan(skill.information_coefficient(np.full(50, 1 / 3), f.forward_return[:50], ranks=False))


def test_expected_calibration_error_equals_a_plain_loop() -> None:
    f = forecasts(decimals=6)
    confidence, hit = f.probabilities.max(axis=1), f.probabilities.argmax(axis=1) == f.label + 1
    total = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    assert skill.expected_calibration_error(f.probabilities, f.label) == pytest.approx(total)


def test_calibration_curve_bins_hold_equal_rows_and_keep_ties_together() -> None:
    f = forecasts(1_000, decimals=6)
    curve = skill.calibration_curve(f.probabilities[:, 2], f.label == 1)
    assert curve["rows"].to_list() == [100] * 10
    assert curve["forecast"].is_sorted()
    tenth = np.argsort(f.probabilities[:, 2])[:100]
    assert curve["observed"][0] == pytest.approx((f.label[tenth] == 1).mean())
    assert skill.calibration_curve(np.full(60, 0.4), np.arange(60) < 15).rows() == [(pytest.approx(0.4), 0.25, 60)]


def test_gain_is_measured_against_the_reference() -> None:
    f = forecasts()
    reference = np.tile([0.2, 0.5, 0.3], (len(f.label), 1))
    against = Forecasts(f.probabilities, f.label, f.forward_return, f.expected_return, reference)
    wanted = skill.log_loss(reference, f.label) - skill.log_loss(f.probabilities, f.label)
    assert skill.point(METRICS["log_loss_gain"], against) == pytest.approx(wanted)
    assert skill.point(METRICS["log_loss_gain"], f) == pytest.approx(
        METRICS["log_loss"].chance(f) - skill.log_loss(f.probabilities, f.label)
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), sharp=st.floats(0.01, 50))
def test_gain_is_the_sum_of_activity_and_direction(seed: int, rows: int, sharp: float) -> None:
    rng = np.random.default_rng(seed)
    p, reference = rng.dirichlet([1 / sharp] * 3, rows), rng.dirichlet([5, 5, 5], rows)
    label = rng.integers(-1, 2, rows).astype(np.int8)
    f = Forecasts(p, label, np.zeros(rows), np.zeros(rows), reference)
    activity, direction = skill.gains(f)
    whole = skill.log_losses(reference, label) - skill.log_losses(p, label)
    assert activity + direction == pytest.approx(whole, abs=1e-9)
    assert (direction[label == 0] == 0).all()
    calm = label == 0
    for row in np.flatnonzero(~calm & (p.min(axis=1) > 1e-9)):  # the chain rule, written out
        side = 0 if label[row] < 0 else 2
        given = p[row, side] / (p[row, 0] + p[row, 2]), reference[row, side] / (reference[row, 0] + reference[row, 2])
        assert direction[row] == pytest.approx(np.log(given[0] / given[1]), abs=1e-6)
        assert activity[row] == pytest.approx(np.log((1 - p[row, 1]) / (1 - reference[row, 1])), abs=1e-6)
    total, *parts = (skill.point(METRICS[name], f) for name in ("log_loss_gain", "activity_gain", "direction_gain"))
    assert total == pytest.approx(sum(parts), abs=1e-9)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in {"ece", "log_loss", "brier"}])
def test_chance_is_what_shuffled_forecasts_score_on_average(name: str) -> None:
    f = forecasts(300)
    rng = np.random.default_rng(3)
    scores = []
    for _ in range(200):
        order = rng.permutation(len(f.label))
        p = np.tile(f.shares, (len(order), 1)) if name.endswith("_gain") else f.probabilities[order]
        scores.append(skill.point(METRICS[name], Forecasts(p, f.label, f.forward_return, f.expected_return[order])))
    assert np.mean(scores) == pytest.approx(METRICS[name].chance(f), abs=0.01)


@pytest.mark.parametrize("name", ["log_loss", "brier"])
def test_chance_of_a_loss_is_the_best_constant_forecast(name: str) -> None:
    f = forecasts()
    chance = METRICS[name].chance(f)
    for p in ([1 / 3, 1 / 3, 1 / 3], [0.2, 0.6, 0.2], f.shares.tolist()):
        constant = Forecasts(np.tile(p, (len(f.label), 1)), f.label, f.forward_return, f.expected_return)
        assert skill.point(METRICS[name], constant) >= chance - 1e-12
    assert skill.point(METRICS[name], constant) == pytest.approx(chance)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), rows=st.integers(5, 60))
def test_counting_a_row_twice_is_having_it_twice(seed: int, rows: int) -> None:
    f = forecasts(rows, seed, decimals=1)
    counts = np.random.default_rng(seed).integers(0, 4, size=(1, rows)).astype(np.int32)
    counts[0, 0] += 1
    each = np.repeat(np.arange(rows), counts[0])
    reference = np.tile([0.3, 0.4, 0.3], (rows, 1))
    once = Forecasts(f.probabilities, f.label, f.forward_return, f.expected_return, reference)
    twice = Forecasts(f.probabilities[each], f.label[each], f.forward_return[each], f.expected_return[each], reference[each])
    for metric in METRICS.values():
        assert metric.evaluate(once, counts)[0] == pytest.approx(skill.point(metric, twice), abs=1e-12, nan_ok=True), metric.name


def test_impossible_forecasts_are_refused_by_row() -> None:
    f = forecasts(20)
    broken = f.probabilities.copy()
    broken[7] = [0.5, 0.6, 0.2]
    with pytest.raises(DataError, match="row 7"):
        Forecasts(broken, f.label, f.forward_return, f.expected_return)
    broken[7] = [np.nan, 0.5, 0.5]
    with pytest.raises(DataError, match="row 7"):
        Forecasts(broken, f.label, f.forward_return, f.expected_return)
    with pytest.raises(DataError, match="label"):
        Forecasts(f.probabilities, (f.label + 1).astype(np.int8), f.forward_return, f.expected_return)
    with pytest.raises(DataError, match="shape"):
        Forecasts(f.probabilities[:, :2], f.label, f.forward_return, f.expected_return)
