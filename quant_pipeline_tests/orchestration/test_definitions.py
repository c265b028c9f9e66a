from __future__ import annotations

import json
import subprocess
import sys

import pytest

from quant_pipeline.config.timeframes import LADDER
from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import ConfigError

ASSETS = {
    "ingest": {"raw_bars"},
    "bars": {f"bars/{rung}" for rung in LADDER},
    "features": {"features"},
    "labels": {"barriers", "labels", "sample_weights"},
    "splits": {"splits"},
    "models": {"models/lightgbm", "models/xgboost", "models/logistic", "oof_predictions"},
    "ensemble": {"meta_learner"},
    "deploy": {"bundle", "champion"},
    "reports": {"skill_report", "backtest", "drift_report"},
    "signals": {"signals"},
}
CHECKS = {("features", "prefix_audit"), ("meta_learner", "oof_integrity")}
LOOK = """
import json, sys, time
start = time.process_time()
import quant_pipeline.definitions
spent = time.process_time() - start
heavy = {"torch", "transformers", "lightgbm", "xgboost", "sklearn", "matplotlib", "yfinance", "optuna", "pandera"}
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
        assert node.partitions_def is not None, name


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
    assert {sensor.name for sensor in defs.sensors} == {"run_failure_alert", "new_signal_alert", "drift_retrain"}
    assert all(sensor.default_status.value == "RUNNING" for sensor in defs.sensors)
    assert all(thing.description for thing in (*defs.schedules, *defs.sensors))


def test_only_ingest_waits_for_the_source_pool(defs):
    pools = {node.name: node.pool for definition in defs.assets for node in [definition.op]}
    assert pools.pop("raw_bars") == "source_simulated"
    assert set(pools.values()) == {None}


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
