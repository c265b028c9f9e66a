from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from quant_pipeline.validation.audit import FAULTS, asof_audit, oof_audit, prefix_audit, random_cuts, scaler_audit, split_audit
from quant_pipeline.validation.splits import FoldRows

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hours(count, first=0):
    return pl.datetime_range(START + first * HOUR, START + (first + count - 1) * HOUR, HOUR, time_unit="us", eager=True)


def table(count=20):
    values = np.arange(count, dtype=float)
    return pl.DataFrame({"timestamp": hours(count), "decision_at": hours(count, 1), "a": values, "b": -values})


def prefix(change):
    """Faults of a computation that equals the full table at the cut, but for `change`."""
    cut = START + 10 * HOUR
    return prefix_audit(lambda known: change(table().filter(pl.col("decision_at") <= known)), table(), [cut])


def test_equal_prefixes_have_no_faults():
    assert prefix(lambda part: part).is_empty()
    assert dict(prefix(lambda part: part).schema) == FAULTS


def test_a_changed_value_is_named():
    faults = prefix(lambda part: part.with_columns(b=pl.when(pl.col("a") == 4).then(7.0).otherwise("b")))
    assert faults.to_dicts() == [
        {"audit": "prefix", "where": "b", "fault": "change when later data arrive", "rows": 1, "first_at": START + 5 * HOUR,
         "found": "7.0", "wanted": "-4.0"},
    ]  # fmt: skip


def test_the_smallest_difference_counts():
    assert prefix(lambda part: part.with_columns(a=pl.col("a") * (1 + 2**-52)))["rows"].to_list() == [9]


@pytest.mark.parametrize(
    ("change", "where", "fault", "rows"),
    [
        (lambda part: part.slice(2), "timestamp", "appear only later", 2),
        (lambda part: part.drop("b"), "b", "columns depend on the future", 1),
        (lambda part: part.with_columns(c=1), "c", "columns depend on the future", 1),
        (lambda part: pl.concat([part, table().tail(3)]), "decision_at", "are there before they could be known", 3),
        (lambda part: pl.concat([part, part.head(1).with_columns(pl.col("timestamp") - HOUR)]), "timestamp", "vanish later", 1),
        (lambda part: part.with_columns(a=pl.when(pl.col("a") > 0).then("a")), "a", "change when later data arrive", 1),
    ],
)
def test_other_faults(change, where, fault, rows):
    faults = prefix(change)
    assert faults.select("where", "fault", "rows").rows() == [(where, fault, rows)]


def test_nulls_and_nan_equal_themselves():
    odd = table().with_columns(a=pl.lit(None, pl.Float64), b=pl.lit(float("nan")))
    assert prefix_audit(lambda cut: odd.filter(pl.col("decision_at") <= cut), odd, [START + 5 * HOUR]).is_empty()


def test_labels_are_compared_from_the_end_of_their_window():
    labels = table().with_columns(horizon_end=pl.col("decision_at") + 3 * HOUR)
    cuts = [START + 8 * HOUR]
    honest = prefix_audit(lambda cut: labels.filter(pl.col("horizon_end") <= cut), labels, cuts, at="horizon_end")
    early = prefix_audit(lambda cut: labels.filter(pl.col("decision_at") <= cut), labels, cuts, at="horizon_end")
    assert honest.is_empty()
    assert early.select("fault", "rows").rows() == [("are there before they could be known", 3)]


def test_cuts_are_drawn_by_seed():
    times = hours(50)
    assert random_cuts(times, 5, seed=1) == random_cuts(times, 5, seed=1)
    assert random_cuts(times, 5, seed=1) != random_cuts(times, 5, seed=2)
    assert len(set(random_cuts(times, 5, seed=1))) == 5
    assert random_cuts(times.head(3), 5, seed=1) == times.head(3).to_list()


