from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from quant_pipeline.config.universe import Symbol
from quant_pipeline.files import write_parquet
from quant_pipeline.orchestration import versions
from quant_pipeline.orchestration.closure import code_behind, code_digest
from quant_pipeline.orchestration.freshness import stale
from quant_pipeline.orchestration.partitions import fold_key
from quant_pipeline.orchestration.runner import Runner

SYMBOL = "BTC-USD"
FOLDS = ("fold_00", "fold_01", "holdout")
ALWAYS = {"raw_bars|BTC-USD", "signals|BTC-USD"}
TINY_LOGISTIC = {"C": 0.01, "max_iter": 200}
BARS = ["bars/1m", "bars/15m", "bars/1h"]
CHANNELS = ["channels/15m", "channels/1h"]
FOLDED = ["regimes", "selection", "models/lightgbm", "models/logistic", "oof_predictions"]


def of_folds(*names: str) -> set[str]:
    return {f"{name}|{fold_key(SYMBOL, fold)}" for name in names for fold in FOLDS}


def of_symbol(*names: str) -> set[str]:
    return {f"{name}|{SYMBOL}" for name in names}


def stale_names(runner: Runner, names: list[str], partition: str = SYMBOL) -> list[str]:
    keys = [dg.AssetKey.from_user_string(name) for name in names]
    return [key.to_user_string() for key in stale(runner.house, runner.instance, runner.graph, keys, partition)]


@pytest.fixture
def edit(monkeypatch):
    """Makes every version look as after an edit of a file of the package."""

    def put(file: str) -> None:
        def edited(body, opened=None) -> str:
            mended = "mended" * (file in {name.split(":")[0] for name, _ in code_behind(body, opened)})
            return code_digest(body, opened) + mended

        monkeypatch.setattr(versions, "code_digest", edited)

    return put


def test_a_second_run_reuses_everything(home):
    before = home.contents()
    with home.runner() as runner:
        summary = runner.run(SYMBOL)
    assert set(summary.made) == ALWAYS
    assert len(summary.reused) == 35
    after = home.contents()
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()


def test_a_changed_model_is_made_again_with_what_depends_on_it(home):
    models = [
        {"name": "lightgbm", "params": {**home.tiny["models"][0]["params"]}},
        {"name": "logistic", "params": {"C": 0.02, "max_iter": 200}},
    ]
    with home.runner(home.house(models=models)) as runner:
        summary = runner.run(SYMBOL, until="ensemble")
    whole = of_symbol("raw_bars", "meta_learner", "fit_audit", "bundle", "champion")
    remade = of_folds("models/logistic", "oof_predictions") | whole
    assert set(summary.made) == remade
    assert set(summary.reused) == of_folds("regimes", "selection", "models/lightgbm") | of_symbol(
        *BARS, *CHANNELS, "features", "feature_audit", "feature_dictionary", "barriers", "labels", "sample_weights", "splits"
    )


@pytest.mark.parametrize(
    ("changed", "first", "untouched"),
    [
        ({"features": {"zscore_window": 90}}, ["features"], BARS),
        ({"labels": {"tune_trials": 6}}, ["barriers"], [*BARS, "features"]),
        ({"weights": {"quality": False}}, ["sample_weights"], [*BARS, "features", "barriers", "labels"]),
        ({"champion": {"max_age_days": 9}}, ["champion"], ["meta_learner", "features", "skill_report"]),
        ({"drift": {"psi": 0.3}}, ["drift_report"], ["meta_learner", "features"]),
        ({"signal": {"min_confidence": 0.6}}, ["backtest", "skill_report"], ["meta_learner", "features", "drift_report"]),
    ],
)
def test_a_setting_touches_the_assets_that_read_it(trained_home, changed, first, untouched):
    with trained_home.runner(trained_home.house(**changed)) as runner:
        assert stale_names(runner, first) == first
        assert stale_names(runner, untouched) == []


