"""Other markets, releases, news and patterns from their sources to the signal: trained, emitted hour by hour, replayed."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_pipeline.bars.build import build_bars
from quant_pipeline.features.registry import columns
from quant_pipeline.inference.context import gather
from quant_pipeline.inference.inputs import decision_features
from quant_pipeline.inference.window import context_start
from quant_pipeline.monitoring.drift import clock_features
from quant_pipeline.orchestration.freshness import stale
from quant_pipeline.orchestration.jobs import live_inputs
from quant_pipeline.orchestration.partitions import fold_key
from quant_pipeline.orchestration.query import ask
from quant_pipeline.orchestration.replaying import replay_symbol
from quant_pipeline.orchestration.runner import fold_partitions

SYMBOL = "BTC-USD"
HOUR = timedelta(hours=1)
HOURS = 3
LIVE = ["raw_bars", "correlated_bars", "raw_news", "news_embeddings", "macro_series"]
TABLES = ["features", "pattern_features", "macro_features", "news_features"]


@pytest.fixture(scope="module")
def house(told_home):
    return told_home.house(as_of=told_home.as_of + (HOURS - 1) * HOUR)


@pytest.fixture(scope="module")
def features(house):
    return pl.read_parquet(house.workplace.lake / "features" / f"{SYMBOL}.parquet")


@pytest.fixture(scope="module")
def records(told_home):
    """The last materialization of every asset that one symbol, or none, is the partition of."""
    with told_home.runner() as runner:
        keys = [key for key in runner.graph.get_all_asset_keys() if key.path[-1] not in {"regimes", "selection"}]
        events = {key.to_user_string(): runner.instance.get_latest_materialization_event(key) for key in keys}
    return {name: event.asset_materialization for name, event in events.items() if event}


def test_every_family_is_in_the_features_and_says_something(house, features):
    settings, others = house.experiment.features, house.symbol(SYMBOL).correlated
    wanted = columns(settings, house.experiment.rungs, house.experiment.primary, others)
    assert set(features.columns) == {"timestamp", "decision_at", *wanted}
    varied = {name for name in wanted if features[name].drop_nulls().n_unique() > 1}
    assert varied >= {"xret_1_GC=F", "xcorr_50_SPY", "macro_cpi_yoy", "news_sentiment_mean_24h", "candle_doji_detected_1h"}
    assert len(varied) > 0.8 * len(wanted)


def test_the_audit_of_all_tables_passed(told_home):
    with told_home.runner() as runner:
        key = dg.AssetCheckKey(dg.AssetKey("feature_audit"), "live_path")
        (record,) = runner.instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert record.status.value == "SUCCEEDED"
    told = record.event.dagster_event.asset_check_evaluation_data.metadata
    assert told["moments"].value > 40
    assert told["kinds"].value["change"] > 10


def test_what_came_in_is_told(records):
    assert set(LIVE) < set(records)
    assert records["correlated_bars"].metadata["missing"].value == {}
    assert min(records["correlated_bars"].metadata["bars"].value.values()) > 200
    assert records["raw_news"].metadata["articles"].value > 100
    assert "repeated" not in records["raw_news"].metadata["ledger"].value["dropped"]
    assert records["news_embeddings"].metadata["encoder"].value == "minilm"


def test_rows_of_other_markets_say_whose_they_are_and_for_whom(house):
    _, rows = ask(house, "select distinct symbol, other from correlated_bars order by other")
    assert rows == [(SYMBOL, other) for other in sorted(house.symbol(SYMBOL).correlated)]
    assert all((house.workplace.raw / name).is_dir() for _, name in rows)


def test_each_fold_has_its_own_regimes_and_choice(told_home, house):
    reports = []
    with told_home.runner() as runner:
        for fold in fold_partitions(house, SYMBOL):
            for name in ("regimes", "selection"):
                wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[fold])
                made = runner.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization.metadata
            reports.append((made["candidates"].value, made["chosen"].value))
    assert len(reports) == 3
    assert all(0 < chosen < candidates for candidates, chosen in reports)
    files = house.workplace.lake.glob(f"regimes/*/{SYMBOL}/regimes.json")
    assert len({path.read_bytes() for path in files}) == 3


def test_the_hourly_job_brings_every_input_up_to_date(told_home, house):
    assert live_inputs(house) == LIVE
    with told_home.runner() as runner:
        runs = runner.instance.get_runs(dg.RunsFilter(job_name="hourly_inference"))
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * HOURS
        for run in runs:
            events = runner.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
            assert {event.asset_key.to_user_string() for event in events} == {*LIVE, "signals"}
    moment = house.workplace.now()
    context = gather(house.desk(), SYMBOL, moment - timedelta(days=3), moment)
    newest = house.source.headlines(SYMBOL, moment - timedelta(days=3), moment)["known_at"].max()
    assert context.news["known_at"].max() == newest > moment - timedelta(days=1)
    assert context.others["GC=F"]["known_at"].max() == moment.replace(minute=0)


def test_hours_of_live_inference_touch_nothing_that_was_trained(told_home, house):
    """What came after the training cutoff is no change to what training read."""
    with told_home.runner(house) as runner:
        keys = [dg.AssetKey(["bars", "1h"]), *map(dg.AssetKey, (*TABLES, "correlated_bars", "labels", "meta_learner", "bundle"))]
        assert stale(house, runner.instance, runner.graph, keys, SYMBOL) == []
        folded = [dg.AssetKey(name) for name in ("regimes", "selection", "oof_predictions")]
        assert stale(house, runner.instance, runner.graph, folded, fold_key(SYMBOL, "holdout")) == []


def test_every_emitted_signal_comes_back_byte_for_byte(house):
    signals = house.signals.read(SYMBOL)
    assert [signal.status for signal in signals] == ["ok"] * HOURS
    assert [signal.fallback for signal in signals] == [None] * HOURS
    told = replay_symbol(house, SYMBOL, None, None)
    assert told["equal"].to_list() == [True] * HOURS, told.to_dicts()


def test_the_models_that_answer_read_what_is_beside_the_bars(house):
    bundle = house.live_bundle(SYMBOL, house.workplace.now())
    prefixes = {name.split("_")[0] for name in bundle.columns}
    assert len(prefixes & {"xret", "xcorr", "xbeta", "xlead", "xspread", "macro", "news", "candle", "smc", "regime"}) >= 4
    assert set(bundle.columns) <= set(bundle.preparation.selection.columns)


def test_a_live_window_gives_the_very_rows_that_training_read(house, features):
    """From the stores, as known then and since `context_start`, through the predictor's path: no bit differs."""
    predictor, experiment, calendar = house.predictor(), house.experiment, house.symbol(SYMBOL).calendar
    task = predictor.task(SYMBOL)
    for row in (-1, -2, -300):
        moment = features["decision_at"][row]
        rungs, _ = build_bars(predictor.raw(task, moment), calendar, experiment.rungs, as_of=moment)
        context = gather(house.desk(), SYMBOL, context_start(experiment, calendar, moment), moment)
        told = decision_features(rungs, context, experiment, calendar).tail(1)
        assert_frame_equal(told.select(features.columns), features[[row]], check_exact=True)