def test_scalers_are_judged_by_what_they_ignore():
    values = np.random.default_rng(0).normal(size=(100, 3))
    train = np.arange(20, 60)
    assert scaler_audit(lambda given: given[train].mean(axis=0), values, train, seed=1).is_empty()
    for wrong in (
        lambda given: given.mean(axis=0),
        lambda given: given[20:61].max(axis=0),
        lambda given: np.median(given, axis=0),
    ):
        faults = scaler_audit(wrong, values, train, seed=1, name="my scaler")
        assert faults["where"].to_list() == ["my scaler"]
        assert faults["rows"].to_list() == [60]


def test_a_scaler_that_writes_into_its_input_is_judged_all_the_same():
    values = np.random.default_rng(0).normal(size=(50, 2))
    train = np.arange(25)

    def greedy(given):
        fitted = given.mean(axis=0)
        given[:] = 0
        return fitted

    assert not scaler_audit(greedy, values, train, seed=1).is_empty()
    assert values.any()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=25, max_size=25), embargo=st.integers(0, 4))
def test_split_audit_equals_the_pairwise_count(data, lengths, embargo):
    ends = [START + (row + length) * HOUR for row, length in enumerate(lengths)]
    labels = pl.DataFrame({"decision_at": hours(25), "label_end": pl.Series(ends, dtype=pl.Datetime("us", "UTC"))})
    role = np.array(data.draw(st.lists(st.sampled_from("tvo-"), min_size=25, max_size=25)))
    rows = FoldRows(*(np.flatnonzero(role == name) for name in "tvo"))
    found = {(row["where"], row["fault"]): row["rows"] for row in split_audit(rows, labels, embargo * HOUR).to_dicts()}
    decisions = labels["decision_at"].to_list()
    wanted = {}
    parts = {"train": rows.train, "valid": rows.valid, "oof": rows.oof}
    for name in ("train against oof", "valid against oof", "train against valid"):
        mine, others = (parts[role] for role in name.split(" against "))
        gaps = [min((max(decisions[o] - ends[m], decisions[m] - ends[o]) for o in others), default=1_000 * HOUR) for m in mine]
        wanted[f"fold: {name}", "have windows that overlap"] = sum(gap < timedelta(0) for gap in gaps)
        wanted[f"fold: {name}", "come within the embargo"] = sum(timedelta(0) <= gap < embargo * HOUR for gap in gaps)
    assert found == {key: count for key, count in wanted.items() if count}


def test_a_row_in_two_roles_is_named():
    labels = pl.DataFrame({"decision_at": hours(9), "label_end": hours(9, 1)})
    faults = split_audit(FoldRows(np.array([0, 1]), np.array([4, 5]), np.array([7, 1])), labels, timedelta(0))
    assert ("fold: train against oof", "stand in both", 1) in faults.select("where", "fault", "rows").rows()


def test_asof_audit_names_values_used_too_early():
    joined = pl.DataFrame({"decision_at": hours(4), "news_known_at": hours(4, -1), "macro_known_at": hours(4)})
    joined = joined.with_columns(bar_known_at=pl.when(pl.int_range(4) > 1).then(pl.col("decision_at") + HOUR))
    faults = asof_audit(joined, known=("news_known_at", "macro_known_at", "bar_known_at"))
    assert faults.select("where", "rows", "first_at").rows() == [("bar_known_at", 2, START + 2 * HOUR)]


def test_oof_audit_judges_each_model_by_itself():
    labels = pl.DataFrame({"decision_at": hours(10), "label_end": hours(10, 1)})
    folds = {"f": FoldRows(np.arange(4), np.array([5]), np.array([7, 8]))}
    whole = pl.DataFrame({"decision_at": [hours(10)[7], hours(10)[8]], "fold": "f", "model": "good"})
    half = whole.head(1).with_columns(model=pl.lit("bad"))
    faults = oof_audit(pl.concat([whole, half]), labels, folds)
    assert faults.select("where", "fault", "rows").rows() == [("bad, f", "are not predicted", 1)]
