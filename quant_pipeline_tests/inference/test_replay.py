"""Replay: emitted signals come back byte for byte, and what does not has its cause named."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars
from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.meta import fit_meta
from quant_pipeline.ensemble.oof import oof_frame
from quant_pipeline.errors import BundleError
from quant_pipeline.features.build import build_features
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.bundle import BundleFacts, load_bundle, save_bundle
from quant_pipeline.inference.predictor import Predictor
from quant_pipeline.inference.replay import decisions_without_signal, differing_fields, replay
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.models import registry
from quant_pipeline.models.contract import make_samples
from quant_pipeline.sources.store import RawStore
from quant_pipeline.views.reference import feature_reference

AT = datetime(2024, 2, 27, 14, tzinfo=UTC)
HOUR, HOURS = timedelta(hours=1), 16


@pytest.fixture(scope="module")
def emitted_once(tmp_path_factory, small_experiment, raw_folder, two_symbols, make_bundle):
    desk = Desk(RawStore(raw_folder), SignalStore(tmp_path_factory.mktemp("signals")), two_symbols, small_experiment)
    predictor = Predictor(desk, profile="simulated", simulated=True)
    for hour in range(HOURS):
        for symbol in ("BTC-USD", "ETH-USD"):
            desk.signals.write(predictor.signal(symbol, make_bundle(), AT + hour * HOUR + timedelta(minutes=5)))
    return desk.signals.root


@pytest.fixture
def emitted(desk, emitted_once):
    shutil.copytree(emitted_once, desk.signals.root)
    return desk


def again(desk, bundle, **changes: object):
    load = changes.pop("load", {bundle.id: bundle}.__getitem__)
    return replay(desk, "BTC-USD", load, **{"profile": "simulated", "simulated": True, **changes})


def test_every_signal_comes_back_byte_for_byte(emitted, bundle):
    table = again(emitted, bundle)
    assert table["as_of"].to_list() == [AT + hour * HOUR for hour in range(HOURS)]
    assert table["equal"].all()
    assert set(table["status"]) == {"ok"}
    assert set(table["cause"]) == {""}
    assert emitted.signals.table("BTC-USD")["action"].n_unique() > 1  # or the account would have nothing to replay


def test_a_span(emitted, bundle):
    table = again(emitted, bundle, start=AT + HOUR, end=AT + 3 * HOUR)
    assert table.height == 3
    assert table["equal"].all()
    assert again(emitted, bundle, start=AT + 99 * HOUR).height == 0


def test_a_store_that_was_built_anew_is_the_cause(emitted, bundle, tmp_path, minutes_of):
    store = RawStore(tmp_path / "anew")
    for name, bars in minutes_of.items():
        store.append(name, "1m", bars.with_columns(pl.col("close") * 1.0001), AT)
    table = again(emitted._replace(store=store), bundle)
    assert not table["equal"].any()
    assert "data_hash" in table["differing"][0]
    assert "a store was rebuilt" in table["cause"][0]
    assert "newest then 2024-02-27 14:00, now 2024-02-27 14:00" in table["cause"][0]


def test_a_revision_by_the_provider_changes_nothing(emitted, bundle, minutes_of):
    revised = minutes_of["BTC-USD"].with_columns(pl.col("close") * 1.0001)
    emitted.store.append("BTC-USD", "1m", revised, AT + 99 * HOUR)
    assert again(emitted, bundle)["equal"].all()


def test_an_edited_signal_is_found(emitted, bundle):
    path = sorted(emitted.signals.root.glob("BTC-USD/2024/02/*.json"))[7]
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "p_up": content["p_up"] / 2}, sort_keys=True))
    table = again(emitted, bundle)
    assert table["equal"].to_list() == [index != 7 for index in range(HOURS)]
    assert table["differing"][7].to_list() == ["p_up"]
    assert "settings" in table["cause"][7]


def test_changed_settings_are_a_cause(emitted, bundle):
    signal = emitted.experiment.signal.model_copy(update={"min_confidence": 0.99})
    other = emitted._replace(experiment=emitted.experiment.model_copy(update={"signal": signal}))
    assert "settings" in "".join(again(other, bundle)["cause"])
    renamed = emitted._replace(experiment=emitted.experiment.model_copy(update={"name": "other"}))
    assert "emitted with experiment 'small'" in again(renamed, bundle)["cause"][0]


def test_what_was_missed_or_could_not_be_opened_comes_back_too(desk, bundle):
    def damaged(_: str):
        raise BundleError("model.txt", found="a changed byte", wanted="the sealed one", mend="restore it")

    predictor = Predictor(desk, profile="simulated", simulated=True)
    told = "model.txt: found a changed byte, wanted the sealed one. To mend: restore it"
    desk.signals.write(predictor.missed("BTC-USD", AT, bundle.id))
    desk.signals.write(predictor.unread("BTC-USD", AT + HOUR, "failed", told, bundle.id))
    assert again(desk, bundle, load=damaged)["equal"].to_list() == [True, True]
    assert again(desk, bundle)["equal"].to_list() == [True, False]


def test_what_was_not_asked_for_or_did_not_answer_comes_back_too(desk, bundle):
    predictor = Predictor(desk, profile="simulated", simulated=True)
    looked = desk.look()
    early = looked.model_copy(update={"asked": AT - timedelta(minutes=2)})
    desk.signals.write(predictor.signal("BTC-USD", bundle, AT, early))
    desk.signals.write(predictor.signal("BTC-USD", bundle, AT + HOUR, looked.model_copy(update={"down": ("macro_series",)})))
    unfinished, without = desk.signals.read("BTC-USD")
    assert (unfinished.status, unfinished.action) == ("stale", 0)
    assert "bars were last asked for at 2024-02-27 13:58 UTC, before the decision" in unfinished.reason
    assert without.status == "ok"
    assert without.reason.endswith("(did not answer: macro_series)")
    assert again(desk, bundle)["equal"].all()
    assert desk.signals.table("BTC-USD")["status"].to_list() == ["stale", "ok"]
    assert b'"asked"' not in predictor.signal("BTC-USD", bundle, AT).canonical()


def test_what_could_not_be_opened_then_and_can_now_is_a_cause(desk, bundle):
    predictor = Predictor(desk, profile="simulated", simulated=True)
    desk.signals.write(predictor.unread("BTC-USD", AT + HOUR, "failed", "no manifest.json", bundle.id))
    (row,) = again(desk, bundle).to_dicts()
    assert not row["equal"]
    assert row["cause"] == "what it was to be made of could not be opened then, and can be now: no manifest.json"


def test_a_lost_bundle_is_a_cause(emitted, bundle):
    def damaged(_: str):
        raise BundleError("model.txt", found="a changed byte", wanted="the sealed one", mend="restore it")

    table = again(emitted, bundle, load=damaged)
    assert not table["equal"].any()
    assert "cannot be opened" in table["cause"][0]
    assert "model.txt" in table["cause"][0]


def test_a_lost_history_of_another_symbol_is_told_apart(emitted, bundle, tmp_path):
    """Signals of the other symbol are what the account, and so a breaker, came from."""
    alone = SignalStore(tmp_path / "alone")
    signals = emitted.signals.read("BTC-USD")
    for signal in signals:
        alone.write(signal.model_copy(update={"breakers": ("correlation",)}) if signal.action else signal)
    causes = set(again(emitted._replace(signals=alone), bundle)["cause"])
    assert {cause.split(":")[0] for cause in causes} == {"", "the account before the decision is not that of then"}


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory, small_experiment, minutes_of, two_symbols, make_preparation):
    """A sealed bundle of a real model, trained on the walk before `AT`."""
    rungs, _ = build_bars({"1m": minutes_of["BTC-USD"]}, "24/7", small_experiment.ladder, as_of=AT)
    features, _ = build_features(rungs, small_experiment.features, "1h", "24/7")
    labels, _ = label_bars(rungs["1h"], rungs["1m"], small_experiment.labels, two_symbols.symbol("BTC-USD").costs)
    labels = labels.join(features, on="decision_at", how="semi")
    samples, rows = make_samples(features, labels), np.arange(len(labels))
    model = registry.create("logistic", {})
    model.fit(samples.take(rows[:300]), samples.take(rows[300:350]), 7)
    blocks = np.array_split(rows[350:], 2)
    told = [
        oof_frame(model.predict(samples.view.take(part)), timestamp=labels["timestamp"][part], fold=fold, model="logistic")
        for fold, part in zip(("fold_00", "fold_01"), blocks, strict=True)
    ]
    meta = fit_meta(pl.concat(told), labels, ("logistic",), EnsembleSettings(), CalibrationSettings()).learner
    facts = BundleFacts(
        symbol="BTC-USD", experiment="small", experiment_hash="e", data_fingerprint="d", training_start=labels["decision_at"][0],
        training_end=labels["decision_at"][300], learned_until=AT, as_of=AT, fallback="logistic",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("bundles") / "real"
    reference = feature_reference(samples.view.take(rows[:300]))
    save_bundle(folder, {"logistic": model}, meta, make_preparation(*samples.view.columns), reference, facts)
    return folder


def test_a_real_bundle_replays_after_being_opened_again(desk, real_folder, tmp_path):
    folder = Path(shutil.copytree(real_folder, tmp_path / "bundle"))
    opened = load_bundle(folder)
    predictor = Predictor(desk, profile="simulated", simulated=True)
    for hour in range(6):
        assert predictor.signal("BTC-USD", opened, AT + hour * HOUR).status == "ok"
        desk.signals.write(predictor.signal("BTC-USD", opened, AT + hour * HOUR))
    table = again(desk, opened, load=lambda _: load_bundle(folder))
    assert table["equal"].to_list() == [True] * 6
    victim = folder / "meta.json"
    victim.write_bytes(victim.read_bytes()[:-2] + b" \n")
    causes = set(again(desk, opened, load=lambda _: load_bundle(folder))["cause"])
    assert len(causes) == 1
    assert "meta.json" in causes.pop()


def test_silent_signals_replay_too(desk, bundle):
    predictor = Predictor(desk, profile="simulated", simulated=True)
    bare, late = predictor.signal("BTC-USD", None, AT), predictor.signal("BTC-USD", bundle, datetime(2024, 3, 4, tzinfo=UTC))
    assert (bare.status, late.status) == ("no_model", "stale")
    desk.signals.write(bare)
    desk.signals.write(late)
    assert again(desk, bundle)["equal"].to_list() == [True, True]


def test_a_failure_that_is_told_in_other_words_is_the_same_failure(desk, make_bundle):
    bundle = make_bundle(columns=("gone_1h",))
    signal = Predictor(desk, profile="simulated", simulated=True).signal("BTC-USD", bundle, AT)
    assert signal.status == "failed"
    desk.signals.write(signal.model_copy(update={"reason": "features: found no column gone_1h"}))
    (row,) = again(desk, bundle).to_dicts()
    assert (row["equal"], row["differing"]) == (True, ["reason"])
    assert "failed then as now" in row["cause"]


def test_decisions_without_a_signal_are_listed(emitted):
    missing = decisions_without_signal(emitted, "BTC-USD", AT - 2 * HOUR, AT + HOURS * HOUR)
    assert missing == [AT - 2 * HOUR, AT - HOUR, AT + HOURS * HOUR]


def test_differing_fields_are_sorted_names(emitted):
    one, other = emitted.signals.read("BTC-USD")[:2]
    assert differing_fields(one, one) == []
    assert differing_fields(one, other) == sorted(differing_fields(one, other))
    assert "as_of" in differing_fields(one, other)
