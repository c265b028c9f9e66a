"""Profiles by name."""

from __future__ import annotations

import pytest

from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError
from quant_pipeline.sources.base import MarketSource
from quant_pipeline.sources.make import make_source


@pytest.mark.parametrize("profile", ["simulated", "files", "yahoo"])
def test_every_profile_is_a_market_source(profile, tmp_path):
    source = make_source(profile, load_universe(), folder=tmp_path, seed=1)
    assert isinstance(source, MarketSource)
    assert source.name == profile
    assert source.simulated == (profile == "simulated")
    assert source.intervals[0] == "1m"


def test_an_unknown_profile_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"profile 'yaho'.*simulated, files, yahoo.*'yahoo'"):
        make_source("yaho", load_universe(), folder=tmp_path, seed=1)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        make_source("files", load_universe(), folder=tmp_path / "none", seed=1)


def test_seed_and_null_reach_the_simulated_market(tmp_path):
    source = make_source("simulated", load_universe(), folder=tmp_path, seed=3, null=True)
    assert source.world.seed == 3
    assert source.world.bars_effect == 0.0
