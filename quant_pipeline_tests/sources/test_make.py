"""Profiles by name."""

from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import SimulatedSettings
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError
from quant_pipeline.sources.base import MarketSource
from quant_pipeline.sources.make import make_source


@pytest.mark.parametrize("profile", ["simulated", "files", "yahoo"])
def test_every_profile_is_a_market_source(profile, tmp_path):
    source = make_source(profile, load_universe(), folder=tmp_path, simulated=SimulatedSettings())
    assert isinstance(source, MarketSource)
    assert source.name == profile
    assert source.simulated == (profile == "simulated")
    assert source.intervals("GC=F")[0] == "1m"


def test_an_unknown_profile_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"profile 'yaho'.*simulated, files, yahoo.*'yahoo'"):
        make_source("yaho", load_universe(), folder=tmp_path, simulated=SimulatedSettings())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        make_source("files", load_universe(), folder=tmp_path / "none", simulated=SimulatedSettings())


def test_seed_and_effects_reach_the_simulated_market(tmp_path):
    asked = SimulatedSettings(seed=3, signal=0.2, news_effect=0.1, macro_effect=0.0)
    world = make_source("simulated", load_universe(), folder=tmp_path, simulated=asked).world
    assert (world.seed, world.bars_effect, world.news_effect, world.macro_effect) == (3, 0.2, 0.1, 0.0)
    none = asked.model_copy(update={"no_signal": True})
    world = make_source("simulated", load_universe(), folder=tmp_path, simulated=none).world
    assert (world.bars_effect, world.news_effect, world.macro_effect) == (0.0, 0.0, 0.0)
