"""build_features: the as-of join, warm-up, updates, live windows, symbols without volume, refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.config.timeframes import LADDER
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.features.build import build_features, history_needed
from quant_pipeline.features.registry import FAMILIES, columns, specs

MARKETS = {"24/7": 12, "NYSE": 33, "CMEGlobex_GC": 15}
"""Calendar days per calendar: finer rungs outgrow the longest memory, the 1h rung stays within it."""


@pytest.fixture(scope="module")
def ladders(minute_bars):
    return {name: build_ladder(minute_bars(name, days), LADDER) for name, days in MARKETS.items()}


@pytest.fixture(scope="module")
def built(ladders, settings):
    return {name: build_features(ladders[name], settings, "15m", name) for name in MARKETS}


@pytest.mark.parametrize("calendar", MARKETS)
def test_shape_names_and_nulls(built, ladders, settings, calendar):
    features, ledger = built[calendar]
    assert features.columns == ["timestamp", "decision_at", *columns(settings, LADDER, "15m")]
    assert features.height == ledger.rows_out == ladders[calendar]["15m"].height - ledger.dropped.get("warm_up", 0)
    assert set(features.dtypes[2:]) == {pl.Float64}
    values = features.drop("timestamp", "decision_at")
    assert np.isfinite(values.fill_null(0.0).to_numpy()).all()
    for column in values:  # nulls are warm-up: they come first
        assert not column.is_null()[column.null_count() :].any(), column.name


def test_each_value_is_that_of_the_last_bar_known_at_the_decision(built, ladders, settings):
    features, bars = built["CMEGlobex_GC"][0], ladders["CMEGlobex_GC"]
    for spec in specs(settings.families):
        for rung in (rung for rung in LADDER if spec.on(rung, "15m")):
            frame = bars[rung].with_columns(pl.col("session_open").to_physical().cast(pl.Float64))
            values = spec.compute({name: frame[name].to_numpy(writable=True) for name in spec.inputs}, settings)
            for row in (3, 50, 400, features.height - 1):
                known = np.flatnonzero((frame["known_at"] <= features["decision_at"][row]).to_numpy())
                expected = values[known[-1]] if known.size else np.nan
                found = features[spec.column(rung)][row]
                assert found == expected or (found is None and np.isnan(expected)), (spec.name, rung, row)


@pytest.mark.parametrize("calendar", MARKETS)
def test_a_row_does_not_change_when_more_bars_arrive(minute_bars, built, settings, calendar):
    features = built[calendar][0]
    minutes = minute_bars(calendar, MARKETS[calendar])
    for row in np.random.default_rng(4).integers(0, features.height, 6):
        as_of = features["decision_at"][int(row)]
        past = build_ladder(minutes.filter(pl.col("known_at") <= as_of), LADDER, as_of=as_of)
        early, _ = build_features(past, settings, "15m", calendar)
        assert early.equals(features.head(int(row) + 1))


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(-0.1, 1.1), calendar=st.sampled_from(list(MARKETS)))
def test_an_update_equals_the_tail_of_a_full_recompute(built, ladders, settings, share, calendar):
    features = built[calendar][0]
    first, last = features["decision_at"][0], features["decision_at"][-1]
    since = first + (last - first) * share
    update, ledger = build_features(ladders[calendar], settings, "15m", calendar, since=since)
    assert update.equals(features.filter(pl.col("decision_at") > since))
    assert ledger.rows_out == update.height


@pytest.mark.parametrize("primary", ["1m", "1h"])
def test_an_update_equals_a_recompute_on_other_primaries(ladders, settings, primary):
    full, _ = build_features(ladders["24/7"], settings, primary, "24/7")
    update, _ = build_features(ladders["24/7"], settings, primary, "24/7", since=full["decision_at"][-9])
    assert update.equals(full.tail(8))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_of_one_family_reads_enough_for_it(ladders, family):
    alone = FeatureSettings(families=(family,), zscore_window=60, zscore_min_periods=20)
    full, _ = build_features(ladders["24/7"], alone, "30m", "24/7")
    for since in full["decision_at"].tail(50):
        update, _ = build_features(ladders["24/7"], alone, "30m", "24/7", since=since)
        assert update.equals(full.filter(pl.col("decision_at") > since))


@pytest.mark.parametrize("calendar", MARKETS)
def test_the_history_needed_is_enough_for_one_decision(built, ladders, settings, calendar):
    need = history_needed(settings, LADDER, "15m")
    for row in (built[calendar][0].height - 1, built[calendar][0].height // 2):
        wanted = built[calendar][0].slice(row, 1)
        at = wanted["decision_at"][0]
        window = {rung: frame.filter(pl.col("known_at") <= at).tail(need[rung]) for rung, frame in ladders[calendar].items()}
        found, _ = build_features(window, settings, "15m", calendar)
        assert found.tail(1).equals(wanted)


def test_the_history_needed_counts_the_zscore():
    default = FeatureSettings(families=("momentum",))
    assert history_needed(default, ("1m", "1h"), "1h") == {"1m": 271 + 499, "1h": 271 + 499}
    assert history_needed(FeatureSettings(families=("calendar",)), ("1h",), "1h") == {"1h": 0}


@pytest.mark.parametrize("block", [100, 701, 10**9])
def test_the_same_bytes_every_time_and_in_blocks_of_any_length(ladders, built, settings, monkeypatch, block):
    monkeypatch.setattr("quant_pipeline.features.compute.BLOCK", block)
    monkeypatch.setattr("quant_pipeline.features.compute.BLOCK_PER_LOOKBACK", 0)
    again, _ = build_features(ladders["24/7"], settings, "15m", "24/7")
    assert again.equals(built["24/7"][0])


def test_without_volume_its_features_are_left_out_and_named(ladders, settings, built):
    bars = {rung: frame.with_columns(volume=pl.lit(None, pl.Float64)) for rung, frame in ladders["24/7"].items()}
    features, ledger = build_features(bars, settings, "15m", "24/7")
    volume = list(columns(FeatureSettings(families=("volume",)), LADDER, "15m"))
    assert ledger.notes["left_out"] == volume
    assert features.equals(built["24/7"][0].drop(volume))


def test_a_null_volume_makes_nulls_not_errors(ladders, settings):
    bars = dict(ladders["24/7"])
    bars["1h"] = bars["1h"].with_columns(volume=pl.when(pl.int_range(pl.len()) == 250).then(None).otherwise("volume"))
    features, _ = build_features(bars, settings, "1h", "24/7")
    hole = features["volume_ratio_1h"].is_null()
    assert hole.arg_true().to_list() == [*range(19), *range(250, 270)]
    assert not features["rsi_1h"][20:].is_null().any()


def test_rows_without_any_value_are_dropped_and_counted(minute_bars):
    bars = build_ladder(minute_bars(missing=0.0), ("1m", "1h"))
    slow = FeatureSettings(families=("statistics", "calendar"))
    features, ledger = build_features({"1h": bars["1h"]}, slow, "1h", "24/7")
    assert ledger.dropped == {"warm_up": 20}
    assert features["timestamp"][0] == bars["1h"]["timestamp"][20]


def test_only_the_calendar_needs_no_warm_up(ladders):
    features, ledger = build_features(ladders["NYSE"], FeatureSettings(families=("calendar",)), "1h", "NYSE")
    assert features.height == ladders["NYSE"]["1h"].height
    assert ledger.dropped == {}


def test_no_new_decision_gives_no_rows_but_every_column(ladders, settings):
    features, ledger = build_features(ladders["24/7"], settings, "1h", "24/7", since=datetime(2030, 1, 1, tzinfo=UTC))
    assert features.is_empty()
    assert features.columns == ["timestamp", "decision_at", *columns(settings, LADDER, "1h")]
    assert ledger.rows_in == 0


def test_rungs_that_start_late_or_hold_nothing(ladders, settings):
    bars = dict(ladders["24/7"])
    bars["5m"] = bars["5m"].clear()
    start = bars["1m"]["timestamp"][0] + timedelta(days=6)
    bars["1m"] = bars["1m"].filter(pl.col("timestamp") >= start)
    features, _ = build_features(bars, settings, "1h", "24/7")
    assert features["rsi_5m"].is_null().all()
    assert features.filter(pl.col("decision_at") <= start)["rsi_1m"].is_null().all()
    assert not features.filter(pl.col("decision_at") > start)["rsi_1m"].is_null().any()


def test_coarser_rungs_than_the_primary_join_as_of_their_close(minute_bars, settings):
    bars = build_ladder(minute_bars("NYSE", 40), ("1m", "1h", "4h", "1d"))
    features, _ = build_features(bars, settings, "1h", "NYSE")
    day = bars["1d"].row(5, named=True)
    before, at = (
        features.filter(pl.col("decision_at") < day["known_at"]).tail(1),
        features.filter(pl.col("decision_at") == day["known_at"]),
    )
    last_close = bars["1d"]["close"][4]
    assert at["return_1d"].item() == pytest.approx(day["close"] / last_close - 1)
    assert before["return_1d"].item() == pytest.approx(last_close / bars["1d"]["close"][3] - 1)


@pytest.mark.parametrize(("value", "column"), [(float("nan"), "close"), (float("inf"), "high"), (0.0, "open"), (-1.0, "volume")])
def test_bars_that_were_not_cleaned_are_refused(ladders, settings, value, column):
    bars = dict(ladders["24/7"])
    frame = bars["1m"]
    bars["1m"] = frame.with_columns(pl.Series(column, [*frame[column][:700], value, *frame[column][701:]]))
    with pytest.raises(DataError, match=rf"bars/1m: {column}: found .* at 2025-03-03 11:.*clean_bars"):
        build_features(bars, settings, "1h", "24/7")


def test_refusals(ladders, settings):
    bars = ladders["24/7"]
    with pytest.raises(DataError, match="the primary rung 4h"):
        build_features(bars, settings, "4h", "24/7")
    with pytest.raises(DataError, match="volume"):
        build_features({"1h": bars["1h"].drop("volume")}, settings, "1h", "24/7")
    with pytest.raises(DataError, match="sorted"):
        build_features({"1h": bars["1h"].reverse()}, settings, "1h", "24/7")
    with pytest.raises(DataError, match="time zone"):
        build_features(bars, settings, "1h", "24/7", since=datetime(2025, 3, 5))  # noqa: DTZ001 - the refusal under test
    with pytest.raises(ConfigError, match="momentum"):
        build_features(bars, FeatureSettings(families=("momentun",)), "1h", "24/7")


def test_a_feature_with_a_hole_is_a_defect_and_stops(ladders, settings, monkeypatch):
    from quant_pipeline.features import momentum, registry

    def holed(given):
        values = momentum.rsi(given)
        values[100] = np.nan
        return values

    spec = next(spec for spec in specs(("momentum",)) if spec.name == "rsi")
    broken = registry.FeatureSpec(**{**{name: getattr(spec, name) for name in spec.__dataclass_fields__}, "function": holed})
    monkeypatch.setitem(registry._REGISTERED, "rsi", broken)
    with pytest.raises(DataError, match="feature rsi_1m"):
        build_features(ladders["24/7"], settings, "1h", "24/7")