@pytest.mark.parametrize(
    ("changed", "touched", "untouched"),
    [
        ({"risk": {"max_position_pct": 7.0}}, ["skill_report", "backtest"], ["features", "labels", "meta_learner"]),
        ({"costs": {"fee_bps": 99.0}}, ["barriers", "labels", "skill_report", "backtest"], [*BARS, "features"]),
        ({"calendar": "CMEGlobex_GC"}, [*BARS, "features"], []),
    ],
)
def test_a_setting_of_the_symbol_touches_the_assets_that_read_it(trained_home, changed, touched, untouched):
    house = trained_home.house()
    symbols = dict(house.universe.symbols)
    told = symbols[SYMBOL].model_dump()
    merged = {name: {**told[name], **value} if isinstance(value, dict) else value for name, value in changed.items()}
    symbols[SYMBOL] = Symbol.parse({**told, **merged}, "changed")
    with trained_home.runner(replace(house, universe=house.universe.model_copy(update={"symbols": symbols}))) as runner:
        assert set(touched) <= set(stale_names(runner, [*touched, *untouched]))
        assert stale_names(runner, untouched) == []


@pytest.mark.parametrize(
    ("file", "touched", "untouched"),
    [
        ("orchestration/assets/models.py", ["models/lightgbm", "models/logistic"], ["regimes", "selection"]),
        ("models/boosting/lightgbm.py", ["models/lightgbm"], ["regimes", "selection", "models/logistic"]),
        ("models/base.py", ["models/lightgbm", "models/logistic"], ["regimes", "selection"]),
        ("validation/splits.py", ["regimes", "selection", "models/lightgbm"], []),
    ],
)
def test_an_edit_of_code_touches_what_it_is_behind(trained_home, edit, file, touched, untouched):
    edit(file)
    with trained_home.runner() as runner:
        fold = fold_key(SYMBOL, "fold_00")
        assert [key for key in touched if not stale_names(runner, [key], fold)] == []
        assert [key for key in untouched if stale_names(runner, [key], fold)] == []


@pytest.mark.parametrize(
    ("file", "touched", "untouched"),
    [
        ("models/boosting/lightgbm.py", ["fit_audit", "bundle"], [*BARS, "features", "feature_audit", "labels", "splits"]),
        ("features/momentum.py", ["features", "feature_audit"], ["barriers", "sample_weights", "splits"]),
        ("sources/store.py", [*BARS, "feature_audit"], ["labels", "splits"]),
        ("inference/gate.py", ["feature_audit"], [*BARS, "features", "labels"]),
    ],
)
def test_an_edit_of_code_touches_the_tables_that_it_is_behind(trained_home, edit, file, touched, untouched):
    edit(file)
    with trained_home.runner() as runner:
        assert [key for key in touched if not stale_names(runner, [key])] == []
        assert [key for key in untouched if stale_names(runner, [key])] == []


def test_two_experiments_leave_each_other_s_tables_and_history_alone(home):
    before = {name: digest for name, digest in home.contents().items() if "/raw/" not in name}
    other = home.house(name="other", history_days=100)
    with home.runner(other) as runner:
        assert len(runner.run(SYMBOL, until="features").reused) == 0
    after = home.contents()
    assert {name for name in before if after[name] != before[name]} == set()
    with home.runner() as runner:
        assert stale_names(runner, [*BARS, "features", "labels"]) == []


def test_nothing_is_stale_after_training(trained_home):
    with trained_home.runner() as runner:
        keys = [key.to_user_string() for key in runner.graph.toposorted_asset_keys]
        assert stale_names(runner, [key for key in keys if key not in FOLDED]) == []
        for fold in FOLDS:
            assert stale_names(runner, FOLDED, fold_key(SYMBOL, fold)) == []


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"regime_states": 2}, "regimes"),
        ({"selection": {"max_features": 30}}, "selection"),
        ({"seed": 8}, "regimes"),
        ({"models": [{"name": "logistic", "feature_set": "neural_optimal", "params": TINY_LOGISTIC}]}, "models/logistic"),
    ],
)
def test_a_setting_of_a_fold_touches_what_the_fold_makes_of_it_and_all_that_follows(trained_home, changed, first):
    with trained_home.runner(trained_home.house(**changed)) as runner:
        names = [name for name in FOLDED if runner.graph.has(dg.AssetKey.from_user_string(name))]
        assert stale_names(runner, names, fold_key(SYMBOL, "fold_00")) == names[names.index(first) :]
        assert stale_names(runner, [*BARS, *CHANNELS, "features", "labels"]) == []


