"""Settings that cannot be used end in one clear line before any work is done."""

from __future__ import annotations

import pytest

from quant_pipeline.errors import ConfigError, DataError

SYMBOL = "BTC-USD"
CHANGED = {
    "unknown key": ({"splitz": {}}, ("splitz: found an unknown key", "write 'splits' instead")),
    "unknown deep key": ({"splits": {"flods": 2}}, ("splits.flods: found an unknown key", "write 'folds' instead")),
    "impossible value": ({"labels": {"max_bars": 0}}, ("labels.max_bars: found 0", "greater than or equal to 1")),
    "unknown choice": ({"splits": {"scheme": "random"}}, ("splits.scheme: found 'random'", "'expanding'")),
    "folds that no pairs make": (
        {"splits": {"scheme": "combinatorial", "folds": 5}},
        ("splits: found", "3, 6, 10, 15", "folds: 5"),
    ),
    "no room for folds": ({"splits": {"first_train": 0.9, "test": 0.2}}, ("splits: found", "first_train + test below 1")),
    "contradiction": ({"primary": "30m"}, ("primary 30m stands in ladder ['1m', '15m', '1h']",)),
    "unknown family": ({"features": {"families": ["momentun"]}}, ("write 'momentum'",)),
    "unknown model": ({"models": [{"name": "logistic"}, {"name": "lightgmb"}]}, ("did you mean 'lightgbm'",)),
    "unknown parameter": ({"models": [{"name": "logistic", "params": {"max_itr": 5}}]}, ("write 'max_iter' instead",)),
    "impossible parameter": ({"models": [{"name": "logistic", "params": {"C": -1}}]}, ("C: found -1",)),
}


@pytest.mark.parametrize(("changed", "words"), CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("command", ["run", "predict"])
def test_an_experiment_that_cannot_be_is_refused_before_any_work(quant, refused, bare_home, tmp_path, command, changed, words):
    path = bare_home.experiment(tmp_path / "mine.yaml", **changed)
    refused(quant(bare_home, command, SYMBOL, "--experiment", path), ConfigError, *words)
    assert bare_home.contents() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "BTCUSD"), ("symbol 'BTCUSD'", "did you mean 'BTC-USD'")),
        (("train", "ZZZZ"), ("symbol 'ZZZZ'", "add it to universe.yaml")),
        (("predict", "^TNX"), ("symbol '^TNX'",)),
        (("replay", "GCF"), ("did you mean 'GC=F'",)),
        (("report", "GCF"), ("did you mean 'GC=F'",)),
        (("materialize", "features/GCF"), ("did you mean 'GC=F'",)),
        (("materialize", "featurs/GC=F"), ("did you mean 'features'",)),
        (("run", SYMBOL, "--experiment", "defalt"), ("did you mean 'default'",)),
        (("run", SYMBOL, "--experiment", "/nowhere/mine.yaml"), ("/nowhere/mine.yaml", "No such file")),
        (("run", SYMBOL, "--profile", "real"), ("simulated, files, yahoo",)),
        (("run", SYMBOL, "--profile", "files", "--bars", "/nowhere"), ("folder /nowhere",)),
        (("run", SYMBOL, "--as-of", "yesterday"), ("as-of: found 'yesterday'",)),
        (("replay", SYMBOL, "--start", "2026-11-01"), ("start: found '2026-11-01'",)),
        (("sql", "selekt 1"), ("selekt", "show tables")),
        (("features", "--family", "momentun"), ("write 'momentum'",)),
        (("models", "--experiment", "defalt"), ("did you mean 'default'",)),
    ],
)
def test_an_argument_that_cannot_be_is_refused(quant, refused, bare_home, arguments, words):
    refused(quant(bare_home, *arguments), ConfigError, *words)
    assert bare_home.contents() == {}


def test_a_universe_that_cannot_be_is_refused(quant, refused, home_of_nothing, tmp_path):
    path = tmp_path / "universe.yaml"
    path.write_text("symbols: {GC=F: {calendar: COMEXX, costs: {fee_bps: 1}, risk: {}}}")
    refused(quant(home_of_nothing, "symbols", QUANT_UNIVERSE=str(path)), ConfigError, "symbols.GC=F.calendar: found 'COMEXX'")
    path.write_text("symbols: [GC=F")
    refused(quant(home_of_nothing, "symbols", QUANT_UNIVERSE=str(path)), ConfigError, str(path), "line 1")


def test_a_fold_with_too_few_rows_is_refused_and_nothing_is_lost(quant, refused, home, tmp_path):
    path = home.experiment(tmp_path / "tiny.yaml", splits={"folds": 50, "first_train": 0.9, "test": 0.05})
    before = home.contents()
    refused(
        quant(home, "materialize", f"splits/{SYMBOL}", "--experiment", path),
        DataError,
        "fold_00: oof rows",
        "lower splits.folds (now 50)",
    )
    assert home.contents() == before


def test_a_home_that_is_not_there_is_refused(quant, refused, home_of_nothing):
    refused(quant(home_of_nothing, "run", SYMBOL, DAGSTER_HOME="/nowhere"), ConfigError, "DAGSTER_HOME", "/nowhere")
