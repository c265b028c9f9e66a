"""The meta-learner's own forecasts: what it may know is settled by label_end, and planted leaks would show."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.nested import MIN_ROWS, fold_blocks, nested_oof
from quant_pipeline.ensemble.oof import base_predictions, outcomes
from quant_pipeline.ensemble.stacking import Stacker
from quant_pipeline.ensemble.voting import vote

META, CALIBRATION = EnsembleSettings(), CalibrationSettings()


def run(market, labels=None, meta=META):
    base = base_predictions(market.predictions, market.models)
    happened = outcomes(base, market.labels if labels is None else labels)
    return nested_oof(base, happened, meta, CALIBRATION), base


def test_each_fold_is_forecast_by_a_stack_of_earlier_known_rows(market):
    one = market(1_000)
    nested, base = run(one)
    happened = outcomes(base, one.labels)
    for rows in fold_blocks(base)[1:]:
        # the slow way: look at every row
        known = [i for i in range(rows[0]) if happened.label_end[i] < happened.decision_at[rows[0]]]
        assert nested.stack_rows[rows[0]] == len(known) == rows[0] - 5
        peer = Stacker.fit("logistic", base.p[known], happened.label[known], META.alpha)
        np.testing.assert_array_equal(nested.raw[rows], peer.combine(base.p[rows]))


def test_the_first_fold_is_the_vote(market):
    nested, base = run(market(1_000))
    first = fold_blocks(base)[0]
    np.testing.assert_array_equal(nested.final[first], vote(base.p[first]))
    np.testing.assert_array_equal(nested.e_r[first], base.e_r[first].mean(axis=1))
    assert (nested.stack_rows[first] == 0).all()


@settings(max_examples=12, deadline=None)
@given(row=st.integers(0, 599), change=st.sampled_from(["label", "long", "late"]))
def test_nothing_before_a_label_is_known_depends_on_it(market, row, change):
    one = market(600)
    nested, base = run(one)
    place = pl.int_range(pl.len()) == row
    changed = {
        "label": one.labels.with_columns(
            label=pl.when(place).then(-pl.col("label") + 1 - 2 * (pl.col("label") == -1)).otherwise("label").cast(pl.Int8)
        ),
        "long": one.labels.with_columns(forward_return=pl.when(place).then(9.0).otherwise("forward_return")),
        "late": one.labels.with_columns(
            label_end=pl.when(place).then(pl.col("label_end").dt.offset_by("300h")).otherwise("label_end")
        ),
    }[change]
    other, _ = run(one, changed)
    happened = outcomes(base, one.labels)
    starts = [rows[0] for rows in fold_blocks(base) if happened.decision_at[rows[0]] > happened.label_end[row]]
    first = min(starts, default=600)
    for name in ("raw", "final", "prior", "e_r"):
        np.testing.assert_array_equal(getattr(nested, name)[:first], getattr(other, name)[:first])
    if first < 600 and change != "late":
        after = np.concatenate(
            [np.abs(getattr(nested, name)[first:] - getattr(other, name)[first:]).ravel() for name in ("final", "e_r")]
        )
        assert after.max() > 0  # and what comes later does depend on it


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
