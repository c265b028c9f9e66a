from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
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


def test_every_picture_is_seen_without_a_click(records):
    """The UI shows Markdown at once where it is shorter than 1,000 characters."""
    for name, made in records.items():
        if any("image/png" in str(value.value) for value in made.metadata.values()):
            assert "![picture](<data:image/svg+xml," in made.metadata["picture"].value, name
            assert len(made.metadata["picture"].value) < 1_000, name


PLOTTED = {
    "backtest": {"total_return_percent", "max_drawdown_percent", "turnover_per_year", "trades", "buy_and_hold_return_percent"},
    "skill_report": {"out_of_fold_information_coefficient", "final_test_log_loss_gain_nats", "final_test_brier_score"},
    "meta_learner": {"log_loss_nats", "prior_log_loss_nats", "log_loss_gain_nats", "best_model_log_loss_nats"},
    "models/lightgbm": {"valid_log_loss_nats", "valid_log_loss_gain_nats", "rows_neutral"},
    "bundle": {"final_test_information_coefficient", "final_test_log_loss_nats", "final_test_hit_rate_percent"},
    "drift_report": {"drifted_share", "drifted_features", "psi_greatest", "psi_median"},
    "signals": {"p_short", "p_neutral", "p_long", "expected_return_percent", "position_size", "confidence_percent"},
    "regimes": {"log_likelihood", "time_in_regime_0_percent"},
}


@pytest.mark.parametrize(("name", "plotted"), PLOTTED.items())
def test_what_a_person_would_plot_is_a_number(records, name, plotted):
    kinds = {key: type(records[name].metadata.get(key)) for key in plotted}
    assert set(kinds.values()) <= {dg.FloatMetadataValue, dg.IntMetadataValue}, kinds


def test_models_are_scored_on_each_block_but_not_on_the_final_test_span(trained_home, records):
    with trained_home.runner() as runner:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("oof_predictions"), asset_partitions=[fold_key(SYMBOL, "fold_01")])
        made = runner.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    for model in ("lightgbm", "logistic"):
        assert 0.5 < made.metadata[f"{model}_log_loss_nats"].value < 1.5
        assert -1 < made.metadata[f"{model}_information_coefficient"].value < 1
    assert not [key for key in records["oof_predictions"].metadata if "log_loss" in key]


def test_numbers_of_the_page_are_those_of_the_tables(trained_home, records):
    from quant_pipeline.orchestration.query import ask

    house, told = trained_home.house(), {name: made.metadata for name, made in records.items()}
    ((net,),) = ask(house, "select arg_max(net, known_at) from backtest")[1]
    assert told["backtest"]["total_return_percent"].value == pytest.approx(100 * (net - 1), rel=1e-5)
    chosen = "model = 'ensemble' and fold = 'holdout'"
    rows = dict(ask(house, f"select metric, value from skill_report where {chosen}")[1])  # noqa: S608 - of this test
    for metric, name in (("log_loss", "log_loss_nats"), ("ic", "information_coefficient"), ("brier", "brier_score")):
        for asset in ("bundle", "skill_report"):
            assert told[asset][f"final_test_{name}"].value == pytest.approx(rows[metric], rel=1e-5)
    (signal,) = house.signals.read(SYMBOL)
    assert told["signals"]["p_long"].value == pytest.approx(signal.p_long, rel=1e-5)
    assert told["signals"]["newest_bar_age_minutes"].value >= 0


REPRS = re.compile(
    r"\b[A-Z]\w+\([a-z_]+=|datetime\.|<[\w.]+(:| object)|\{'|\['|\('|=True\b|=None\b|\bnan\b|\| (None|True|False) \|"
)
"""What Python writes of its objects: dataclasses, moments, enums, dicts, lists, its words for yes, no and nothing."""


def test_no_metadata_description_or_message_shows_a_python_repr(trained_home):
    with trained_home.runner() as runner:
        told = {where: text for entry in _events(runner.instance) for where, text in _texts(entry)}
        for key in runner.graph.get_all_asset_keys():
            told[f"{key.to_user_string()}: description"] = runner.graph.get(key).description or ""
    assert len(told) > 300
    assert {where: text for where, text in told.items() if REPRS.search(text)} == {}


def _events(instance: dg.DagsterInstance) -> Iterator[dg.EventLogEntry]:
    kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    for run in instance.get_runs():
        for entry in instance.all_logs(run.run_id):
            if entry.dagster_event is None or entry.dagster_event.event_type in kinds:
                yield entry


def _texts(entry: dg.EventLogEntry) -> Iterator[tuple[str, str]]:
    """What a page shows of an event: our log lines, and the metadata of materializations and checks but for JSON and pictures."""
    event = entry.dagster_event
    if event is None:
        yield f"log {entry.timestamp}", entry.user_message
        return
    data = event.event_specific_data
    told = data.materialization if event.is_step_materialization else data
    metadata, name = told.metadata, f"{told.asset_key.to_user_string()} {getattr(told, 'check_name', '')}{event.partition or ''}"
    for key, value in metadata.items():
        if not isinstance(value, dg.JsonMetadataValue | dg.PathMetadataValue) and "data:image" not in str(value.value):
            yield f"{name}: {key}", str(value.value)


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