def test_drift_is_measured_on_every_column_of_the_bundle_that_is_no_clock(told_home, house, tmp_path):
    copy = told_home.copy(tmp_path / "home")
    with copy.runner(copy.house(as_of=house.workplace.now())) as runner:
        runner.materialize([dg.AssetKey("drift_report")], SYMBOL)
    table = pl.read_parquet(copy.lake / "drift_report" / f"{SYMBOL}.parquet")
    assert set(table["feature"]) == set(house.live_bundle(SYMBOL, house.workplace.now()).columns) - set(clock_features())


def test_the_gallery_names_every_pattern_by_its_pivot_and_its_confirmation(told_home, tmp_path):
    copy = told_home.copy(tmp_path / "home")
    with copy.runner() as runner:
        runner.materialize([dg.AssetKey("pattern_gallery")], SYMBOL)
    table = pl.read_parquet(copy.lake / "pattern_gallery" / f"{SYMBOL}.parquet")
    bars = pl.read_parquet(copy.lake / "bars" / "1h" / f"{SYMBOL}.parquet")
    assert table["pattern"].n_unique() > 20
    assert table.select((pl.col("start_at") <= pl.col("pivot_at")) & (pl.col("pivot_at") <= pl.col("known_at"))).to_series().all()
    assert table.join(bars, on="known_at", how="anti").is_empty()  # known at the close of a bar
    page = copy.house().workplace.reports / SYMBOL / "pattern_gallery.html"
    assert "SIMULATED" in page.read_text()
    assert page.with_suffix(".png").is_file()


def test_predict_fetches_what_is_new_of_every_input(quant, told_home, house, tmp_path):
    copy = told_home.copy(tmp_path / "home")
    moment = house.workplace.now() + 9 * HOUR
    result = quant(copy, "predict", SYMBOL, "--as-of", moment.isoformat())
    assert result.exit_code == 0, result.output
    later = copy.house(as_of=moment)
    newest = later.source.headlines(SYMBOL, moment - timedelta(days=3), moment)["known_at"].max()
    assert newest > house.workplace.now()  # or the hours between would prove nothing
    assert later.desk().library.articles.read(SYMBOL)["known_at"].max() == newest
    assert later.signals.latest(SYMBOL).status == "ok"
    assert replay_symbol(later, SYMBOL, None, None)["equal"].all()


def test_what_belongs_to_no_symbol_is_made_from_the_shell_too(quant, told_home, tmp_path):
    copy = told_home.copy(tmp_path / "home")
    assert quant(copy, "materialize", f"macro_series/{SYMBOL}").exit_code == 0
