from __future__ import annotations

import pytest

from quant_pipeline.config.feature_sets import FeatureSet, feature_set, feature_sets
from quant_pipeline.errors import ConfigError

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
