"""One path from bars to signal: what it reads, what changes it and what must not, and every reason to say nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.build import build_bars
from quant_pipeline.bars.schema import PRICES
from quant_pipeline.config.cleaning import Adjustment
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError, DataError, MissingUpstreamError
from quant_pipeline.features.build import build_features
from quant_pipeline.features.context import ALONE, Context
from quant_pipeline.inference.context import gather
from quant_pipeline.inference.predictor import Predictor, Task, data_hash, predict_signal
from quant_pipeline.inference.window import bars_hash, history_window, inputs_hash
from quant_pipeline.risk.portfolio import PortfolioState

AT = datetime(2024, 2, 28, 14, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture(scope="module")
def task(small_experiment):
    return Task("BTC-USD", load_universe().symbols["BTC-USD"], small_experiment, "simulated", True)


@pytest.fixture(scope="module")
def raw(minutes_of):
    return {"1m": minutes_of["BTC-USD"]}


def until(raw, moment):
    return {"1m": raw["1m"].filter(pl.col("timestamp") < moment)}


def test_a_signal_has_every_fact(bundle, raw, task):
    signal = predict_signal(bundle, raw, task, as_of=AT + 5 * MINUTE)
    assert (signal.as_of, signal.decision_at, signal.entry_from, signal.status) == (AT, AT, AT, "ok")
    assert AT - 5 * MINUTE <= signal.last_bar_at <= AT
    assert (signal.symbol, signal.bundle_id, signal.experiment, signal.profile, signal.simulated) == (
        "BTC-USD", "abc123", "small", "simulated", True,
    )  # fmt: skip
    assert signal.p_short + signal.p_neutral + signal.p_long == pytest.approx(1)
    assert len(signal.data_hash) == 32
    assert signal.fallback is None
    assert "net" in signal.reason


def test_hours_without_minutes_that_a_primary_of_quarters_needs_are_said_in_words(bundle, task):
    opens = pl.datetime_range(AT - 9 * HOUR, AT - HOUR, HOUR, eager=True, time_unit="us", time_zone="UTC")
    hours = pl.DataFrame({"timestamp": opens}).with_columns(**{name: pl.lit(100.0) for name in (*PRICES, "volume")})
    quarters = replace(task, experiment=task.experiment.model_copy(update={"primary": "15m"}))
    signal = predict_signal(bundle, {"1h": hours}, quarters, as_of=AT)
    assert signal.status == "failed"
    assert "found 15m, and bars of 1h for BTC-USD" in signal.reason


def test_the_bundle_is_asked_for_its_columns_at_the_decision(bundle, raw, task):
    predict_signal(bundle, raw, task, as_of=AT)
    (view,) = bundle.asked
    assert view.columns == bundle.columns
    assert view.decision_at.to_list() == [AT]


@settings(max_examples=12, deadline=None)
@given(hours=st.integers(0, 200))
def test_live_features_are_the_rows_of_a_full_recompute(make_bundle, raw, task, hours):
    experiment, as_of = task.experiment, AT - hours * HOUR
    bundle = make_bundle(columns=("log_return_1_1h", "atr_1h", "bb_width_15m", "parkinson_25m"))
    predict_signal(bundle, raw, task, as_of=as_of)
    rungs, _ = build_bars(raw, "24/7", experiment.ladder, as_of=AT)
    whole, _ = build_features(rungs, experiment.features, experiment.primary, "24/7")
    wanted = whole.filter(pl.col("decision_at") == as_of).select(bundle.columns).to_numpy().astype(np.float32)
    assert np.array_equal(bundle.asked[0].values, wanted)


BESIDE = (
    "xret_5_ETH-USD", "xcorr_50_ETH-USD", "xspread_z_ETH-USD", "xage_ETH-USD", "xknown_SPY", "news_attention",
    "news_sentiment_mean_24h", "news_age", "macro_treasury_10y", "macro_unemployment", "log_return_1_1h",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(read_only_news_desk, raw):
    """FEATURES of every decision, from the whole context at once, as training builds them."""
    experiment = read_only_news_desk.experiment
    rungs, _ = build_bars(raw, "24/7", experiment.ladder, as_of=AT)
    context = gather(read_only_news_desk, "BTC-USD", raw["1m"]["timestamp"][0], AT)
    return build_features(rungs, experiment.features, experiment.primary, "24/7", context=context)[0]


@settings(max_examples=10, deadline=None)
@given(hours=st.integers(0, 200))
def test_live_features_of_other_tables_are_the_rows_of_a_full_recompute(read_only_news_desk, make_bundle, whole, hours):
    bundle, as_of = make_bundle(columns=BESIDE), AT - hours * HOUR
    signal = Predictor(read_only_news_desk, profile="simulated", simulated=True).signal("BTC-USD", bundle, as_of)
    assert signal.status == "ok", signal.reason
    row = whole.filter(pl.col("decision_at") == as_of).select(BESIDE)
    assert np.array_equal(bundle.asked[0].values, row.to_numpy().astype(np.float32), equal_nan=True)
    assert row.drop("xknown_SPY").null_count().sum_horizontal().item() == 0


def test_what_becomes_known_later_changes_no_signal(news_desk, make_bundle, make_headlines, make_releases):
    predictor = Predictor(news_desk, profile="simulated", simulated=True)
    before = predictor.signal("BTC-USD", make_bundle(columns=BESIDE), AT)
    later = AT + MINUTE
    news_desk.library.articles.append("BTC-USD", make_headlines([(later, "too late, and never embedded")]), later, backfill=True)
    news_desk.library.releases.append(make_releases([("DGS10", later, 9.9)]), later)
    assert predictor.signal("BTC-USD", make_bundle(columns=BESIDE), AT + 5 * MINUTE).says(before)
    news_desk.library.releases.append(make_releases([("DGS2", AT - HOUR, 9.9)]), later)
    assert predictor.signal("BTC-USD", make_bundle(columns=BESIDE), AT).data_hash != before.data_hash


def test_an_article_that_was_never_embedded_is_an_error_not_a_guess(news_desk, make_bundle, make_headlines):
    news_desk.library.articles.append("BTC-USD", make_headlines([(AT - HOUR, "nobody scored this")]), AT, backfill=True)
    predictor, bundle = Predictor(news_desk, profile="simulated", simulated=True), make_bundle(columns=BESIDE)
    with pytest.raises(MissingUpstreamError, match="nobody scored this"):
        predictor.signal("BTC-USD", bundle, AT)
    assert not bundle.asked


def test_a_table_that_is_absent_is_a_missing_feature_not_a_zero(read_only_news_desk, make_bundle):
    bare = read_only_news_desk._replace(library=type(read_only_news_desk.library)())
    signal = Predictor(bare, profile="simulated", simulated=True).signal("BTC-USD", make_bundle(columns=BESIDE), AT)
    assert (signal.status, signal.action) == ("failed", 0)
    assert "news_attention" in signal.reason


def test_the_hash_of_the_data_covers_the_bars_and_all_that_is_beside_them(read_only_news_desk, raw):
    context = gather(read_only_news_desk, "BTC-USD", AT - 100 * HOUR, AT)
    less = Context(context.others, context.news.head(-1), context.releases)
    assert data_hash(raw, ALONE) == bars_hash(raw)
    assert len({data_hash(raw, each) for each in (ALONE, context, less)} | {data_hash(until(raw, AT), context)}) == 4
    assert data_hash(raw, gather(read_only_news_desk, "BTC-USD", AT - 100 * HOUR, AT)) == data_hash(raw, context)
    assert len(data_hash(raw, context)) == 32


@settings(max_examples=15, deadline=None)
@given(late=st.integers(0, 59), extra=st.integers(0, 600))
def test_only_bars_of_the_window_count(make_bundle, raw, task, late, extra):
    bundle, rng = make_bundle(), np.random.default_rng(extra)
    wanted = predict_signal(bundle, until(raw, AT), task, as_of=AT)
    start = AT.replace(hour=0) - history_window(task.experiment, "24/7")
    noise = pl.when((pl.col("timestamp") >= AT) | (pl.col("timestamp") < start)).then(float(rng.uniform(0.5, 2))).otherwise(1.0)
    other = raw["1m"].with_columns(pl.col("open", "high", "low", "close") * noise)
    shuffled = {"1m": until({"1m": other}, AT + extra * MINUTE)["1m"]}
    again = predict_signal(bundle, shuffled, task, as_of=AT + late * MINUTE)
    assert again.canonical() == wanted.canonical()


def test_one_changed_bar_inside_the_window_shows_in_the_hash(bundle, raw, task):
    inside = pl.when(pl.col("timestamp") == AT - 700 * MINUTE).then(pl.col("volume") + 1).otherwise(pl.col("volume"))
    changed = {"1m": raw["1m"].with_columns(volume=inside)}
    first, second = (predict_signal(bundle, bars, task, as_of=AT) for bars in (raw, changed))
    assert first.data_hash != second.data_hash


def test_stale_bars_say_nothing_and_say_so(bundle, raw, task):
    signal = predict_signal(bundle, until(raw, AT - 3 * HOUR), task, as_of=AT)
    assert (signal.status, signal.action, signal.position_size, signal.p_long) == ("stale", 0, 0.0, None)
    assert signal.reason == (
        "the newest bar closed 2024-02-28 11:00 UTC, 3 h of session time before the decision; at most 5 min is allowed "
        "(signal.max_staleness)"
    )
    assert signal.decision_at == AT - 3 * HOUR
    assert not bundle.asked


def test_a_bar_whose_last_minutes_never_came_is_as_old_as_the_newest_minute(bundle, raw, task):
    signal = predict_signal(bundle, until(raw, AT - 2 * HOUR - 30 * MINUTE), task, as_of=AT)
    assert (signal.status, signal.decision_at, signal.last_bar_at) == ("stale", AT - 2 * HOUR, AT - 2 * HOUR - 30 * MINUTE)


def full(raw):
    """Every minute up to `AT`: those that the walk lacks are told as their neighbours."""
    return {"1m": raw["1m"].upsample("timestamp", every="1m").fill_null(strategy="forward")}


@pytest.mark.parametrize(("late", "status"), [(0, "ok"), (5, "ok"), (6, "stale"), (10, "stale"), (40, "stale")])
def test_the_minutes_must_reach_the_close_of_the_bar(bundle, raw, task, late, status):
    signal = predict_signal(bundle, until(full(raw), AT - late * MINUTE), task, as_of=AT)
    assert (signal.status, signal.as_of, signal.decision_at) == (status, AT, AT)
    assert signal.last_bar_at == AT - late * MINUTE


def test_how_late_a_minute_may_be_is_a_setting(bundle, raw, task):
    patient = task.experiment.signal.model_copy(update={"max_staleness": 2 * HOUR})
    task = replace(task, experiment=task.experiment.model_copy(update={"signal": patient}))
    signal = predict_signal(bundle, until(full(raw), AT - 2 * HOUR), task, as_of=AT)
    assert (signal.status, signal.as_of, signal.decision_at) == ("ok", AT, AT - 2 * HOUR)


@pytest.mark.parametrize(
    ("begin", "end", "status"),
    [(-40, -25, "ok"), (-40, -24, "stale"), (-60, -45, "ok"), (-60, -44, "stale"), (-75, -45, "ok"), (-120, -61, "ok")],
)
def test_a_hole_inside_the_newest_bar_is_a_partial_bar(bundle, raw, task, begin, end, status):
    hole = pl.col("timestamp").is_between(AT + begin * MINUTE, AT + end * MINUTE, closed="left")
    bars = {"1m": full(raw)["1m"].filter(~hole)}
    signal = predict_signal(bundle, bars, task, as_of=AT)
    assert (signal.status, "a hole in the feed" in signal.reason) == (status, status == "stale")


def test_a_bar_that_begins_with_its_session_has_no_hole_before_it(bundle, raw, small_experiment):
    gold = Task("GC=F", load_universe().symbols["GC=F"], small_experiment, "yahoo", False)
    sunday = datetime(2024, 2, 26, 0, tzinfo=UTC)  # an hour after the open
    assert predict_signal(bundle, until(full(raw), sunday), gold, as_of=sunday).status == "ok"


def test_a_file_that_ended_long_ago_is_stale_and_says_how_to_pin_the_clock(bundle, raw, task):
    task = replace(task, profile="files")
    for later in (timedelta(days=10), timedelta(days=700)):
        signal = predict_signal(bundle, until(raw, AT), task, as_of=AT + later)
        assert (signal.status, signal.action, signal.last_bar_at) == ("stale", 0, AT)
        assert "--as-of 2024-02-28T14:00:00+00:00" in signal.reason


def test_staleness_counts_session_time_only(bundle, raw, small_experiment):
    gold = load_universe().symbols["GC=F"]
    task = Task("GC=F", gold, small_experiment, "files", False)
    friday_evening = datetime(2024, 2, 23, 22, tzinfo=UTC)
    saturday = predict_signal(bundle, until(raw, friday_evening), task, as_of=datetime(2024, 2, 24, 12, tzinfo=UTC))
    assert (saturday.status, saturday.as_of, saturday.entry_from) == ("ok", friday_evening, datetime(2024, 2, 25, 23, tzinfo=UTC))
    assert predict_signal(bundle, raw, task, as_of=datetime(2024, 2, 24, 12, tzinfo=UTC)).canonical() == saturday.canonical()
    monday = predict_signal(bundle, until(raw, friday_evening), task, as_of=datetime(2024, 2, 26, 2, 5, tzinfo=UTC))
    assert monday.status == "stale"


@pytest.mark.parametrize("empty", [{}, {"1m": pl.DataFrame()}])
def test_no_bars(bundle, raw, task, empty):
    bars = {name: raw["1m"].clear() for name in empty}
    signal = predict_signal(bundle, bars, task, as_of=AT)
    assert (signal.status, signal.data_hash, signal.decision_at) == ("no_data", None, None)
    early = predict_signal(
        bundle, until(raw, raw["1m"]["timestamp"][0] + 30 * MINUTE), task, as_of=raw["1m"]["timestamp"][0] + HOUR
    )
    assert early.action == 0


def test_unusable_bars(bundle, raw, task):
    broken = {"1m": raw["1m"].with_columns(close=pl.lit(float("nan")))}
    signal = predict_signal(bundle, broken, task, as_of=AT)
    assert signal.status == "no_data"
    assert "usable" in signal.reason


def halved(raw, since):
    prices = [pl.when(pl.col("timestamp") >= since).then(pl.col(name) / 2).otherwise(name).alias(name) for name in PRICES]
    return {"1m": raw["1m"].with_columns(prices)}


def test_a_split_is_not_answered_until_it_is_declared_and_then_changes_nothing(bundle, raw, task):
    split = halved(raw, AT.replace(hour=0))
    signal = predict_signal(bundle, split, task, as_of=AT)
    assert (signal.status, signal.action) == ("failed", 0)
    assert "BTC-USD: bars: found a jump at the session of 2024-02-28" in signal.reason
    assert 'adjustments: [{date: 2024-02-28, ratio: "2:1"}]' in signal.reason
    adjusted = {"adjustments": (Adjustment(date=AT.date(), ratio=2.0),)}
    declared = replace(task, instrument=task.instrument.model_copy(update=adjusted))
    told, wanted = predict_signal(bundle, split, declared, as_of=AT), predict_signal(bundle, raw, task, as_of=AT)
    assert (told.status, told.p_long, told.action) == ("ok", wanted.p_long, wanted.action)


def test_a_window_that_loses_many_rows_is_still_answered(bundle, raw, task):
    """Limits are for training: a week of rows that cannot be used must not silence every signal."""
    week = pl.col("timestamp") < AT - timedelta(days=2)
    spoilt = {
        "1m": raw["1m"].with_columns(low=pl.when(week & (pl.col("timestamp").dt.minute() < 30)).then(None).otherwise("low"))
    }
    assert predict_signal(bundle, spoilt, task, as_of=AT).status == "ok"


def test_no_bundle(raw, task):
    signal = predict_signal(None, raw, task, as_of=AT)
    assert (signal.status, signal.bundle_id, signal.reason) == ("no_model", None, "no bundle is live: quant train BTC-USD")
    assert signal.data_hash


def test_a_missing_feature_is_named_and_never_made_up(bundle, raw, task):
    bundle.columns = (*bundle.columns, "order_flow_1h")
    signal = predict_signal(bundle, raw, task, as_of=AT)
    assert (signal.status, signal.action) == ("failed", 0)
    assert "order_flow_1h" in signal.reason
    assert not bundle.asked


def test_longer_bars_than_those_of_training_are_named_with_the_way_out_and_no_traceback(make_bundle, task, caplog):
    opens = pl.datetime_range(AT - 900 * HOUR, AT - HOUR, HOUR, eager=True, time_unit="us", time_zone="UTC")
    hours = pl.DataFrame({"timestamp": opens}).with_columns(**{name: pl.lit(100.0) for name in (*PRICES, "volume")})
    trained = make_bundle(columns=("log_return_1_1h", "log_return_1_1m", "log_return_1_15m"))
    signal = predict_signal(trained, {"1h": hours}, task, as_of=AT)
    assert (signal.status, signal.action) == ("failed", 0)
    assert "bars of 1h, which give no 1m, 15m: no log_return_1_1m, log_return_1_15m (2 absent)" in signal.reason
    assert "bring bars of 1m back, or train without them: quant train BTC-USD" in signal.reason
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_features_of_other_settings_are_refused(bundle, raw, task):
    bundle.manifest["inputs_hash"] = inputs_hash(task.experiment)
    assert predict_signal(bundle, raw, task, as_of=AT).status == "ok"
    bundle.manifest["inputs_hash"] = "0" * 16
    signal = predict_signal(bundle, raw, task, as_of=AT)
    assert (signal.status, signal.reason) == ("failed", "the bundle was trained with other feature settings: quant train BTC-USD")


def test_the_fallback_answers_and_says_so(bundle, raw, task):
    bundle.fails = "logistic"
    signal = predict_signal(bundle, raw, task, as_of=AT)
    assert (signal.status, signal.fallback) == ("ok", "logistic")
    assert "fallback logistic: lightgbm: out of memory" in signal.reason


@pytest.mark.parametrize("fails", ["class_priors", "error"])
def test_without_any_model_nothing_is_done(bundle, raw, task, fails):
    bundle.fails = fails
    signal = predict_signal(bundle, raw, task, as_of=AT)
    assert (signal.status, signal.action) == ("failed", 0)


def test_an_unforeseen_error_is_not_hidden(bundle, raw, task, monkeypatch):
    monkeypatch.setattr(type(bundle), "predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict_signal(bundle, raw, task, as_of=AT)


def test_a_naive_moment_is_refused(bundle, raw, task):
    with pytest.raises(DataError, match="time zone"):
        predict_signal(bundle, raw, task, as_of=AT.replace(tzinfo=None))


def test_breakers_reach_the_signal(bundle, raw, task):
    acting = next(at for at in (AT - hours * HOUR for hours in range(200)) if predict_signal(bundle, raw, task, as_of=at).action)
    signal = predict_signal(bundle, raw, task, as_of=acting, state=PortfolioState(equity=0.9))
    assert (signal.action, signal.breakers) == (0, ("daily_loss",))


def test_the_predictor_reads_exactly_the_window(bundle, raw, task, desk):
    predictor = Predictor(desk, profile="simulated", simulated=True)
    assert predictor.signal("BTC-USD", bundle, AT + 7 * MINUTE).says(predict_signal(bundle, raw, task, as_of=AT))
    read = predictor.raw(predictor.task("BTC-USD"), AT)["1m"]["timestamp"]
    assert read.max() < AT
    assert read.min() == AT.replace(hour=0) - history_window(desk.experiment, "24/7")
    with pytest.raises(ConfigError, match="DOGE"):
        predictor.signal("DOGE", bundle, AT)
