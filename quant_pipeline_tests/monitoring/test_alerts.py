"""The texts of alerts: facts first, in words with units, on one screen of a phone."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from quant_pipeline.monitoring.alerts import (
    NO_BREAK,
    drift_message,
    failure_message,
    outage_message,
    shortened,
    signal_message,
)

SIGNAL = {
    "symbol": "GC=F", "as_of": datetime(2026, 11, 16, 14, tzinfo=UTC), "status": "ok", "action": 1,
    "entry_from": datetime(2026, 11, 16, 15, tzinfo=UTC),
    "p_short": 0.12, "p_neutral": 0.236, "p_long": 0.644,
    "position_size": 1.418, "equity_share": 0.1418, "reason": "long pays 0.12 % net", "breakers": (),
    "fallback": None, "simulated": True,
    "bundle_id": "GC=F-3f2a91",
}  # fmt: skip


def signal(**changes: object):
    return SimpleNamespace(**{**SIGNAL, **changes})


PLAN = SimpleNamespace(price=4_012.34, target=4_040.1, stop=3_995.0, expires_at=datetime(2026, 11, 16, 19, tzinfo=UTC))


WIDTH = 38
"""About so many characters of a proportional font stand in a line of a phone."""


def lines_of(text: str) -> list[str]:
    return text.replace(NO_BREAK, " ").splitlines()


def test_a_signal_says_what_to_do_why_and_that_it_is_simulated():
    assert lines_of(signal_message(signal(), PLAN)) == [
        "SIMULATED GC=F: BUY",
        "1.42 units, 14.2 % of equity",
        "decided 2026-11-16 14:00 UTC",
        "price then 4,012.34",
        "entry: open of 2026-11-16 15:00 UTC",
        "target 4,040.1 (+0.69 %)",
        "stop 3,995 (-0.43 %)",
        "else out by 2026-11-16 19:00 UTC",
        "up 64 %, neither 24 %, down 12 %",
        "long pays 0.12 % net",
        "bundle GC=F-3f2a91",
    ]


def test_no_fact_is_broken_at_the_edge_of_a_phone():
    silent = signal_message(signal(status="stale", action=0))
    drift = drift_message("BTC-USD", "x", retrain=True, simulated=True)
    outage = outage_message("BTC-USD correlated_bars", ["x"])
    failure = failure_message("BTC-USD correlated_bars", "hourly_inference", "0123456789abcdef", "x")
    for text in (signal_message(signal(symbol="BTC-USD"), PLAN), silent, drift, outage, failure):
        assert max(map(len, text.splitlines())) <= WIDTH, text


def test_a_number_keeps_its_per_cent_sign():
    assert " %" not in signal_message(signal(reason="short -0.230 %"), PLAN) + drift_message("GC=F", "55 %", retrain=False)


def test_what_a_signal_does_not_know_it_leaves_out():
    told = lines_of(signal_message(signal(simulated=False, action=-1, entry_from=None)))
    assert told[:3] == ["GC=F: SELL", "1.42 units, 14.2 % of equity", "decided 2026-11-16 14:00 UTC"]
    assert not any("target" in line or "entry" in line for line in told)


def test_holding_needs_no_prices_to_act_at():
    told = signal_message(signal(action=0, position_size=0.0), PLAN)
    assert told.startswith("SIMULATED GC=F: HOLD\ndecided 2026-11-16 14:00 UTC\nprice then 4,012.34\nup")


@pytest.mark.parametrize(
    ("status", "words"), [("stale", "the bars are too old"), ("late", "its hour was missed"), ("new", "new")]
)
def test_a_signal_that_says_nothing_names_its_reason(status, words):
    silent = signal(
        status=status, action=0, p_short=None, p_neutral=None, p_long=None, bundle_id=None, reason="newest bar is 5 h old"
    )
    assert lines_of(signal_message(silent)) == [
        "SIMULATED GC=F: NO SIGNAL", words, "due 2026-11-16 14:00 UTC", "newest bar is 5 h old", "no position is taken",
    ]  # fmt: skip


def test_breakers_and_fallback_are_named():
    text = signal_message(signal(breakers=("daily_loss", "drawdown"), fallback="logistic"))
    assert "circuit breakers: daily_loss, drawdown" in text
    assert "answered by logistic alone" in text


def test_a_failure_says_what_failed_and_why_before_where():
    told = failure_message("GC=F raw_bars", "hourly_inference", "0123456789abcdef", " boom\n")
    assert told == "FAILED GC=F raw_bars\nboom\nhourly_inference, run 01234567"
    assert "no message" in failure_message("j", "j", "r", "")


def test_a_long_reason_keeps_its_beginning_and_its_mend():
    told = shortened(f"yahoo: found {'x' * 5_000}. To mend: wait an hour")
    assert len(told) == 500
    assert told.startswith("yahoo: found xxx")
    assert told.endswith("To mend: wait an hour")


def test_outage_and_drift():
    assert outage_message("GC=F raw_bars", ["1m: timed out"]) == "OUTAGE GC=F raw_bars\nnot all data came\n1m: timed out"
    assert outage_message("GC=F raw_bars", ["a", "b", "c"]).endswith("a\nand 2 more")
    told = drift_message("GC=F", "3 of 10 features drifted", retrain=True, simulated=True)
    assert told == "SIMULATED GC=F: DRIFT\na retraining is asked for\n3 of 10 features drifted"
    assert drift_message("GC=F", "x", retrain=False) == "GC=F: DRIFT\nno retraining\nx"
