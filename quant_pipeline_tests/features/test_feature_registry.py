"""The registry: names, counts, columns and refusals, new files and plugins."""

from __future__ import annotations

import pytest

from quant_pipeline import features
from quant_pipeline.config.experiment import FeatureSettings, load_experiment
from quant_pipeline.config.timeframes import LADDER
from quant_pipeline.errors import ConfigError
from quant_pipeline.features import found, registry


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


def test_the_default_experiment_names_every_family_but_the_channels():
    """Channels are tables of their own."""
    assert (*load_experiment("default").features.families, "channels") == registry.FAMILIES


def test_coarse_rungs_serve_only_the_features_that_name_them():
    plain, coarse = ("1m", "1h"), ("4h", "1d", "1w")
    settings = FeatureSettings(families=("momentum", "alignment"), coarse=coarse)
    columns = registry.columns(settings, (*plain, *coarse), "1h")
    assert [name for name in columns if name.rpartition("_")[2] in coarse] == ["mtf_bias_4h", "mtf_bias_1d", "mtf_bias_1w"]
    assert {"rsi_1m", "rsi_1h", "mtf_bias_1h"} < set(columns)


def test_each_correlated_symbol_has_columns_of_its_own():
    settings = FeatureSettings(families=("cross_asset", "calendar"))
    columns = registry.columns(settings, ("1m", "1h"), "1h", ("SPY", "GC=F"))
    assert {"xret_1_SPY", "xret_1_GC=F"} < set(columns)
    assert len(columns) == 2 * len(registry.specs(("cross_asset",))) + len(registry.specs(("calendar",)))
    assert registry.columns(settings, ("1m", "1h"), "1h") == tuple(spec.name for spec in registry.specs(("calendar",)))


def test_a_family_that_needs_one_place_says_which():
    markers = {family: {spec.marker for spec in registry.specs((family,))} for family in registry.FAMILIES}
    assert {family: found for family, found in markers.items() if found != {None}} == {
        "cross_asset": {registry.OTHERS}, "calendar": {registry.DECISION}, "macro": {registry.MACRO},
        "news": {registry.NEWS}, "interactions": {registry.DERIVED},
    }  # fmt: skip


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


@pytest.fixture
def dropped(tmp_path, monkeypatch, plug):
    """Writer of files into `quant_pipeline/features/`, or so the registry believes."""
    plug()
    monkeypatch.setattr(found, "FOLDER", tmp_path)
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path)])

    def write(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        found._in_package.cache_clear()

    yield write
    found._in_package.cache_clear()


def test_a_new_file_is_found_and_its_new_family_is_a_family(dropped, a_feature):
    dropped(twice_found=a_feature("doubled", "mine"))
    assert registry.every_family() == (*registry.FAMILIES, "mine")
    assert [spec.name for spec in registry.specs(("mine",))] == ["doubled"]
    assert "doubled" in registry.names()
    assert registry.families()["mine"] == ("doubled",)
    assert _columns("momentum", "mine")[-1] == "doubled_1h"


def test_a_new_file_adds_to_an_old_family_behind_its_own_features(dropped, a_feature):
    before = registry.specs(("returns",))
    dropped(a_name_before_all=a_feature("doubled", "returns"))
    assert [spec.name for spec in registry.specs(("returns",))] == [*(spec.name for spec in before), "doubled"]


def test_a_file_without_features_is_left_alone(dropped):
    dropped(plain="raise ValueError", reading="from quant_pipeline.features.registry import specs\nraise ValueError")
    assert registry.every_family() == registry.FAMILIES


@pytest.mark.parametrize("text", ["from quant_pipeline.features.registry import feature\n1 / 0", "from .registry import ("])
def test_a_new_file_that_cannot_be_imported_is_named(dropped, text):
    dropped(broken_one=text)
    with pytest.raises(ConfigError, match=r"broken_one\.py.*wanted a module that can be imported"):
        registry.specs()


def test_the_package_has_no_file_that_is_found_so():
    assert found.new_modules(registry.FAMILY_MODULES.values()) == {}


def test_a_plugin_is_found_like_a_new_file(plug, a_feature):
    plug(mine=a_feature("doubled", "mine"), other=a_feature("tripled", "returns"))
    assert [spec.name for spec in registry.specs(("mine",))] == ["doubled"]
    assert registry.specs(("returns",))[-1].name == "tripled"


def test_a_name_that_is_taken_is_refused_naming_both_files(plug, a_feature):
    folder = plug(mine=a_feature("rsi", "mine"))
    with pytest.raises(ConfigError, match=rf"feature 'rsi': found two, in .*features/momentum\.py and {folder}/mine\.py"):
        registry.specs(("returns",))


def test_what_another_table_brings_is_read_in_its_family_only(plug, a_feature):
    plug(mine=a_feature("cpi_twice", "mine").replace('rungs=("1h",)', 'rungs=("macro",)'))
    with pytest.raises(ConfigError, match=r"family of feature 'cpi_twice'.*write 'macro'"):
        registry.specs()
