"""What the listing commands choose to show."""

from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.lists import features_asked, model_rows, plugin_lines, symbol_rows

KNOWN = load_experiment("default"), load_universe()


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "feature"),
        ({"family": "macro"}, "feature"),
        ({"chosen_set": "foundation"}, "feature"),
        ({"sets": True}, "set"),
        ({"documents": True}, "document"),
        ({"documents": True, "family": "macro"}, "document"),
    ],
)
def test_each_option_has_its_listing(options, first):
    rows = features_asked(*KNOWN, **options).rows
    assert rows
    assert next(iter(rows[0])) == first


def test_the_symbol_decides_the_correlated_ones_and_the_first_is_the_default():
    assert features_asked(*KNOWN, family="cross_asset").rows[0]["on"] == "BTC-USD CL=F SPY ^IRX"
    assert features_asked(*KNOWN, family="cross_asset", symbol="AAPL").rows[0]["on"] == "SPY QQQ ^TNX"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sets": True, "documents": True}, "found --sets and --documents"),
        ({"chosen_set": "default", "sets": True}, "found --set and --sets"),
        ({"symbol": "GCF"}, "did you mean 'GC=F'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        features_asked(*KNOWN, **options)


def test_symbols_and_models_are_listed():
    symbols = {row["symbol"]: row for row in symbol_rows(KNOWN[1])}
    assert symbols["GC=F"]["correlated"] == "BTC-USD, CL=F, SPY, ^IRX"
    assert symbols["CL=F"]["round trip"] == "24 bps"
    trained = {row["model"]: row["trained here"] for row in model_rows(KNOWN[0])}
    assert trained["lightgbm"] == "yes"


def test_plugins_are_listed_with_their_file(plug, a_feature, a_model):
    folder = plug(mine=a_feature("doubled", "returns") + a_feature("tripled", "mine"), net=a_model("mine"), helper="x = 1")
    listed = features_asked(*KNOWN)
    told = {row["feature"]: row["plugin"] for row in listed.rows}
    assert (told["doubled"], told["rsi"], "tripled" in told) == ("mine.py", "", False)
    assert listed.title.endswith("not made by this experiment (features.families): mine")
    assert [row["plugin"] for row in features_asked(*KNOWN, family="mine").rows] == ["mine.py"]
    assert {row["model"]: row["plugin"] for row in model_rows(KNOWN[0])}["mine"] == "net.py"
    assert plugin_lines(KNOWN[0]) == [
        f"{folder}/helper.py: no feature, no model",
        f"{folder}/mine.py: feature doubled, feature tripled (not in this experiment)",
        f"{folder}/net.py: model mine (not in this experiment)",
    ]


def test_without_plugins_no_listing_speaks_of_them():
    assert "plugin" not in features_asked(*KNOWN).rows[0]
    assert "plugin" not in model_rows(KNOWN[0])[0]
    assert plugin_lines(KNOWN[0]) == []
