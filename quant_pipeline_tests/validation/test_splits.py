from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from quant_pipeline.config.experiment import HOLDOUT, SplitSettings
from quant_pipeline.errors import ConfigError, DataError, LeakageError
from quant_pipeline.validation.audit import split_audit
from quant_pipeline.validation.splits import (
    FEWEST,
    check_history,
    check_oof,
    fewest_rows,
    first_training_end,
    fold_rows,
    make_splits,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WALK_FORWARD = ("expanding", "rolling")


def make_labels(gaps, lengths):
    """Labels decided after `gaps` hours each and known `lengths` hours later."""
    decisions = np.cumsum(gaps)
    decided = pl.Series([START + int(hour) * HOUR for hour in decisions], dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame({"decision_at": decided, "label_end": decided + pl.Series([int(length) * HOUR for length in lengths])})


def hourly(count, known_after=3):
    return make_labels([0] + [1] * (count - 1), [known_after] * count)


@st.composite
def cases(draw):
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(450, 700))
    gaps = np.where(random.random(count) < 0.05, random.integers(2, 60, count), 1)  # nights, weekends, outages
    scheme = draw(st.sampled_from([*WALK_FORWARD, "purged_kfold", "combinatorial"]))
    chosen = SplitSettings(
        scheme=scheme,
        folds=draw(st.sampled_from([3, 6])),
        first_train=draw(st.sampled_from([0.4, 0.5])),
        test=draw(st.sampled_from([0.1, 0.2])),
        inner_valid=draw(st.sampled_from([0.15, 0.2])),
        embargo=draw(st.integers(0, 8)) * HOUR,
    )
    return make_labels(gaps, random.integers(1, 12, count)), chosen


def all_folds(labels, chosen):
    splits = make_splits(labels, chosen)
    return splits, {fold: fold_rows(splits, fold, labels, chosen) for fold in chosen.fold_names}


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_no_window_of_a_learned_row_comes_near_an_unseen_one(case):
    labels, chosen = case
    start, end = (labels[name].to_physical().to_numpy() for name in ("decision_at", "label_end"))
    gap = chosen.embargo // timedelta(microseconds=1)
    for rows in all_folds(labels, chosen)[1].values():
        for learned, unseen in ((rows.train, rows.oof), (rows.valid, rows.oof), (rows.train, rows.valid)):
            apart = (end[learned][:, None] + gap <= start[unseen]) | (end[unseen] + gap <= start[learned][:, None])
            assert apart.all()


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_every_row_has_its_place(case):
    labels, chosen = case
    folds = all_folds(labels, chosen)[1]
    develop = folds[HOLDOUT].oof[0]
    times = np.zeros(labels.height, dtype=int)
    for name, rows in folds.items():
        parts = np.concatenate([rows.train, rows.valid, rows.oof])
        assert len(np.unique(parts)) == len(parts)
        assert len(rows.train) == 0 or rows.train.max() < rows.valid.min()
        if name != HOLDOUT:
            assert parts.max() < develop  # the test span is touched by no other fold
            times[rows.oof] += 1
    first = int(labels.height * chosen.first_train) if chosen.scheme in WALK_FORWARD else 0
    wanted = {"purged_kfold": 1, "combinatorial": {3: 2, 6: 3}[chosen.folds]}.get(chosen.scheme, 1)
    assert set(times[first:develop]) == {wanted}
    assert set(times[:first]) <= {0}
    assert set(times[develop:]) == {0}
    assert folds[HOLDOUT].oof.tolist() == list(range(labels.height - round(labels.height * chosen.test), labels.height))


@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_the_table_counts_what_fold_rows_gives(case):
    labels, chosen = case
    splits, folds = all_folds(labels, chosen)
    for fold, rows in folds.items():
        for role in ("train", "valid", "oof"):
            mine = splits.filter((pl.col("fold") == fold) & (pl.col("role") == role))
            assert mine["rows"].sum() == len(getattr(rows, role))
            assert mine["block"].to_list() == list(range(mine.height))
            inside = sum(
                labels["decision_at"].is_between(row["start"], row["end"], closed="left").sum() for row in mine.to_dicts()
            )
            assert inside == mine.select(pl.sum_horizontal(pl.col("rows", "purged", "embargoed").sum())).item()


@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_no_more_is_removed_than_must_be(case):
    labels, chosen = case
    start, end = (labels[name].to_physical().to_numpy() for name in ("decision_at", "label_end"))
    gap = chosen.embargo // timedelta(microseconds=1)
    rows = all_folds(labels, chosen)[1][HOLDOUT]
    free = np.flatnonzero(end[: rows.oof[0]] + gap <= start[rows.oof[0]])
    if chosen.scheme == "rolling":
        free = free[free >= rows.oof[0] - int(labels.height * chosen.first_train)]
    turn = rows.valid[0]
    assert rows.valid.tolist() == free[free >= turn].tolist()
    assert rows.train.tolist() == [row for row in free if row < turn and end[row] + gap <= start[turn]]
    assert len(rows.valid) == max(1, round(len(free) * chosen.inner_valid))


@pytest.mark.parametrize("scheme", WALK_FORWARD)
def test_walk_forward_trains_on_the_past_only(scheme):
    labels, chosen = hourly(1_000), SplitSettings(scheme=scheme)
    sizes = []
    for rows in all_folds(labels, chosen)[1].values():
        assert max(rows.train[-1], rows.valid[-1]) < rows.oof[0]
        sizes.append(rows.valid[-1] - rows.train[0])
    assert (len(set(sizes)) == 1) == (scheme == "rolling")


def test_purged_kfold_trains_on_both_sides():
    rows = all_folds(hourly(1_000), SplitSettings(scheme="purged_kfold"))[1]["fold_01"]
    assert rows.train[0] == 0
    assert rows.train[-1] > rows.oof[-1]


def test_combinatorial_leaves_out_every_pair_of_groups():
    splits, folds = all_folds(hourly(1_000), SplitSettings(scheme="combinatorial", folds=6, test=0.2))
    groups = {tuple(np.unique(folds[f"fold_{index:02d}"].oof // 200)) for index in range(6)}
    assert groups == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert splits.filter((pl.col("fold") == "fold_01") & (pl.col("role") == "oof"))["block"].to_list() == [0, 1]


def test_the_example_of_the_docstring():
    chosen = SplitSettings(folds=2, first_train=0.4, test=0.2, inner_valid=0.1, embargo=2 * HOUR)
    splits = make_splits(hourly(1_000), chosen)
    shown = [
        f"{row['fold']}  {row['role']:<5}     {row['block']}  {row['start']:%Y-%m-%d %H:%M}  {row['end']:%Y-%m-%d %H:%M}"
        f"  {row['rows']:>4}  {row['purged']:>6}  {row['embargoed']:>9}"
        for row in splits.head(3).to_dicts()
    ]
    for line in shown:
        assert line in make_splits.__doc__
    assert dict(splits.schema) == {
        "fold": pl.String, "role": pl.String, "block": pl.Int32, "start": pl.Datetime("us", "UTC"),
        "end": pl.Datetime("us", "UTC"), "rows": pl.Int64, "purged": pl.Int64, "embargoed": pl.Int64,
    }  # fmt: skip


def test_later_labels_do_not_move_the_rows_of_splits_that_were_made():
    labels, chosen = hourly(1_000), SplitSettings()
    splits = make_splits(labels.head(800), chosen)
    for fold in chosen.fold_names:
        before, after = (fold_rows(splits, fold, frame, chosen) for frame in (labels.head(800), labels))
        assert all(np.array_equal(getattr(before, role), getattr(after, role)) for role in ("train", "valid", "oof"))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.floats(0, 0.1))
def test_the_first_training_span_ends_before_the_first_block_whichever_rows_have_labels(seed, missing):
    primary, chosen = hourly(1_000), SplitSettings()
    random = np.random.default_rng(seed)
    gone = random.permutation(1_000)[: int(missing * 1_000)] if seed % 2 else 1_000 - np.arange(int(missing * 1_000))
    labels = primary.filter(~pl.Series(np.isin(np.arange(1_000), gone)))
    first_block = fold_rows(make_splits(labels, chosen), "fold_00", labels, chosen).oof[0]
    assert first_training_end(primary["decision_at"], chosen) <= labels["decision_at"][int(first_block)]


@pytest.mark.parametrize(
    ("count", "change", "fold", "role", "mend"),
    [
        (100, {}, "fold_00", "train", "first_train"),
        (400, {"first_train": 0.2, "inner_valid": 0.05}, "fold_00", "valid", "inner_valid"),
        (400, {"folds": 50}, "fold_00", "oof", "folds"),
        (300, {"test": 0.02}, "holdout", "oof", "test"),
        (0, {}, "fold_00", "train", "first_train"),
    ],
)
def test_too_few_rows_name_the_fold_and_the_setting(count, change, fold, role, mend):
    with pytest.raises(DataError, match=rf"{fold}: {role} rows: found \d+, wanted at least {FEWEST[role]}.*splits\.{mend}"):
        make_splits(hourly(count) if count else hourly(5).clear(), SplitSettings(**change))


def test_settings_that_give_no_folds_are_refused():
    with pytest.raises(ConfigError, match=r"first_train \+ test below 1.*not 1.1"):
        SplitSettings.parse({"first_train": 0.8, "test": 0.3}, "splits")
    for folds in (2, 4, 5, 7):
        with pytest.raises(ConfigError, match="3, 6, 10"):
            SplitSettings.parse({"scheme": "combinatorial", "folds": folds}, "splits")
    assert [SplitSettings(scheme="combinatorial", folds=folds).groups for folds in (3, 6, 10, 15)] == [3, 4, 5, 6]
    assert SplitSettings(scheme="purged_kfold", first_train=0.9, test=0.3).groups  # where first_train says nothing


def test_unsorted_labels_and_unknown_folds_are_refused():
    labels = hourly(1_000)
    with pytest.raises(DataError, match="does not increase"):
        make_splits(labels.reverse(), SplitSettings())
    with pytest.raises(DataError, match="fold_99"):
        fold_rows(make_splits(labels, SplitSettings()), "fold_99", labels, SplitSettings())


@pytest.mark.parametrize("scheme", [*WALK_FORWARD, "purged_kfold", "combinatorial"])
def test_the_audit_agrees_with_the_splitter(scheme):
    labels, chosen = hourly(1_000), SplitSettings(scheme=scheme, folds=6)
    for fold, rows in all_folds(labels, chosen)[1].items():
        assert split_audit(rows, labels, chosen.embargo, fold=fold).is_empty()


class TestOutOfFold:
    labels, chosen = hourly(1_000), SplitSettings()
    splits = make_splits(labels, chosen)

    def predictions(self, folds=None, models=("lightgbm", "logistic")):
        made = [
            self.labels["decision_at"].gather(fold_rows(self.splits, fold, self.labels, self.chosen).oof).to_frame()
            .with_columns(fold=pl.lit(fold), model=pl.lit(model))
            for fold in folds or self.chosen.fold_names[:-1] for model in models
        ]  # fmt: skip
        return pl.concat(made)

    def check(self, predictions, folds=None):
        check_oof(predictions, self.labels, self.splits, self.chosen, folds=folds)

    def test_whole_predictions_pass(self):
        self.check(self.predictions())
        self.check(self.predictions(self.chosen.fold_names))
        self.check(self.predictions(["fold_02"]), folds=["fold_02"])

    @pytest.mark.parametrize("scheme", ["rolling", "purged_kfold", "combinatorial"])
    def test_other_schemes_pass(self, scheme):
        other = TestOutOfFold()
        other.chosen = SplitSettings(scheme=scheme, folds=6)
        other.splits = make_splits(self.labels, other.chosen)
        other.check(other.predictions())

    @pytest.mark.parametrize(
        ("spoil", "fault"),
        [
            (lambda made: made.slice(1), "lightgbm, fold_00: 1 rows that are not predicted"),
            (lambda made: pl.concat([made, made.tail(2)]), "logistic, fold_04: 2 rows that are predicted more than once"),
            (lambda made: made.filter(pl.col("fold") != "fold_03"), "lightgbm, fold_03: .* are not predicted"),
            (lambda made: made.with_columns(pl.col("decision_at") + timedelta(minutes=1)), "have no label"),
            (lambda made: made.with_columns(pl.col("decision_at") - 200 * HOUR), "were learned from by the fold"),
            (lambda made: made.with_columns(pl.col("decision_at") + 90 * HOUR), "lie outside the fold's block"),
            (lambda made: made.with_columns(fold=pl.lit("fold_77")), "predictions of fold_77, which the splits do not have"),
            (lambda made: made.clear(), "no model, fold_00: .* are not predicted"),
        ],
    )
    def test_faults_are_named(self, spoil, fault):
        with pytest.raises(LeakageError, match=fault):
            self.check(spoil(self.predictions()))

    @pytest.mark.parametrize(("earlier", "fault"), [(3, "left out by 1 to 2 folds"), (-3, "left out by 0 to 1 folds")])
    def test_blocks_that_overlap_or_leave_a_gap_are_refused(self, earlier, fault):
        other = TestOutOfFold()
        moved = (pl.col("fold") == "fold_02") & (pl.col("role") == "oof")
        start = pl.when(moved).then(pl.col("start") - earlier * HOUR).otherwise("start")
        other.splits = self.splits.with_columns(start=start)
        with pytest.raises(LeakageError, match=fault):
            other.check(other.predictions())


@pytest.mark.parametrize("rows", [0, 1, 30, 149])
def test_too_little_history_is_said_before_anything_is_made(rows):
    moments = pl.Series([START + row * HOUR for row in range(rows)], dtype=pl.Datetime("us", "UTC"))
    for check in (check_history, first_training_end):
        with pytest.raises(DataError, match=rf"too little history: {rows}.*at least 150 for 5 folds.*longer history"):
            check(moments, SplitSettings())


@pytest.mark.parametrize("scheme", ["expanding", "rolling", "purged_kfold", "combinatorial"])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("folds", [3, 6])
def test_fewer_rows_than_the_fewest_are_never_enough(scheme, share, folds):
    settings = SplitSettings(scheme=scheme, first_train=share, folds=folds)
    fewest = fewest_rows(settings)
    with pytest.raises(DataError):
        make_splits(make_labels([1] * (fewest - 1), [1] * (fewest - 1)), settings)
