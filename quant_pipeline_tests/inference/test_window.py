"""The window of one decision: long enough for every feature, fixed, and hashed by value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import Experiment, load_experiment
from quant_pipeline.features.build import history_needed
from quant_pipeline.features.groups import narrowed
from quant_pipeline.features.news import REACH
from quant_pipeline.inference.schedule import decision_moments
from quant_pipeline.inference.window import (
    NEWS_WINDOW,
    bars_hash,
    context_start,
    context_window,
    cut,
    history_window,
    inputs_hash,
    window_start,
)
from quant_pipeline.models.preparation.hmm import LOOKBACK as REGIMES_LOOKBACK

AT = datetime(2024, 3, 1, 14, tzinfo=UTC)


def frame(**changes: object):
    prices = {name: [1.0, 2.0] for name in ("open", "high", "low", "close")}
    rows = {"timestamp": [AT, AT + timedelta(minutes=1)], **prices, "volume": [None, 3.0]}
    return pl.DataFrame({**rows, **changes}, schema_overrides={"timestamp": pl.Datetime("us", "UTC"), "volume": pl.Float64})


@settings(max_examples=25, deadline=None)
@given(calendar=st.sampled_from(["24/7", "NYSE", "CMEGlobex_GC"]), hours=st.integers(0, 24 * 365 * 3))
def test_every_rung_has_the_bars_that_features_need(calendar, hours):
    experiment = load_experiment("default")
    at = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    start = window_start(experiment, calendar, at)
    needed = history_needed(experiment.features, experiment.rungs, experiment.primary)
    for rung in ("45m", "1h"):
        scheduled = len(decision_moments(calendar, rung, start, at))
        assert scheduled >= 1.1 * needed[rung], rung
    for rung, days in (("1d", 1.5), ("1w", 7)):
        assert (at - start).days >= needed[rung] * days, rung


@settings(max_examples=15, deadline=None)
@given(calendar=st.sampled_from(["24/7", "NYSE", "CMEGlobex_GC"]), hours=st.integers(0, 24 * 365 * 3))
def test_other_markets_and_news_reach_as_far_back_as_a_feature_looks(calendar, hours):
    experiment = load_experiment("default")
    at = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    start = context_start(experiment, calendar, at)
    assert start.hour == 0
    assert start <= at - REACH
    needed = history_needed(narrowed(experiment.features, ("cross_asset",)), ("1h",), "1h")["1h"]
    assert len(decision_moments(calendar, "1h", start + experiment.features.others_max_age, at)) >= needed


def test_without_other_markets_the_context_reaches_as_far_as_news(small_experiment):
    assert context_window(small_experiment, "NYSE") == NEWS_WINDOW
    other = small_experiment.features.model_copy(update={"families": ("returns", "cross_asset"), "zscore_window": 9})
    slow = small_experiment.model_copy(update={"primary": "4h", "ladder": ("1m", "4h"), "features": other})
    assert context_window(slow, "NYSE") > NEWS_WINDOW


def test_regimes_and_the_foundation_model_lengthen_the_window(small_experiment):
    """They read primary bars that no feature of these families does."""
    start = window_start(small_experiment, "NYSE", AT)
    assert len(decision_moments("NYSE", "1h", start, AT)) >= REGIMES_LOOKBACK
    model = small_experiment.foundation.model_copy(update={"model": "tiny", "context": 2_000})
    long = small_experiment.model_copy(update={"foundation": model})
    assert len(decision_moments("NYSE", "1h", window_start(long, "NYSE", AT), AT)) >= 2_000
    off = small_experiment.model_copy(update={"foundation": model.model_copy(update={"model": None})})
    assert history_window(off, "NYSE") == history_window(small_experiment, "NYSE")


def test_the_window_is_fixed_by_settings_alone(small_experiment):
    assert history_window(small_experiment, "24/7") == history_window(small_experiment, "24/7")
    assert history_window(small_experiment, "NYSE") > history_window(small_experiment, "24/7")
    assert window_start(small_experiment, "24/7", AT) == window_start(small_experiment, "24/7", AT.replace(hour=0))
    assert window_start(small_experiment, "24/7", AT).hour == 0


def test_cut_takes_what_opened_in_the_window_and_closed_by_the_moment():
    stamps = pl.datetime_range(AT - timedelta(hours=3), AT + timedelta(hours=3), "1m", time_unit="us", eager=True)
    raw = {name: pl.DataFrame({"timestamp": stamps}) for name in ("1m", "1h")}
    seen = cut(raw, AT - timedelta(hours=1), AT, "24/7")
    assert (seen["1m"]["timestamp"].min(), seen["1m"]["timestamp"].max()) == (AT - timedelta(hours=1), AT - timedelta(minutes=1))
    assert seen["1h"]["timestamp"].to_list() == [AT - timedelta(hours=1)]
    assert [frame.height for frame in cut(raw, AT + timedelta(days=1), AT + timedelta(days=2), "24/7").values()] == [0, 0]


def test_equal_bars_equal_hash_whatever_their_chunks():
    whole = frame()
    pieces = pl.concat([whole.head(1), whole.tail(1)], rechunk=False)
    assert bars_hash({"1m": whole}) == bars_hash({"1m": pieces})


@pytest.mark.parametrize(
    "changes",
    [
        {"close": [1.0, 2.0 + 4.5e-16]}, {"volume": [0.0, 3.0]}, {"open": [2.0, 1.0]},
        {"timestamp": [AT, AT + timedelta(minutes=2)]},
    ],
)  # fmt: skip
def test_any_other_value_is_another_hash(changes):
    assert bars_hash({"1m": frame(**changes)}) != bars_hash({"1m": frame()})


def test_interval_and_rows_count():
    assert len({bars_hash({"1m": frame()}), bars_hash({"1h": frame()}), bars_hash({"1m": frame().head(1)}), bars_hash({})}) == 4


def test_inputs_hash_counts_features_only(small_experiment):
    def changed(**update: object) -> str:
        return inputs_hash(Experiment.parse({**small_experiment.model_dump(), **update}, "test"))

    same = inputs_hash(small_experiment)
    assert changed(seed=99, history_days=30, signal={"fallback": "logistic", "min_confidence": 0.9}) == same
    assert changed(news={"encoder": "finbert"}) != same
    assert changed(foundation={"model": "amazon/chronos-bolt-tiny"}) != same
    assert changed(ladder=["1m", "1h"]) != same
    assert changed(macro={"lag_days": {"CPIAUCSL": 90}}) != same
    lags = [{"CPIAUCSL": 90, "DGS10": 10}, {"DGS10": 10, "CPIAUCSL": 90}]
    assert changed(macro={"lag_days": lags[0]}) == changed(macro={"lag_days": lags[1]})
    assert changed(features={**small_experiment.features.model_dump(), "zscore_window": 31}) != same