def test_everything_is_stale_before_training(trained_home):
    with trained_home.runner() as runner:
        assert stale_names(runner, ["features", "labels"], "SPY") == ["features", "labels"]


def test_new_bars_after_the_cutoff_touch_nothing_that_was_trained(home):
    with home.runner(home.house(as_of=home.as_of + timedelta(hours=5))) as runner:
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
        assert stale_names(runner, BARS) == []


def test_a_new_week_touches_all_bars(home):
    with home.runner(home.house(as_of=home.as_of + timedelta(days=7))) as runner:
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
        assert stale_names(runner, [*BARS, "features"]) == ["bars/15m", "bars/1h", "bars/1m", "features"]


@pytest.mark.parametrize(
    ("file", "names", "expected"),
    [
        ("labels/BTC-USD.parquet", ["features", "labels", "splits"], ["labels", "splits"]),
        ("bars/15m/BTC-USD.parquet", [*BARS, "barriers"], ["bars/15m", "barriers"]),
        ("meta_learner/BTC-USD", ["meta_learner", "bundle", "champion"], ["meta_learner", "bundle", "champion"]),
    ],
)
def test_what_is_gone_from_the_lake_is_stale_with_all_that_follows(home, file, names, expected):
    gone = home.lake / file
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with home.runner() as runner:
        assert stale_names(runner, names) == expected


def test_what_a_killed_run_of_other_settings_left_under_the_name_is_made_again(home):
    """It has its name, but no record tells of it: the newest record is that of the settings before, which are back."""
    table, model = home.lake / "labels" / f"{SYMBOL}.parquet", home.lake / "models" / "logistic" / "fold_00" / SYMBOL
    write_parquet(table, pl.read_parquet(table).head(100))
    shutil.rmtree(model)
    shutil.copytree(home.lake / "models" / "logistic" / "fold_01" / SYMBOL, model)
    with home.runner() as runner:
        assert stale_names(runner, ["labels", "splits"]) == ["labels", "splits"]
        assert stale_names(runner, ["models/logistic", "models/lightgbm"], fold_key(SYMBOL, "fold_00")) == ["models/logistic"]


def test_a_model_folder_that_is_gone_is_stale_in_its_fold_only(home):
    shutil.rmtree(home.lake / "models" / "logistic" / "fold_01" / SYMBOL)
    names = ["models/lightgbm", "models/logistic", "oof_predictions"]
    with home.runner() as runner:
        assert stale_names(runner, names, fold_key(SYMBOL, "fold_00")) == []
        assert stale_names(runner, names, fold_key(SYMBOL, "fold_01")) == ["models/logistic", "oof_predictions"]


def test_a_deleted_file_is_made_again_with_equal_bytes(home):
    before = home.contents()
    (home.lake / "sample_weights" / f"{SYMBOL}.parquet").unlink()
    shutil.rmtree(home.lake / "models" / "logistic" / "fold_01" / SYMBOL)
    with home.runner() as runner:
        summary = runner.run(SYMBOL, until="train fold_01")
    fold = fold_key(SYMBOL, "fold_01")
    assert set(summary.made) == {
        f"raw_bars|{SYMBOL}",
        f"sample_weights|{SYMBOL}",
        f"models/logistic|{fold}",
        f"oof_predictions|{fold}",
    }
    assert home.contents() == before


@pytest.mark.parametrize("damage", ["bundle gone", "byte flipped", "history gone"])
def test_a_bundle_or_champion_that_is_gone_is_stale(home, damage):
    folder = next((home.house().workplace.bundles / SYMBOL).glob("*/manifest.json")).parent
    if damage == "bundle gone":
        shutil.rmtree(folder)
    elif damage == "byte flipped":
        meta = folder / "meta.json"
        meta.write_bytes(meta.read_bytes()[:-1] + b" ")
    else:
        shutil.rmtree(home.house().workplace.bundles / "champions")
    with home.runner() as runner:
        expected = ["champion"] if damage == "history gone" else ["bundle", "champion"]
        assert stale_names(runner, ["meta_learner", "bundle", "champion"]) == expected
