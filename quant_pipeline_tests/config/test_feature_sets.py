from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.feature_sets import FeatureSet, feature_set, feature_sets
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError
from quant_pipeline.features.listing import every_column

LADDER = ("1m", "15m", "1h")
COLUMNS = ("rsi_1m", "rsi_15m", "rsi_1h", "returns", "return_1h", "hour_sin", "close_1h")


def _set(**said: object):
    return FeatureSet(description="", counted="", **said)


def test_prefixes_columns_exclusions_and_rungs_decide():
    chosen = _set(include_prefixes=("rsi_", "return_", "close"), include_columns=("hour_sin",), exclude_prefixes=("close_",))
    assert chosen.members(COLUMNS, LADDER) == ("rsi_1m", "rsi_15m", "rsi_1h", "return_1h", "hour_sin")
    assert chosen.model_copy(update={"rungs": ("1h",)}).members(COLUMNS, LADDER) == ("rsi_1h", "return_1h", "hour_sin")


def test_nothing_named_is_nothing_chosen_and_the_empty_prefix_is_everything():
    assert _set().members(COLUMNS, LADDER) == ()
    assert _set(include_prefixes=("",)).members(COLUMNS, LADDER) == COLUMNS


def test_the_sets_of_the_documents_are_there():
    documents = {
        "boosting_optimal",
        "neural_optimal",
        "transformer_raw",
        "ensemble_base",
        "nbeats_raw",
        "linear_raw",
        "foundation",
    }
    assert documents | {"default"} == set(feature_sets())


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'boosting_optimal'"):
        feature_set("boosting_optimum")


@pytest.fixture(scope="module")
def members():
    experiment, others = load_experiment("default"), load_universe().symbol("GC=F").correlated
    names = [column.name for column in every_column(experiment, others)]
    return {name: each.members(names, experiment.rungs) for name, each in feature_sets().items()}


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("boosting_optimal", 200, 400),
        ("neural_optimal", 40, 60),
        ("transformer_raw", 10, 15),
        ("ensemble_base", 60, 80),
        ("nbeats_raw", 1, 1),
        ("linear_raw", 1, 1),
        ("foundation", 4, 4),
    ],
)
def test_each_set_has_as_many_columns_as_the_documents_say(members, name, least, most):
    assert least <= len(members[name]) <= most


def test_every_prefix_and_column_of_a_set_says_something(members):
    columns = {name for chosen in members.values() for name in chosen}
    for name, each in feature_sets().items():
        for prefix in each.include_prefixes:
            assert any(column.startswith(prefix) for column in members[name]), f"{name}: {prefix} finds nothing"
        assert set(each.include_columns) <= columns


def test_small_sets_are_of_plain_features_and_no_set_but_foundation_is_of_channels(members):
    for name in ("neural_optimal", "transformer_raw", "ensemble_base"):
        assert not [column for column in members[name] if "_x_" in column]
    assert all(not column.startswith("ch_") for name, chosen in members.items() if name != "foundation" for column in chosen)
    assert {"rsi_1h_x_vol_regime", "macd_15m_x_macd_1h", "micro_vpin_1m", "kurt_30m", "garman_klass_25m"} <= set(
        members["boosting_optimal"]
    )


def test_the_default_set_is_all_but_the_channels(members):
    assert {"rsi_1m", "candle_doji_detected_1h", "xret_1_SPY", "macro_cpi_yoy", "news_age"} <= set(members["default"])
