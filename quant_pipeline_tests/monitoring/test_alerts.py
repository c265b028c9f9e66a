"""The texts of alerts, and sending one under the environment's settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.monitoring.alerts import drift_message, failure_message, send_once, signal_message
from quant_pipeline.monitoring.drift import DriftSummary, RetrainDecision

NOW = datetime(2026, 11, 16, 14, 5, tzinfo=UTC)
SIGNAL = {
    "symbol": "GC=F", "as_of": datetime(2026, 11, 16, 14, tzinfo=UTC), "action": 1,
    "p_short": 0.12, "p_neutral": 0.236, "p_long": 0.644,
    "confidence": 0.644, "position_size": 1.418, "reason": "long pays 0.12 % net", "breakers": (),
    "fallback": None, "simulated": True,
    "bundle_id": "GC=F-3f2a91",
}  # fmt: skip


def signal(**changes: object):
    return SimpleNamespace(**{**SIGNAL, **changes})


def test_a_signal_says_what_to_do_why_and_that_it_is_simulated():
    assert signal_message(signal()).splitlines() == [
        "SIMULATED GC=F: BUY, size 1.42, confidence 64 %",
        "decided 2026-11-16 14:00 UTC",
        "short 12 %, neutral 24 %, long 64 %",
        "long pays 0.12 % net",
        "bundle GC=F-3f2a91",
    ]


def test_a_real_signal_is_not_called_simulated():
    assert signal_message(signal(simulated=False, action=-1)).startswith("GC=F: SELL, size 1.42")


def test_a_signal_without_prediction_names_its_reason():
    silent = signal(
        action=0, p_short=None, p_neutral=None, p_long=None, confidence=None, bundle_id=None, reason="newest bar is 5 h old"
    )
    assert signal_message(silent).splitlines() == [
        "SIMULATED GC=F: HOLD", "decided 2026-11-16 14:00 UTC", "newest bar is 5 h old", "no bundle",
    ]  # fmt: skip


def test_breakers_and_fallback_are_named():
    text = signal_message(signal(breakers=("daily_loss", "drawdown"), fallback="logistic"))
    assert "circuit breakers: daily_loss, drawdown" in text
    assert "answered by logistic alone" in text


def test_failure_and_drift():
    assert failure_message("train_symbol", "0123456789abcdef", " boom\n") == "FAILED train_symbol, run 01234567\nboom"
    assert failure_message("j", "r", "") == "FAILED j, run r\nno message"
    assert len(failure_message("j", "r", "x" * 5_000)) < 900
    text = drift_message(
        "GC=F", DriftSummary(10, ("a", "b", "c")), RetrainDecision(True, "3 of 10 features drifted"), simulated=True
    )
    assert text == "SIMULATED GC=F: DRIFT in 3 of 10 features, retraining\n3 of 10 features drifted"


@pytest.fixture
def environment(stand_in):
    return {"QUANT_TELEGRAM_TOKEN": "123:abc", "QUANT_TELEGRAM_CHAT": "42", "QUANT_TELEGRAM_URL": stand_in.url}


def test_send_once_sends_once_and_flushes_what_waits(tmp_path, stand_in, environment):
    path = tmp_path / "alerts.sqlite"
    stand_in.plan = [(400, {})]
    assert send_once(path, "a", "first", environment, now=NOW).startswith("kept")
    assert send_once(path, "b", "second", environment, now=NOW + timedelta(minutes=1)) == "sent"
    assert send_once(path, "b", "second", environment, now=NOW + timedelta(minutes=2)).startswith("sent before")
    assert stand_in.texts == ["first", "second", "first"]
    assert {alert.state for alert in AlertLedger(path).alerts()} == {"sent"}


def test_send_once_without_a_token_logs(tmp_path, caplog):
    assert send_once(tmp_path / "alerts.sqlite", "a", "first", {}, now=NOW).startswith("logged")
    assert "first" in caplog.text
