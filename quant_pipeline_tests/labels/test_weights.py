from __future__ import annotations

from datetime import timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from quant_pipeline.config.experiment import LabelSettings, WeightSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.errors import DataError
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.labels.weights import average_uniqueness, label_quality, mean_one, sample_weights, weights_among
from quant_pipeline.validation.audit import prefix_audit, random_cuts

BOTH = WeightSettings()
HOUR = timedelta(hours=1)


def slow_uniqueness(labels):
    spans = list(zip(labels["entry_at"], labels["label_end"], strict=True))
    bars = labels["entry_at"].to_list()

    def covers(span, bar):
        return span[0] <= bar < span[1]

    concurrency = {bar: sum(covers(span, bar) for span in spans) for bar in bars}
    return [np.mean([1 / concurrency[bar] for bar in bars if covers(span, bar)]) for span in spans]


def slow_quality(labels, path):
    quality = []
    for row in labels.to_dicts():
        inside = path.filter((pl.col("timestamp") >= row["entry_at"]) & (pl.col("known_at") <= row["label_end"]))
        rise = max(inside["high"].max() / row["entry_price"] - 1, 0)
        fall = max(1 - inside["low"].min() / row["entry_price"], 0)
        move = {1: fall, -1: rise, 0: max(rise, fall)}[row["label"]]
        limit = row["take_profit"] if row["label"] == 0 else row["stop_loss"]
        quality.append(0.5 if limit <= 0 else max(0.5, 1.5 - move / limit))
    return quality


def some_labels(market, seed, side="two_sided", fee=1):
    path = market.random(seed, 240, tick=0.1)
    rules = LabelSettings(tp_atr=1, sl_atr=1, atr_period=3, max_bars=4, side=side)
    return label_bars(market.wider(path, 5), path, rules, Costs(fee_bps=fee))[0], path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), side=st.sampled_from(["long", "two_sided"]), fee=st.sampled_from([0, 1, 20]))
def test_weights_equal_the_slow_oracle(market, seed, side, fee):
    labels, path = some_labels(market, seed, side, fee)
    weights = sample_weights(labels, BOTH, path)
    assert weights["uniqueness"].to_list() == pytest.approx(slow_uniqueness(labels))
    assert weights["quality"].to_list() == pytest.approx(slow_quality(labels, path))
    assert weights["quality"].is_between(0.5, 1.5).all()
    assert weights["uniqueness"].is_between(0, 1, closed="right").all()
    assert weights["weight"].to_list() == (weights["quality"] * weights["uniqueness"]).to_list()


def test_quality_falls_as_the_path_comes_nearer_to_another_verdict(market):
    path = market.path([0, 1, 2], [100, 100, 100], [101, 103, 104], [98, 99, 97], [100, 100, 100])
    row = {"entry_at": market.start, "label_end": market.start + timedelta(minutes=3), "entry_price": 100.0}
    sides = pl.DataFrame(
        {"label": [1, -1, 0, -1, 1], "take_profit": 0.08, "stop_loss": [0.06, 0.06, 0.06, -0.01, 0.0]},
        schema_overrides={"label": pl.Int8},
    )
    labels = sides.with_columns(**{name: pl.lit(value) for name, value in row.items()}).with_columns(
        pl.col("entry_at", "label_end").cast(pl.Datetime("us", "UTC"))
    )
    assert label_quality(labels, path).tolist() == pytest.approx([1.5 - 3 / 6, 1.5 - 4 / 6, 1.5 - 4 / 8, 0.5, 0.5])


def test_uniqueness_of_the_docstring(market):
    entries = pl.Series([market.start + i * HOUR for i in range(3)], dtype=pl.Datetime("us", "UTC"))
    held = pl.Series([1 * HOUR, 2 * HOUR, 1 * HOUR])
    labels = pl.DataFrame({"entry_at": entries, "label_end": entries + held})
    assert average_uniqueness(labels).tolist() == [1, 0.75, 0.5]


