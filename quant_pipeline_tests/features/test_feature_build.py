"""build_features: the as-of join, warm-up, updates, live windows, what lies beside the bars, what is absent, refusals."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.bars.schema import RUNG_SCHEMA
from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.config.timeframes import LADDER, minutes
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.features import macro, news
from quant_pipeline.features.build import build_features, history_needed
from quant_pipeline.features.context import Context
from quant_pipeline.features.registry import FAMILIES, columns, placed, specs

MINUTE = timedelta(minutes=1)
PRICES = ("open", "high", "low", "close", "volume")
RUNGS = (*LADDER, "4h", "1d")
OTHER = ("STEADY", "PATCHY")
MARKETS = {"24/7": 24, "NYSE": 33, "CMEGlobex_GC": 24}
"""Calendar days per calendar: finer rungs outgrow the longest memory, the 1h rung of NYSE stays within it."""


@pytest.fixture(scope="module")
def ladders(minute_bars):
    return {name: build_ladder(minute_bars(name, days), RUNGS) for name, days in MARKETS.items()}


@pytest.fixture(scope="module")
def beside(context):
    return {name: context("15m", days) for name, days in MARKETS.items()}


@pytest.fixture(scope="module")
def built(ladders, beside, settings):
    return {name: build_features(ladders[name], settings, "15m", name, context=beside[name]) for name in MARKETS}


def _alone(*families: str) -> FeatureSettings:
    return FeatureSettings(families=families, zscore_window=60, zscore_min_periods=20, coarse=("4h", "1d"))


@pytest.mark.parametrize("calendar", MARKETS)
def test_shape_names_and_nulls(built, ladders, settings, calendar):
    features, ledger = built[calendar]
    assert features.columns == ["timestamp", "decision_at", *columns(settings, RUNGS, "15m", OTHER)]
    assert (ledger.notes["left_out"], "missing" in ledger.notes) == ([], False)
    assert features.height == ledger.rows_out == ladders[calendar]["15m"].height - ledger.dropped.get("warm_up", 0)
    assert set(features.dtypes[2:]) == {pl.Float64}
    values = features.drop("timestamp", "decision_at")
    assert np.isfinite(values.fill_null(0.0).to_numpy()).all()
    holed = {column.name for column in values if column.is_null()[column.null_count() :].any()}  # other nulls are warm-up
    assert {name.rpartition("_")[2] for name in holed} == {"PATCHY"}
    empty = {column.name for column in values if column.null_count() == len(column)}
    assert set(ledger.notes["empty"]) == empty
    assert empty == {"24/7": set(), "CMEGlobex_GC": {"mtf_bias_1d"}}.get(calendar, empty), "or nothing is tested"


def test_each_value_is_that_of_the_last_bar_known_at_the_decision(built, ladders, settings):
    features, bars = built["CMEGlobex_GC"][0], ladders["CMEGlobex_GC"]
    raw: dict = {}
    for spec, rung in placed(settings, RUNGS, "15m"):
        if not spec.on_bars:
            continue
        at = pl.col("timestamp", "session_open").to_physical().cast(pl.Float64)
        block = pl.col("timestamp").dt.epoch("s") // (128 * minutes(rung) * 60)
        frame = bars[rung].with_columns(at, anchor=block.cast(pl.Float64))
        if (rung, spec.function) not in raw:
            raw[rung, spec.function] = spec.function({name: frame[name].to_numpy(writable=True) for name in spec.inputs})
        values = spec.finish(raw[rung, spec.function], settings)
        for row in (3, 50, 400, features.height - 1):
            known = np.flatnonzero((frame["known_at"] <= features["decision_at"][row]).to_numpy())
            expected = values[known[-1]] if known.size else np.nan
            found = features[spec.column(rung)][row]
            assert found == expected or (found is None and np.isnan(expected)), (spec.name, rung, row)


@pytest.mark.parametrize("calendar", MARKETS)
def test_another_market_is_read_as_of_the_close_of_each_primary_bar(built, ladders, beside, settings, calendar):
    features, own = built[calendar][0], ladders[calendar]["15m"]
    known_at = own["known_at"].to_list()
    for symbol, bars in beside[calendar].others.items():
        known = bars["known_at"].to_list()
        newest = [bisect_right(known, moment) - 1 for moment in known_at]
        ages = [known_at[i] - known[row] if row >= 0 else timedelta.max for i, row in enumerate(newest)]
        there = np.array([age <= settings.others_max_age for age in ages])
        given = {f"other_{name}": np.where(there, bars[name].to_numpy()[newest], np.nan) for name in PRICES}
        given |= {name: own[name].to_numpy() for name in PRICES}
        given["other_age"] = np.array([age / MINUTE if fine else np.nan for age, fine in zip(ages, there, strict=True)])
        assert there.all() == (symbol == "STEADY")
        for spec in specs(("cross_asset",)):
            expected = spec.compute({name: given[name] for name in spec.inputs}, settings)[own.height - features.height :]
            np.testing.assert_array_equal(features[spec.column(symbol)].fill_null(np.nan), expected, spec.name)


@pytest.mark.parametrize(("family", "module", "table"), [("macro", macro, "releases"), ("news", news, "news")])
def test_releases_and_news_are_those_known_at_the_decision(built, beside, settings, family, module, table):
    features, _ = built["CMEGlobex_GC"]
    rows = getattr(beside["CMEGlobex_GC"], table)
    for row in np.random.default_rng(8).integers(0, features.height, 25):
        decision = features[int(row)].select("timestamp", "decision_at")
        known = module.columns(decision, rows.filter(pl.col("known_at") <= decision["decision_at"].item()))
        for spec in specs((family,)):
            expected = spec.compute({name: known[name] for name in spec.inputs}, settings).item()
            assert features[spec.name][int(row)] == expected or (features[spec.name][int(row)] is None and np.isnan(expected))
    changing = [spec.name for spec in specs((family,)) if features[spec.name].n_unique() > 5]
    assert len(changing) > 5, "the tables must have something to say while the bars run"


def test_derived_features_are_made_of_other_columns_whether_or_not_those_are_wanted(ladders, built, settings):
    everything = built["24/7"][0]
    only, ledger = build_features(ladders["24/7"], _alone("interactions"), "15m", "24/7")
    names = [spec.name for spec in specs(("interactions",))]
    assert only.columns == ["timestamp", "decision_at", *names]
    assert ledger.notes["left_out"] == []
    assert only.equals(everything.select(only.columns).tail(only.height))
    for spec in specs(("interactions",)):
        made = spec.compute({name: everything[name].fill_null(np.nan).to_numpy() for name in spec.inputs}, settings)
        np.testing.assert_array_equal(everything[spec.name].fill_null(np.nan), made, spec.name)


def test_derived_features_are_left_out_where_a_rung_is_absent(ladders, built):
    bars = {rung: frame for rung, frame in ladders["24/7"].items() if rung != "5m"}
    some, ledger = build_features(bars, _alone("interactions"), "15m", "24/7")
    lost = [spec.name for spec in specs(("interactions",)) if any(name.endswith("_5m") for name in spec.inputs)]
    assert lost
    assert ledger.notes["left_out"] == lost
    assert some.equals(built["24/7"][0].select(some.columns).tail(some.height))
    assert set(some.columns[2:]) == {spec.name for spec in specs(("interactions",))} - set(lost)


def test_without_tables_their_features_are_left_out_and_named(ladders, built, settings):
    features, ledger = build_features(ladders["24/7"], settings, "15m", "24/7")
    tables = [spec.name for spec in specs(("macro", "news"))]
    assert ledger.notes["left_out"] == tables
    others = [spec.column(symbol) for symbol in OTHER for spec in specs(("cross_asset",))]
    assert features.equals(built["24/7"][0].drop(tables, others))


def test_a_symbol_without_bars_is_masked_and_reported(ladders, beside, built, settings):
    given = beside["24/7"]
    without = Context(given.others | {"GONE": pl.DataFrame(schema=RUNG_SCHEMA)}, given.news, given.releases)
    features, ledger = build_features(ladders["24/7"], settings, "15m", "24/7", context=without)
    assert (ledger.notes["left_out"], ledger.notes["missing"]) == ([], ["GONE"])
    gone = features.select(spec.column("GONE") for spec in specs(("cross_asset",)))
    assert set(gone.columns) - set(ledger.notes["empty"]) == {"xknown_GONE", "xage_GONE"}
    assert {name for name in gone.columns if gone[name].null_count() < gone.height} == {"xknown_GONE", "xage_GONE"}
    assert (gone["xknown_GONE"] == 0).all()
    assert features.drop(gone.columns).equals(built["24/7"][0])


def test_coarse_rungs_carry_only_the_features_that_name_them(built, ladders, beside, settings):
    plain = settings.model_copy(update={"coarse": ()})
    more, _ = build_features(ladders["24/7"], plain, "15m", "24/7", context=beside["24/7"])
    features = built["24/7"][0]
    assert {"rsi_4h", "return_1d", "ch_close_1h", "mtf_bias_4h"} <= set(more.columns)
    assert [name for name in features.columns if name.endswith(("_4h", "_1d"))] == ["mtf_bias_4h", "mtf_bias_1d"]
    assert more.select(features.columns).equals(features)


@pytest.mark.parametrize("calendar", MARKETS)
def test_a_row_does_not_change_when_more_bars_arrive(minute_bars, built, beside, settings, calendar):
    features = built[calendar][0]
    minutes = minute_bars(calendar, MARKETS[calendar])
    for row in np.random.default_rng(4).integers(0, features.height, 6):
        as_of = features["decision_at"][int(row)]
        past = build_ladder(minutes.filter(pl.col("known_at") <= as_of), RUNGS, as_of=as_of)
        early, _ = build_features(past, settings, "15m", calendar, context=beside[calendar].until(as_of))
        assert early.equals(features.head(int(row) + 1))


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(-0.1, 1.1), calendar=st.sampled_from(list(MARKETS)))
def test_an_update_equals_the_tail_of_a_full_recompute(built, ladders, beside, settings, share, calendar):
    features = built[calendar][0]
    first, last = features["decision_at"][0], features["decision_at"][-1]
    since = first + (last - first) * share
    update, ledger = build_features(ladders[calendar], settings, "15m", calendar, since=since, context=beside[calendar])
    assert update.equals(features.filter(pl.col("decision_at") > since))
    assert ledger.rows_out == update.height


@pytest.mark.parametrize("primary", ["1m", "1h"])
def test_an_update_equals_a_recompute_on_other_primaries(ladders, context, settings, primary):
    beside = context(primary, MARKETS["24/7"])
    full, _ = build_features(ladders["24/7"], settings, primary, "24/7", context=beside)
    since = full["decision_at"][-9]
    update, _ = build_features(ladders["24/7"], settings, primary, "24/7", since=since, context=beside)
    assert update.equals(full.tail(8))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_of_one_family_reads_enough_for_it(ladders, context, family):
    full, _ = build_features(ladders["NYSE"], _alone(family), "5m", "NYSE", context=context("5m", 33))
    assert full.width > 2
    for since in full["decision_at"].tail(50):
        update, _ = build_features(ladders["NYSE"], _alone(family), "5m", "NYSE", since=since, context=context("5m", 33))
        assert update.equals(full.filter(pl.col("decision_at") > since))


@pytest.mark.parametrize("calendar", MARKETS)
def test_the_history_needed_is_enough_for_one_decision(built, ladders, beside, settings, calendar):
    need = history_needed(settings, RUNGS, "15m")
    for row in (built[calendar][0].height - 1, built[calendar][0].height // 2):
        wanted = built[calendar][0].slice(row, 1)
        at = wanted["decision_at"][0]
        window = {rung: frame.filter(pl.col("known_at") <= at).tail(need[rung]) for rung, frame in ladders[calendar].items()}
        start = window["15m"]["known_at"][0]
        near = beside[calendar].until(at)
        others = {name: bars.filter(pl.col("known_at") >= start - settings.others_max_age) for name, bars in near.others.items()}
        articles = near.news.filter(pl.col("known_at") > at - news.REACH)
        read = Context(others, articles, near.releases)
        found, _ = build_features(window, settings, "15m", calendar, context=read)
        assert found.tail(1).equals(wanted)


def test_the_history_needed_counts_the_zscore():
    default = FeatureSettings(families=("momentum",))
    assert history_needed(default, ("1m", "1h"), "1h") == {"1m": 271 + 499, "1h": 271 + 499}
    assert history_needed(FeatureSettings(families=("calendar",)), ("1h",), "1h") == {"1h": 0}


def test_the_history_needed_counts_other_markets_and_the_inputs_of_derived_features():
    pairs = max(spec.bars_needed("1h", FeatureSettings(families=())) for spec in specs(("cross_asset",)))
    assert history_needed(FeatureSettings(families=("cross_asset",)), ("1m", "1h"), "1h") == {"1m": 0, "1h": pairs}
    derived = history_needed(FeatureSettings(families=("interactions",)), ("1m", "10m", "1h"), "1h")
    assert derived["10m"] == 0 < derived["1m"] <= derived["1h"]


@pytest.mark.parametrize("block", [100, 701, 10**9])
def test_the_same_bytes_every_time_and_in_blocks_of_any_length(ladders, beside, built, settings, monkeypatch, block):
    monkeypatch.setattr("quant_pipeline.features.compute.BLOCK", block)
    monkeypatch.setattr("quant_pipeline.features.compute.BLOCK_PER_LOOKBACK", 0)
    again, _ = build_features(ladders["24/7"], settings, "15m", "24/7", context=beside["24/7"])
    assert again.equals(built["24/7"][0])


def test_without_volume_its_features_are_left_out_and_named(ladders, beside, settings, built):
    bars = {rung: frame.with_columns(volume=pl.lit(None, pl.Float64)) for rung, frame in ladders["24/7"].items()}
    features, ledger = build_features(bars, settings, "15m", "24/7", context=beside["24/7"])
    volume = [spec.column(rung) for spec, rung in placed(settings, RUNGS, "15m") if spec.needs_volume]
    assert {"obv_1m", "micro_amihud_1m", "mfi_5m", "ch_obv_1h"} <= set(volume)
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


def test_no_new_decision_gives_no_rows_but_every_column(ladders, context, settings):
    never = datetime(2030, 1, 1, tzinfo=UTC)
    features, ledger = build_features(ladders["24/7"], settings, "1h", "24/7", since=never, context=context("1h"))
    assert features.is_empty()
    assert features.columns == ["timestamp", "decision_at", *columns(settings, RUNGS, "1h", OTHER)]
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


def test_coarser_rungs_than_the_primary_join_as_of_their_close(minute_bars):
    settings = FeatureSettings(families=("returns", "momentum"))
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
    with pytest.raises(DataError, match="the primary rung 2h"):
        build_features(bars, settings, "2h", "24/7")
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
