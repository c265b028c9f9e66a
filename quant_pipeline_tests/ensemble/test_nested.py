"""The meta-learner's own forecasts: what it may know is settled by label_end and horizon_end, and planted leaks would show."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.calibration import Calibrator
from quant_pipeline.ensemble.known import left_out
from quant_pipeline.ensemble.nested import MIN_ROWS, fold_blocks, nested_oof
from quant_pipeline.ensemble.oof import base_predictions, outcomes
from quant_pipeline.ensemble.payoff import Payoffs
from quant_pipeline.ensemble.stacking import Stacker
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.validation.skill import log_loss

META, CALIBRATION = EnsembleSettings(), CalibrationSettings()
HOUR = 3_600_000_000
FORECASTS = ("raw", "final", "prior", "e_r", "e_long", "e_short", "stack_rows", "method", "scored")
RETURNS = ("forward_return", "long_return", "short_return")


def run(market, labels=None, meta=META):
    base = base_predictions(market.predictions, market.models)
    happened = outcomes(base, market.labels if labels is None else labels)
    return nested_oof(base, happened, meta, CALIBRATION), base


def assert_equal_forecasts(one, other, rows, names=FORECASTS):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name)[rows], getattr(other, name)[rows])
    for method, forecasts in one.calibrated.items():
        np.testing.assert_array_equal(forecasts[rows], other.calibrated[method][rows])


def test_each_fold_is_forecast_by_what_was_known_when_it_began(market):
    one = market(1_000)
    nested, base = run(one)
    happened = outcomes(base, one.labels)
    label = happened.label
    for rows in fold_blocks(base)[1:]:
        # the slow way: look at every row
        first = happened.decision_at[rows[0]]
        known = [i for i in range(rows[0]) if happened.label_end[i] < first]
        paid = [i for i in range(rows[0]) if happened.horizon_end[i] < first]
        assert nested.stack_rows[rows[0]] == len(known) == len(paid) + 3 == rows[0] - 5
        peer = Stacker.fit("logistic", base.p[known], label[known], META.alpha)
        np.testing.assert_array_equal(nested.raw[rows], peer.combine(base.p[rows]))
        final, stacked = nested.raw[rows], [i for i in known if nested.stack_rows[i]]
        if len(stacked) >= MIN_ROWS:
            scored = [i for i in known if nested.scored[i]]
            losses = {m: log_loss(p[scored], label[scored]) if scored else 0.0 for m, p in nested.calibrated.items()}
            best = min(losses, key=losses.get)
            final = Calibrator.fit(best, nested.raw[stacked], label[stacked]).apply(nested.raw[rows])
        np.testing.assert_array_equal(nested.final[rows], final)
        np.testing.assert_array_equal(
            [nested.e_r[rows], nested.e_long[rows], nested.e_short[rows]], Payoffs.fit(happened, paid).expected(final)
        )


def test_the_first_fold_is_the_vote(market):
    nested, base = run(market(1_000))
    first = fold_blocks(base)[0]
    np.testing.assert_array_equal(nested.final[first], vote(base.p[first]))
    np.testing.assert_array_equal(nested.e_r[first], base.e_r[first].mean(axis=1))
    assert (nested.stack_rows[first] == 0).all()


@settings(max_examples=12, deadline=None)
@given(row=st.integers(0, 599), change=st.sampled_from(["label", *RETURNS, "late"]))
def test_nothing_before_a_row_is_known_depends_on_it(market, row, change):
    one = market(600)
    nested, base = run(one)
    place = pl.int_range(pl.len()) == row
    new = {
        "label": pl.when(place).then(-pl.col("label") + 1 - 2 * (pl.col("label") == -1)).otherwise("label").cast(pl.Int8),
        "late": pl.when(place).then(pl.col("label_end").dt.offset_by("300h")).otherwise("label_end"),
    } | {name: pl.when(place).then(9.0).otherwise(name) for name in RETURNS}
    other, _ = run(one, one.labels.with_columns(new[change].alias("label_end" if change == "late" else change)))
    happened = outcomes(base, one.labels)
    end = (happened.horizon_end if change in RETURNS else happened.label_end)[row]
    starts = [rows[0] for rows in fold_blocks(base) if happened.decision_at[rows[0]] > end]
    first = min(starts, default=600)
    assert_equal_forecasts(nested, other, slice(first))
    if first < 600 and change != "late":
        depends = {"label": "final", "forward_return": "e_r", "long_return": "e_long", "short_return": "e_short"}[change]
        moved = np.abs(getattr(nested, depends)[first:] - getattr(other, depends)[first:])
        assert np.nanmax(moved) > 0  # and what comes later does depend on it


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fold=st.integers(1, 4), longest=st.sampled_from([2, 30, 120]))
def test_what_is_known_after_a_fold_began_changes_nothing_of_it(market, seed, fold, longest):
    rng, one = np.random.default_rng(seed), market(700)
    base = base_predictions(one.predictions, one.models)
    happened = outcomes(base, one.labels)
    label_end = happened.decision_at + HOUR * rng.integers(1, longest + 1, 700)
    happened = replace(happened, label_end=label_end, horizon_end=label_end + HOUR * rng.integers(0, longest + 1, 700))
    rows = fold_blocks(base)[fold]
    first = happened.decision_at[rows[0]]
    open_label, open_return = happened.label_end >= first, happened.horizon_end >= first
    changed = replace(
        happened,
        label=np.where(open_label, rng.integers(-1, 2, 700), happened.label).astype(np.int8),
        **{name: np.where(open_return, 9.0, getattr(happened, name)) for name in RETURNS},
    )
    assert (open_return & ~open_label).any() or longest == 2  # returns of known labels are still open
    one_way, other = (nested_oof(base, each, META, CALIBRATION) for each in (happened, changed))
    assert_equal_forecasts(one_way, other, rows)


def test_the_choice_of_calibrator_sees_known_labels_only(market):
    one = market(1_000)
    base = base_predictions(one.predictions, one.models)
    at = outcomes(base, one.labels)
    happened = replace(at, label_end=at.decision_at + 100 * HOUR, horizon_end=at.decision_at + 100 * HOUR)
    nested = nested_oof(base, happened, META, CALIBRATION)
    rows = fold_blocks(base)[4]
    known = happened.label_end < happened.decision_at[rows[0]]
    worlds = []
    for unknown in (nested.final.argmax(axis=1) - 1, nested.final.argmin(axis=1) - 1):  # the sure are right, or the unsure
        world = replace(happened, label=np.where(known, happened.label, unknown).astype(np.int8))
        worlds.append((world, nested_oof(base, world, META, CALIBRATION)))
    chosen = {str(each.method[rows[0]]) for _, each in worlds}
    assert chosen == {nested.best(happened.label, known & nested.scored)}
    assert len({each.best(world.label, each.scored) for world, each in worlds}) == 2, "or all labels would choose alike"


def test_returns_of_known_labels_are_paid_out_only_once_known(market):
    one = market(600)
    base = base_predictions(one.predictions, one.models)
    happened = outcomes(base, one.labels)
    late = replace(happened, horizon_end=happened.decision_at + 500 * HOUR)
    nested = nested_oof(base, late, META, CALIBRATION)
    assert [int(nested.stack_rows[rows[0]]) for rows in fold_blocks(base)] == [0, 115, 235, 355, 475]
    assert np.isnan(nested.e_long).all()
    np.testing.assert_array_equal(nested.e_r, base.e_r.mean(axis=1))


@pytest.mark.parametrize("embargo", [0, 7])
def test_whole_folds_are_left_out_with_purge(market, embargo):
    one = market(600)
    base = base_predictions(one.predictions, one.models)
    happened = outcomes(base, one.labels)
    nested = nested_oof(base, happened, META, CALIBRATION, left_out(timedelta(hours=embargo)))
    for fold in nested.folds:
        rows, gap = fold.rows, embargo * HOUR
        for known, end in ((fold.known.labels, happened.label_end), (fold.known.returns, happened.horizon_end)):
            start, stop = happened.decision_at[rows[0]] - gap, end[rows].max() + gap
            apart = [not (happened.decision_at[i] < stop and end[i] > start) for i in range(600)]
            np.testing.assert_array_equal(known, apart)
        peer = Stacker.fit("logistic", base.p[fold.known.labels], happened.label[fold.known.labels], META.alpha)
        np.testing.assert_array_equal(nested.raw[rows], peer.combine(base.p[rows]))
        assert fold.payoffs == Payoffs.fit(happened, fold.known.returns)
    assert nested.scored.all()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fold=st.integers(0, 4))
def test_a_fold_left_out_is_stacked_and_priced_without_its_outcomes(market, seed, fold):
    rng, one = np.random.default_rng(seed), market(600)
    base = base_predictions(one.predictions, one.models)
    happened = outcomes(base, one.labels)
    gate = left_out(timedelta(0))
    first = nested_oof(base, happened, META, CALIBRATION, gate)
    known = first.folds[fold].known
    changed = replace(
        happened,
        label=np.where(known.labels, happened.label, rng.integers(-1, 2, 600)).astype(np.int8),
        **{name: np.where(known.returns, getattr(happened, name), 9.0) for name in RETURNS},
    )
    other = nested_oof(base, changed, META, CALIBRATION, gate)
    rows = first.folds[fold].rows
    np.testing.assert_array_equal(first.raw[rows], other.raw[rows])
    np.testing.assert_array_equal(first.prior[rows], other.prior[rows])
    assert first.folds[fold].payoffs == other.folds[fold].payoffs


def test_labels_that_end_late_are_not_learned_from(market):
    one = market(1_000)
    late = one.labels.with_columns(label_end=pl.col("label_end").dt.offset_by("100h"))
    nested, base = run(one, late)
    assert [int(nested.stack_rows[rows[0]]) for rows in fold_blocks(base)] == [0, 0, 295, 495, 695]


def test_calibrators_need_stacked_rows_and_compete_on_earlier_folds(market):
    nested, base = run(market(1_000))
    blocks = fold_blocks(base)
    assert [bool(nested.scored[rows[0]]) for rows in blocks] == [False, False, True, True, True]
    assert [str(nested.method[rows[0]]) for rows in blocks[:3]] == ["none"] * 3
    label = outcomes(base, market(1_000).labels).label
    losses = {m: -np.log(p[blocks[2], label[blocks[2]] + 1])[:-5].mean() for m, p in nested.calibrated.items()}
    assert str(nested.method[blocks[3][0]]) == min(losses, key=losses.get)


@pytest.mark.parametrize("meta", ["logistic", "ridge"])
def test_few_rows_are_voted(market, meta):
    nested, base = run(market(MIN_ROWS), meta=EnsembleSettings(meta=meta))
    np.testing.assert_array_equal(nested.final, vote(base.p))
    assert not nested.scored.any()


def test_fold_blocks_are_runs(market):
    base = base_predictions(market(100).predictions, ("good",))
    assert [(int(rows[0]), int(rows[-1])) for rows in fold_blocks(base)] == [(0, 19), (20, 39), (40, 59), (60, 79), (80, 99)]
