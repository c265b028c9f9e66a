"""Experiments at the shell: compared, promoted by hand, and named by paths that are meant from where one stands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from quant_pipeline.config.universe import DEFAULT_UNIVERSE
from quant_pipeline.errors import BundleError, ConfigError, MissingUpstreamError

SYMBOL = "BTC-USD"


def test_champions_shows_the_history_and_what_is_live(quant, trained_home):
    result = quant(trained_home, "champions", SYMBOL)
    live = trained_home.house().champions.live_at(SYMBOL, trained_home.as_of)
    assert result.exit_code == 0
    assert f"experiment tiny: live is {live} since 2026-11-16 00:00 UTC" in " ".join(result.output.split())
    assert "no champion yet" in result.output


def test_before_a_training_nothing_is_live(quant, home_of_nothing):
    assert "nothing is live" in quant(home_of_nothing, "champions", SYMBOL).output


def test_promote_puts_the_choice_on_record(quant, home, tmp_path):
    house = home.house(name="deployed")
    home.experiment(tmp_path / "deployed.yaml", champion={"auto": False})
    shutil.copy(home.root / "tiny.yaml", tmp_path)
    result = quant(home, "promote", SYMBOL, "tiny.yaml", "--reason", "[it] was better", "--experiment", "deployed.yaml")
    assert result.exit_code == 0, result.output
    assert "by hand: [it] was better" in result.output
    assert house.champions.live_at(SYMBOL, home.as_of) == home.house().champions.live_at(SYMBOL, home.as_of)


def test_an_unknown_bundle_is_refused(quant, home, refused):
    refused(quant(home, "promote", SYMBOL, "0123456789ab", "--reason", "so"), BundleError, "quant champions BTC-USD")
    refused(quant(home, "champions", "BTCUSD"), ConfigError, "did you mean 'BTC-USD'")


def test_compare_shows_both_and_whether_they_differ(quant, home, refused, tmp_path):
    shutil.copy(home.root / "tiny.yaml", tmp_path)
    home.experiment(tmp_path / "other.yaml")
    pair = ("compare", "tiny.yaml", "other.yaml", "--symbol", SYMBOL)
    refused(quant(home, *pair), MissingUpstreamError, "quant train BTC-USD")
    shutil.copytree(home.lake, home.house(name="other").workplace.lake)
    result = quant(home, *pair)
    assert result.exit_code == 0, result.output
    assert all(words in result.output for words in ("tiny less other", "no telling", "rank IC", "final test", "naive"))


@pytest.mark.parametrize("command", ["champions", "report", "sql", "replay"])
def test_relative_paths_of_the_environment_are_meant_from_here(quant, trained_home, tmp_path, command):
    """The fixture stands in a folder that is not DAGSTER_HOME."""
    shutil.copy(DEFAULT_UNIVERSE, tmp_path / "mine.yaml")
    (tmp_path / "sub").mkdir()
    shutil.copy(trained_home.root / "tiny.yaml", tmp_path / "sub" / "tiny.yaml")
    assert Path.cwd() == tmp_path != trained_home.root
    argument = "select symbol from labels limit 1" if command == "sql" else SYMBOL
    result = quant(trained_home, command, argument, QUANT_UNIVERSE="mine.yaml", QUANT_EXPERIMENT="sub/tiny.yaml")
    assert result.exit_code == 0, result.output
    assert SYMBOL in result.output or "identical" in result.output


def test_relative_places_of_bars_news_and_macro_are_meant_from_here(quant, home_of_nothing, tmp_path, monkeypatch):
    from quant_pipeline.cli import choosing

    seen = {}
    monkeypatch.setattr(choosing, "open_house", lambda: seen.update(os.environ) or home_of_nothing.house())
    places = dict.fromkeys(("QUANT_BARS", "QUANT_NEWS", "QUANT_MACRO"), "own")
    quant(home_of_nothing, "champions", SYMBOL, **places)
    assert {name: seen[name] for name in places} == dict.fromkeys(places, str(tmp_path / "own"))
