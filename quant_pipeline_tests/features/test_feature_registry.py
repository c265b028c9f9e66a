"""The registry: names, counts, columns and refusals."""

from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import FeatureSettings, load_experiment
from quant_pipeline.config.timeframes import LADDER
from quant_pipeline.errors import ConfigError
from quant_pipeline.features import registry


def _columns(*families: str, ladder=LADDER, primary="1h"):
    return registry.columns(FeatureSettings(families=families), ladder, primary)


@pytest.mark.parametrize(("family", "count"), [("momentum", 36), ("volatility", 36), ("volume", 36), ("statistics", 20)])
def test_columns_of_the_multi_timeframe_families(family, count):
    assert len(_columns(family)) == count


def test_columns_are_named_as_in_the_documents():
    columns = _columns(*registry.FAMILIES)
    assert len(columns) == len(set(columns))
    assert [len(_columns(family)) for family in ("momentum", "volatility", "volume", "statistics")] == [36, 36, 36, 20]
    assert {"rsi_1m", "macd_25m", "stoch_45m", "adx_1h", "atr_1h", "parkinson_5m", "garman_klass_10m", "bb_width_1h"} < set(
        columns
    )
    assert {"vwap_distance_1m", "obv_5m", "volume_ratio_1h", "volume_zscore_20m", "mean_30m", "kurt_1h"} < set(columns)
    assert {"return_15m", "log_return_13_1h", "hour_sin", "dayofweek_cos", "is_market_open"} < set(columns)


def test_statistics_stay_on_their_five_rungs():
    assert {column.split("_")[1] for column in _columns("statistics")} == {"1m", "5m", "15m", "30m", "1h"}


def test_horizons_follow_the_primary_and_new_rungs_get_every_indicator():
    columns = _columns("momentum", "returns", ladder=("1m", "1h", "4h"), primary="4h")
    assert {"log_return_5_4h", "rsi_4h", "bb_position_1m"} < set(columns)
    assert "log_return_5_1h" not in columns


def test_the_default_experiment_names_every_family():
    assert load_experiment("default").features.families == registry.FAMILIES


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(ConfigError, match="write 'volatility'"):
        registry.specs(("momentum", "volatilty"))


def test_a_name_belongs_to_one_function():
    assert len(registry.names()) == len(set(registry.names())) == sum(map(len, registry.families().values()))

    def other(columns):
        return columns["close"]

    with pytest.raises(ConfigError, match="one name per feature"):
        registry.feature("rsi", "momentum", ("close",), 1)(other)


def test_every_feature_says_what_it_is_and_how_far_it_looks():
    for spec in registry.specs():
        assert spec.meaning
        assert 1 <= spec.bars_needed("1h", FeatureSettings(families=("momentum",))) < 1_000