def test_uniqueness_of_a_label_does_not_change_when_later_labels_arrive(market):
    labels, _ = some_labels(market, 5)
    first = labels.head(31)
    settled = (first["label_end"] <= first["entry_at"][-1]).to_numpy()
    assert 20 < settled.sum() < 31
    assert np.array_equal(average_uniqueness(first)[settled], average_uniqueness(labels)[:31][settled])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), side=st.sampled_from(["long", "two_sided"]), quality=st.booleans(), uniqueness=st.booleans())
def test_a_weight_is_the_same_from_the_moment_that_it_is_known(market, seed, side, quality, uniqueness):
    """The prefix audit of WEIGHTS, whose `known_at` tells from when a row may be used; at cuts just there and just before."""
    parts = WeightSettings(quality=quality, uniqueness=uniqueness)
    path = market.random(seed, 240, tick=0.1)
    rules = LabelSettings(tp_atr=1, sl_atr=1, atr_period=3, max_bars=4, side=side)

    def compute(cut):
        known = path.filter(pl.col("known_at") <= cut)
        primary = market.wider(path, 5).filter(pl.col("known_at") <= cut)
        return sample_weights(label_bars(primary, known, rules, Costs(fee_bps=1))[0], parts, known)

    full = compute(path["known_at"][-1])
    assert full["known_at"].count() > 30
    edges = random_cuts(full["known_at"], 3, seed=seed)
    cuts = [*edges, *(edge - timedelta(microseconds=1) for edge in edges), *random_cuts(path["known_at"][60:], 3, seed=seed)]
    assert prefix_audit(compute, full, cuts, at="known_at").to_dicts() == []


def test_a_fit_weighs_its_rows_by_each_other_alone(market):
    """Whatever the labels outside a fit are, and whether they are there at all, its weights have the same bits."""
    labels, path = some_labels(market, 3)
    fitted = labels[5:30]
    alone = weights_among(fitted, sample_weights(labels[:30], BOTH, path), BOTH)
    unsettled = pl.col("decision_at") > fitted["decision_at"][-1]
    later = labels.with_columns(label_end=pl.when(unsettled).then("horizon_end").otherwise("label_end"))
    for other in (labels, later):
        assert weights_among(fitted, sample_weights(other, BOTH, path), BOTH).equals(alone)
    assert alone["weight"].to_list() == (label_quality(fitted, path) * average_uniqueness(fitted)).tolist()
    plain = weights_among(fitted, sample_weights(labels, BOTH, path), WeightSettings(uniqueness=False))
    assert plain["weight"].to_list() == label_quality(fitted, path).tolist()


def test_a_row_without_a_weight_is_refused(market):
    labels, path = some_labels(market, 3)
    with pytest.raises(DataError, match="none for 1 labels"):
        weights_among(labels, sample_weights(labels[1:], BOTH, path), BOTH)


def test_weights_of_a_fit_have_mean_one():
    assert mean_one(np.array([1.0, 2.0, 6.0])).tolist() == [1 / 3, 2 / 3, 2.0]
    assert mean_one(np.empty(0)).size == 0


def test_parts_can_be_switched_off(market):
    labels, path = some_labels(market, 1)
    plain = sample_weights(labels, WeightSettings(quality=False, uniqueness=False))
    assert plain["weight"].to_list() == [1.0] * labels.height
    only = sample_weights(labels, WeightSettings(uniqueness=False), path)
    assert only["uniqueness"].unique().to_list() == [1.0]
    assert only["weight"].to_list() == only["quality"].to_list()
    assert only["known_at"].to_list() == labels["horizon_end"].to_list()
    assert only.columns == ["timestamp", "decision_at", "known_at", "quality", "uniqueness", "weight"]


def test_quality_needs_the_path(market):
    labels, _ = some_labels(market, 1)
    with pytest.raises(DataError, match="no path bars"):
        sample_weights(labels, BOTH)


def test_no_labels_give_no_weights(market):
    labels, path = some_labels(market, 1)
    assert sample_weights(labels.clear(), BOTH, path).is_empty()
