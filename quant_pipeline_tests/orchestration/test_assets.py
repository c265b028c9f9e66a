from __future__ import annotations

import shutil
from datetime import timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_pipeline.errors import LeakageError, MissingUpstreamError
from quant_pipeline.files import frame_hash, write_parquet
from quant_pipeline.inference.champion import Decision
from quant_pipeline.orchestration.partitions import fold_key

SYMBOL = "BTC-USD"
CHECKS = (("feature_audit", "live_path"), ("meta_learner", "oof_integrity"), ("skill_alarm", "plausible_skill"))


@pytest.fixture(scope="module")
def records(trained_home):
    """The last materialization of every asset that has symbols as partitions, and of one fold."""
    with trained_home.runner() as runner:

        def last(key: dg.AssetKey) -> dg.AssetMaterialization:
            folds = isinstance(runner.graph.get(key).partitions_def, dg.MultiPartitionsDefinition)
            partition = fold_key(SYMBOL, "holdout") if folds else SYMBOL
            wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
            return runner.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization

        return {key.to_user_string(): last(key) for key in runner.graph.get_all_asset_keys()}


def test_every_asset_says_something_worth_seeing(records):
    pictures = {
        name for name, made in records.items() if any("image/png" in str(value.value) for value in made.metadata.values())
    }
    assert pictures == {
        "features", "labels", "sample_weights", "splits", "regimes", "selection", "oof_predictions", "meta_learner", "bundle",
        "skill_report", "backtest", "drift_report", "feature_dictionary",
    }  # fmt: skip
    assert all(len(made.metadata) >= 3 for made in records.values())


def test_tables_tell_rows_and_bars_tell_their_ledger(records):
    assert records["labels"].metadata["dagster/row_count"].value > 2_000
    ledger = records["bars/1m"].metadata["ledger"].value
    assert ledger["rows_in"] - sum(ledger["dropped"].values()) == ledger["rows_out"]
    assert "gaps" in str(ledger["notes"])
    assert records["raw_bars"].metadata["simulated"].value is True


def test_data_versions_are_kept(records):
    tags = {name: made.tags.get("dagster/data_version") for name, made in records.items()}
    assert all(tags.values())
    assert tags.pop("fit_audit") == tags["feature_audit"]  # no faults, twice
    assert len(set(tags.values())) == len(tags)


def test_the_checks_passed(trained_home):
    with trained_home.runner() as runner:
        for asset, name in (
            ("feature_audit", "live_path"),
            ("meta_learner", "oof_integrity"),
            ("fit_audit", "fold_truncation"),
            ("skill_alarm", "plausible_skill"),
        ):
            history = runner.instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(asset), name), limit=5
            )
            assert [record.status.value for record in history] == ["SUCCEEDED"], name


def test_features_made_anew_are_refused_until_they_are_audited(home):
    honest = pl.read_parquet(home.lake / "features" / f"{SYMBOL}.parquet")
    with home.runner() as runner:
        spoiled = honest.with_columns(pl.col("rsi_1h").shift(-1))
        runner.instance.report_runless_asset_event(
            dg.AssetMaterialization("features", partition=SYMBOL, tags={"dagster/data_version": frame_hash(spoiled)})
        )
        write_parquet(home.lake / "features" / f"{SYMBOL}.parquet", spoiled)
        for key, partition in ((dg.AssetKey("selection"), fold_key(SYMBOL, "holdout")), (dg.AssetKey("champion"), SYMBOL)):
            with pytest.raises(LeakageError, match="quant materialize 'feature_audit/BTC-USD'"):
                runner.materialize([key], partition)
        runner.materialize([dg.AssetKey("feature_audit")], SYMBOL)
        with pytest.raises(LeakageError, match="rsi_1h"):
            runner.materialize([dg.AssetKey("bundle")], SYMBOL)


def test_a_fit_that_reads_its_own_block_stops_the_bundle(home, monkeypatch):
    """As if the asset handed the out-of-fold rows to early stopping; what the audit calls is not touched."""
    from quant_pipeline.models import fold

    honest = fold.fit_model

    def peeking_fit(tables, preparation, train, valid, settings, experiment):
        later = np.arange(valid[0], tables.labels.height)
        return honest(tables, preparation, train, later, settings, experiment)

    bundles = sorted((home.data / "bundles").rglob("manifest.json"))
    with home.runner() as runner:
        with monkeypatch.context() as edit:
            edit.setattr(fold, "fit_model", peeking_fit)
            runner.materialize([dg.AssetKey(["models", "logistic"])], fold_key(SYMBOL, "holdout"))
        runner.materialize([dg.AssetKey("fit_audit")], SYMBOL)
        key = dg.AssetCheckKey(dg.AssetKey("fit_audit"), "fold_truncation")
        newest = runner.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
        assert newest.status.value == "FAILED"
        with pytest.raises(LeakageError, match="training of BTC-USD: found holdout: models/logistic depends on what it may not"):
            runner.run(SYMBOL, until="ensemble")
    assert sorted((home.data / "bundles").rglob("manifest.json")) == bundles


def test_one_rung_can_be_made_alone(home):
    for rung in ("1m", "15m", "1h"):
        (home.lake / "bars" / rung / f"{SYMBOL}.parquet").unlink()
    with home.runner() as runner:
        runner.materialize([dg.AssetKey(["bars", "15m"])], SYMBOL)
    assert [path.parent.name for path in home.lake.glob("bars/*/*.parquet")] == ["15m"]


def test_bars_without_raw_bars_name_the_command(bare_home):
    with bare_home.runner() as runner, pytest.raises(MissingUpstreamError, match="run: quant materialize 'raw_bars/BTC-USD'"):
        runner.materialize([dg.AssetKey(["bars", "15m"])], SYMBOL)


def test_drift_without_a_champion_names_the_command(bare_home):
    with bare_home.runner() as runner, pytest.raises(MissingUpstreamError, match="run: quant train 'BTC-USD'"):
        runner.materialize([dg.AssetKey("drift_report")], SYMBOL)


def test_a_signal_without_a_champion_says_so_and_does_nothing(bare_home):
    with bare_home.runner() as runner:
        runner.materialize([dg.AssetKey("signals")], SYMBOL)
    signal = runner.house.signals.latest(SYMBOL)
    assert (signal.status, signal.action) == ("no_model", 0)
    assert "quant train BTC-USD" in signal.reason


def test_a_bundle_that_went_live_after_the_decision_does_not_answer_for_it(home):
    """The decision is of 10:00; at 10:10 another bundle took over, and at 10:30 the signal of 10:00 is asked for."""
    house = home.house()
    then = house.champions.live_at(SYMBOL, home.as_of)
    late = home.as_of - timedelta(minutes=20)
    house.champions.record(SYMBOL, "later", Decision(True, "drift"), as_of=late, since=late)
    shutil.rmtree(house.workplace.signals)
    with home.runner() as runner:
        runner.materialize([dg.AssetKey("signals")], SYMBOL)
    signal = house.signals.latest(SYMBOL)
    assert (signal.as_of, signal.bundle_id) == (home.as_of.replace(minute=0), then)


def test_the_use_of_the_test_span_is_on_record(trained_home):
    lines = (trained_home.house().workplace.shared / "test_uses" / f"{SYMBOL}.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert "skill and champion rule" in lines[0]


def test_the_report_page_and_its_picture_are_published(trained_home):
    page = trained_home.house().workplace.reports / SYMBOL / "skill_report.html"
    assert "SIMULATED" in page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
