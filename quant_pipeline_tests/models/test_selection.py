"""Selection: what is planted is found, what repeats or says nothing goes, and other rows have no say."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import ks_2samp

from quant_pipeline.config.selection import SelectionSettings
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.models.contract import Samples
from quant_pipeline.models.preparation.selection import SCHEMA, Selection, select
from quant_pipeline.views.feature_matrix import MOMENT, FeatureMatrix

ROWS = 1_500
HOUR = 3_600_000_000
INFORMATIVE = ("up", "down", "curved")
NOISE = tuple(f"noise_{i:02d}" for i in range(30))
SMALL = SelectionSettings(max_features=12, min_features=3)


def _moments(values):
    return pl.Series(values * HOUR).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(MOMENT)


def _table(rng):
    columns = {name: rng.normal(size=ROWS) for name in (*INFORMATIVE, *NOISE)}
    columns["like_up"] = columns["up"] + 0.03 * rng.normal(size=ROWS)
    columns["minus_down"] = -(columns["down"] ** 3)
    columns["substitute_up"] = columns["up"] + 0.7 * rng.normal(size=ROWS)
    columns["same_as_up"] = columns["up"].copy()
    columns["always_one"] = np.ones(ROWS)
    columns["one_or_nothing"] = np.where(rng.random(ROWS) < 0.5, 1.0, np.nan)
    columns["nothing"] = np.full(ROWS, np.nan)
    columns["level"] = 0.01 * np.arange(ROWS) + rng.normal(size=ROWS)  # each value belongs to a season of the rows
    return columns


def _samples(signal=1.0, seed=0):
    rng = np.random.default_rng(seed)
    columns = _table(rng)
    outcome = signal * (columns["up"] - columns["down"] + columns["curved"] ** 2 - 1) + rng.normal(size=ROWS)
    label = (np.digitize(outcome, np.quantile(outcome, [1 / 3, 2 / 3])) - 1).astype(np.int8)
    values = np.column_stack(list(columns.values())).astype(np.float32)
    view = FeatureMatrix(_moments(np.arange(ROWS)).alias("decision_at"), tuple(columns), values)
    return Samples(view, label, rng.uniform(0.5, 1.5, ROWS), 0.001 * outcome)


ENDS = _moments(np.arange(ROWS) + 5)


@pytest.fixture(scope="module")
def samples():
    return _samples()


@pytest.fixture(scope="module")
def chosen(samples):
    return select(samples, ENDS, SMALL, seed=3)


def _row(selection, name):
    return selection.report.row(by_predicate=pl.col("feature") == name, named=True)


def test_what_is_planted_is_found(chosen):
    for name in INFORMATIVE:
        row = _row(chosen, name)
        assert name in chosen.columns or row["reason"].startswith("correlation")
        assert row["stability"] is None or row["stability"] == 1.0
    assert {"up", "like_up"} & set(chosen.columns)
    assert {"down", "minus_down"} & set(chosen.columns)
    assert "curved" in chosen.columns  # no correlation with the label shows it
    assert "substitute_up" in chosen.columns  # correlated at 0.8 only: it may stay


def test_most_noise_goes(chosen):
    assert sum(name in chosen.columns for name in NOISE) <= 7
    shown = chosen.report.filter(pl.col("feature").is_in(NOISE))["mda"].max()
    assert shown < _row(chosen, "curved")["mda"] / 10


def test_every_column_has_its_reason(chosen, samples):
    report = chosen.report
    assert dict(report.schema) == SCHEMA
    assert tuple(report["feature"]) == samples.view.columns
    assert tuple(report.filter("kept")["feature"]) == chosen.columns
    reasons = {name: _row(chosen, name)["reason"] for name in samples.view.columns}
    assert reasons["nothing"] == "empty"
    assert reasons["always_one"] == reasons["one_or_nothing"] == "constant"
    assert reasons["same_as_up"] == "duplicate of up"
    pair = {reasons["up"], reasons["like_up"]}
    assert pair & {"correlation +0.999 with up", "correlation +0.999 with like_up"}
    assert sum(reasons[name].startswith("correlation -1.000") for name in ("down", "minus_down")) == 1
    assert {reason.partition(":")[0] for reason in reasons.values() if reason.startswith("kept")} == {"kept"}


def test_of_two_alike_the_more_informative_stays(chosen):
    kept, gone = sorted(("up", "like_up"), key=lambda name: _row(chosen, name)["reason"].startswith("correlation"))
    assert _row(chosen, kept)["mutual_information"] >= _row(chosen, gone)["mutual_information"]
    assert _row(chosen, gone)["mdi"] is None


def test_substitutes_share_their_worth(chosen):
    first = next(name for name in ("up", "like_up") if _row(chosen, name)["mda"] is not None)
    assert _row(chosen, first)["mda"] == _row(chosen, "substitute_up")["mda"] > 0.01


def test_a_market_without_signal_keeps_the_least():
    nothing = select(_samples(signal=0.0, seed=5), ENDS, SelectionSettings(max_features=30, min_features=10), seed=1)
    assert len(nothing.columns) >= 10
    assert nothing.report["mda"].drop_nulls().max() < 0.01


def test_no_more_than_the_most_stay(samples):
    few = select(samples, ENDS, SelectionSettings(max_features=2, min_features=1, stability=0.0), seed=1)
    assert len(few.columns) == 2
    assert "past the best 2" in set(few.report["reason"])


def test_same_seed_same_selection_and_json_brings_it_back(samples, chosen):
    again = select(samples, ENDS, SMALL, seed=3)
    assert again.columns == chosen.columns
    assert again.report.equals(chosen.report)
    back = Selection.from_dict(json.loads(json.dumps(chosen.to_dict(), allow_nan=False)))
    assert back.columns == chosen.columns
    assert back.report.equals(chosen.report)


def test_rows_outside_the_training_rows_have_no_say(samples):
    """Everything of the other rows is replaced: values, labels, weights."""
    rows = np.r_[0:600, 900:1_200]
    first = select(samples.take(rows), ENDS[rows], SMALL, seed=3)
    outside = np.setdiff1d(np.arange(ROWS), rows)
    values, label, weight = samples.view.values.copy(), samples.label.copy(), samples.weight.copy()
    values[outside], label[outside], weight[outside] = 7.0, 1, 9.0
    other = Samples(FeatureMatrix(samples.view.decision_at, samples.view.columns, values), label, weight, samples.returns)
    second = select(other.take(rows), ENDS[rows], SMALL, seed=3)
    assert second.report.equals(first.report)
    assert not select(other, ENDS, SMALL, seed=3).report.equals(select(samples, ENDS, SMALL, seed=3).report)


def test_labels_that_overlap_a_block_are_purged(samples):
    """Longer labels purge more rows beside the blocks, and nothing else of the samples changed."""
    longer = select(samples, _moments(np.arange(ROWS) + 200), SMALL, seed=3)
    assert not longer.report["mdi"].equals(select(samples, ENDS, SMALL, seed=3).report["mdi"])


def test_off_keeps_everything(samples):
    off = select(samples, ENDS, SelectionSettings(enabled=False), seed=0)
    assert off.columns == samples.view.columns
    assert off.report["mutual_information"].null_count() == len(off.columns)


@pytest.mark.parametrize("case", ["few rows", "one class"])
def test_what_cannot_be_measured_is_ordered_by_mutual_information(samples, case):
    rows = np.arange(150) if case == "few rows" else np.flatnonzero(samples.label == 1)
    told = select(samples.take(rows), ENDS[rows], SMALL, seed=0)
    assert len(told.columns) == 12
    assert told.report["mda"].null_count() == len(told.report)
    assert {row["reason"] for row in told.report.filter("kept").to_dicts()} == {
        "kept: by mutual information alone, too few rows or classes"
    }


def test_nothing_to_choose_from_is_refused(samples):
    still = Samples(samples.view.select(("nothing", "always_one")), samples.label, samples.weight, samples.returns)
    with pytest.raises(DataError, match="found 2 columns, each constant or empty"):
        select(still, ENDS, SMALL, seed=0)
    with pytest.raises(DataError, match="found 3 rows, wanted 1500"):
        select(samples, ENDS[:3], SMALL, seed=0)


def test_settings_are_read_and_refused_by_name():
    settings = SelectionSettings.parse({"embargo": "8h", "max_features": 50}, "selection")
    assert settings.embargo.total_seconds() == 8 * 3_600
    assert SelectionSettings.parse(settings.model_dump(mode="json"), "selection") == settings
    with pytest.raises(ConfigError, match="min_features \\(60\\) at most max_features \\(50\\)"):
        SelectionSettings.parse({"min_features": 60, "max_features": 50}, "selection")
    with pytest.raises(ConfigError, match="write 'max_features'"):
        SelectionSettings.parse({"max_feature": 50}, "selection")


def test_a_column_that_tells_the_time_goes_and_its_distance_is_that_of_scipy(samples, chosen):
    row = chosen.report.row(by_predicate=pl.col("feature") == "level", named=True)
    values = samples.view.values[:, samples.view.columns.index("level")]
    expected = ks_2samp(values[: ROWS // 3], values[-ROWS // 3 :]).statistic
    assert not row["kept"]
    assert row["reason"].startswith(f"wanders: Kolmogorov-Smirnov {expected:.2f}")


def test_without_the_limit_it_may_stay(samples):
    free = select(samples, ENDS, SMALL.model_copy(update={"shift": 1.0}), seed=3)
    assert not free.report["reason"].str.starts_with("wanders").any()


def test_a_market_of_levels_alone_keeps_the_least_number(samples):
    rng = np.random.default_rng(5)
    levels = np.column_stack([0.01 * (k + 1) * np.arange(ROWS) + rng.normal(size=ROWS) for k in range(8)]).astype(np.float32)
    view = FeatureMatrix(samples.view.decision_at, tuple(f"level_{k}" for k in range(8)), levels)
    found = select(Samples(view, samples.label, samples.weight, samples.returns), ENDS, SMALL, seed=3)
    assert found.report["reason"].str.starts_with("wanders").sum() == 8 - SMALL.min_features
