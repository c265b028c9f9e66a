from __future__ import annotations

from datetime import time, timedelta

import pytest
import yaml

from quant_pipeline.config.experiment import EXPERIMENTS, Experiment, SplitSettings, experiment_path, load_experiment
from quant_pipeline.errors import ConfigError

LEAST = {"name": "least", "features": {"families": ["returns"]}, "models": [{"name": "logistic"}]}


def parse(**changed: object) -> Experiment:
    return Experiment.parse({**LEAST, **changed}, "mine.yaml")


def test_every_shipped_experiment_loads_under_its_file_name():
    for path in EXPERIMENTS.glob("*.yaml"):
        assert load_experiment(path.stem).name == path.stem


def test_the_default_file_writes_out_every_setting():
    """Whoever copies it sees all there is to change."""
    written = yaml.safe_load((EXPERIMENTS / "default.yaml").read_text())
    model = load_experiment("default").model_dump()
    assert set(model) - {"name"} == set(written)
    for key, value in model.items():
        if isinstance(value, dict):
            assert set(value) == set(written[key]), key


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"seed": -1}, "seed"),
        ({"history_days": 3}, "history_days"),
        ({"primary": "90x"}, "primary"),
        ({"labels": {"tp_atr": 0}}, "labels.tp_atr"),
        ({"labels": {"max_bars": 0}}, "labels.max_bars"),
        ({"labels": {"side": "short"}}, "labels.side"),
        ({"splits": {"scheme": "random"}}, "splits.scheme"),
        ({"splits": {"folds": 1}}, "splits.folds"),
        ({"splits": {"embargo": "soon"}}, "splits.embargo"),
        ({"splits": {"first_train": 1.0}}, "splits.first_train"),
        ({"features": {"families": ["returns"], "zscore_window": 1}}, "features.zscore_window"),
        ({"features": {"families": ["returns"], "coarse": ["1x"]}}, "features.coarse.0"),
        ({"features": {"families": ["returns"], "others_max_age": "old"}}, "features.others_max_age"),
        ({"features": {"families": ["returns"], "zscore_window": 10**12}}, "features.zscore_window"),
        ({"drift": {"recent_bars": 10**12}}, "drift.recent_bars"),
        ({"news": {"encoder": ""}}, "news.encoder"),
        ({"foundation": {"model": ""}}, "foundation.model"),
        ({"regime_states": 1}, "regime_states"),
        ({"selection": {"correlation": 0}}, "selection.correlation"),
        ({"selection": {"folds": 1}}, "selection.folds"),
        ({"selection": {"embargo": "soon"}}, "selection.embargo"),
        ({"selection": {"min_features": 9, "max_features": 8}}, "selection"),
        ({"news": {"delay": "late"}}, "news.delay"),
        ({"macro": {"hours": {"CPIAUCSL": "8 am"}}}, "macro.hours.CPIAUCSL"),
        ({"foundation": {"context": 1}}, "foundation.context"),
        ({"simulated": {"news_effect": 1}}, "simulated.news_effect"),
        ({"models": []}, "models"),
        ({"ensemble": {"alpha": 0.01}}, "ensemble.alpha"),
        ({"calibration": {"methods": ["platt"]}}, "calibration.methods.0"),
        ({"signal": {"min_confidence": -0.1}}, "signal.min_confidence"),
        ({"drift": {"share": 0}}, "drift.share"),
    ],
)
def test_an_impossible_value_is_refused_with_its_place(changed, place):
    with pytest.raises(ConfigError, match=f"mine.yaml: {place}: found"):
        parse(**changed)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"primary": "30m", "ladder": ["1m", "1h"]}, "primary 30m stands in ladder"),
        ({"ladder": ["5m", "1h"]}, "ladder starts with 1m"),
        ({"models": [{"name": "logistic"}, {"name": "logistic"}]}, "named once each"),
        ({"features": {"families": ["returns"], "coarse": ["4h", "1h"]}}, "features.coarse names no rung of ladder"),
        ({"features": {"families": []}}, "features.families names a family"),
        ({"features": {"families": ["returns", "returns"]}}, "features.families names each family once"),
        ({"calibration": {"methods": ["none", "none"]}}, "calibration.methods names each method once"),
        ({"models": [{"name": "lightgbm"}]}, "signal.fallback 'logistic' is one of models"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_a_short_line(changed, told):
    with pytest.raises(ConfigError, match="contradict") as caught:
        parse(**changed)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_order_of_keys_in_a_file_changes_nothing():
    one = parse(models=[{"name": "logistic", "params": {"C": 1, "max_iter": 9}}], seed=3)
    other = Experiment.parse(
        {"seed": 3, **LEAST, "models": [{"params": {"max_iter": 9, "C": 1}, "name": "logistic"}]}, "mine.yaml"
    )
    assert one == other
    assert one.model_dump_json() == other.model_dump_json()


def test_fold_names_end_with_the_holdout():
    assert SplitSettings(folds=3).fold_names == ("fold_00", "fold_01", "fold_02", "holdout")


@pytest.mark.parametrize(
    ("text", "wanted"), [("5h", timedelta(hours=5)), ("90m", timedelta(minutes=90)), ("1d", timedelta(days=1))]
)
def test_durations_are_written_like_timeframes(text, wanted):
    assert parse(splits={"embargo": text}).splits.embargo == wanted


def test_coarse_rungs_come_after_the_ladder():
    told = parse(ladder=["1m", "1h"], features={"families": ["returns"], "coarse": ["4h", "1d"]})
    assert told.rungs == ("1m", "1h", "4h", "1d")
    assert parse().rungs == parse().ladder


def test_a_model_reads_the_default_features_unless_it_names_another_set():
    assert [model.feature_set for model in parse().models] == ["default"]
    assert parse(models=[{"name": "logistic", "feature_set": "neural_optimal"}]).models[0].feature_set == "neural_optimal"


def test_the_hours_of_a_release_are_a_clock():
    told = parse(macro={"hours": {"CPIAUCSL": "08:30"}, "lag_days": {"DGS10": 10}}).macro
    assert (told.hours["CPIAUCSL"], told.lag_days["DGS10"]) == (time(8, 30), 10)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"macro": {"lag_days": {"CPIAUCSL": 45}}}, r"75 days or more for CPIAUCSL, since September 2025.*less is look-ahead"),
        ({"macro": {"lag_days": {"ICSA": 5, "GDP": -1}}}, "70 days or more for ICSA.*zero or more days for GDP"),
        ({"macro": {"lag_days": {"NOPE": 80}}}, "only series that are read .*CPIAUCSL.*, not NOPE"),
        ({"macro": {"hours": {"NOPE": "09:00"}}}, "only series that are read .*, not NOPE"),
        ({"macro": {"hours": {"CPIAUCSL": "00:00"}}}, "08:30 or later for CPIAUCSL"),
        ({"macro": {"hours": {"DGS10": "09:00"}}}, "16:15 or later for DGS10"),
        ({"news": {"timezone": "America/NewYork"}}, "such as America/New_York"),
        ({"news": {"timezone": "EST5EDT4"}}, "a zone of the tz database"),
        ({"news": {"timezone": "Factory"}}, "a zone of the tz database"),
        ({"news": {"delay": "-1m"}}, "news.delay"),
    ],
)
def test_settings_that_would_be_look_ahead_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        parse(**settings)


def test_a_name_that_is_nearly_right_gets_the_right_one():
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        experiment_path("defalt")


def test_a_name_like_no_other_gets_the_way_to_an_own_one():
    with pytest.raises(ConfigError, match=r"copy .*default\.yaml and pass its path"):
        experiment_path("zzz")


def test_a_path_is_taken_as_it_is_and_names_the_experiment(tmp_path):
    path = tmp_path / "fast.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in LEAST.items() if key != "name"}))
    assert load_experiment(str(path)).name == "fast"


def test_the_environment_chooses_the_experiment(tmp_path, monkeypatch):
    path = tmp_path / "chosen.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    monkeypatch.setenv("QUANT_EXPERIMENT", str(path))
    assert load_experiment().name == "least"
    monkeypatch.delenv("QUANT_EXPERIMENT")
    assert load_experiment().name == "default"
