"""The ledger: once per key, nothing lost while Telegram is down, and honest about runs that were killed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from quant_pipeline.errors import StorageError
from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.monitoring.telegram import TelegramClient

NOW = datetime(2026, 11, 16, 14, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def ledger(tmp_path):
    return AlertLedger(tmp_path / "lake" / "alerts.sqlite")


@pytest.fixture
def telegram(stand_in):
    return TelegramClient("123:abc", "42", stand_in.url, sleep=[].append, timeout=0.3)


def states(ledger):
    return {alert.key: alert.state for alert in ledger.alerts()}


def test_a_retried_run_does_not_send_again(ledger, telegram, stand_in):
    assert ledger.deliver("signal/GC=F/14", "buy", telegram, now=NOW) == "sent"
    assert ledger.deliver("signal/GC=F/14", "buy", telegram, now=NOW + SECOND) == "sent before, at 2026-11-16 14:05:00 UTC"
    assert AlertLedger(ledger.path).deliver("signal/GC=F/14", "other words", telegram, now=NOW + SECOND).startswith("sent before")
    assert stand_in.texts == ["buy"]


def test_other_keys_are_sent(ledger, telegram, stand_in):
    for key in ("a", "b", "a"):
        ledger.deliver(key, key, telegram, now=NOW)
    assert stand_in.texts == ["a", "b"]


def test_telegram_down_keeps_the_alert_and_a_later_call_sends_it(ledger, telegram, stand_in, caplog):
    stand_in.plan = [(503, "")] * 4
    assert ledger.deliver("k", "buy", telegram, now=NOW).startswith("kept, next try after 14:05:15 UTC: Telegram at")
    assert "alert k is kept" in caplog.text
    assert ledger.deliver("k", "buy", telegram, now=NOW + SECOND).startswith("kept, next try after 14:05:15")
    assert len(stand_in.received) == 4
    assert ledger.deliver("k", "buy", telegram, now=NOW + 15 * SECOND) == "sent"
    assert stand_in.texts[4:] == ["buy"]


def test_waits_grow_and_a_late_alert_says_so(ledger, telegram, stand_in):
    stand_in.plan = [(401, {})] * 12
    now = NOW
    for _ in range(12):
        ledger.deliver("k", "buy", telegram, now=now)
        waited = ledger.alerts("pending")[0].next_at - now
        now += waited
    assert waited == timedelta(minutes=15)
    assert ledger.flush(telegram, now=now) == ["k: sent"]
    assert stand_in.texts[-1] == "Delayed: meant for 2026-11-16 14:05 UTC.\nbuy"
    assert ledger.alerts()[0].attempts == 13


def test_flush_sends_oldest_first_and_stops_at_a_failure(ledger, telegram, stand_in):
    stand_in.plan = [(400, {})] * 3
    for minute, key in enumerate(("first", "second", "third")):
        ledger.deliver(key, key, telegram, now=NOW + minute * SECOND)
    stand_in.plan = [(200, {"ok": True, "result": {"message_id": 1}}), (400, {})]
    stand_in.received.clear()
    outcomes = ledger.flush(telegram, now=NOW + timedelta(minutes=1))
    assert [outcome.split(",")[0] for outcome in outcomes] == ["first: sent", "second: kept"]
    assert states(ledger) == {"first": "sent", "second": "pending", "third": "pending"}
    assert ledger.flush(None, now=NOW + timedelta(hours=1)) == []


def test_while_telegram_wants_to_be_left_alone_nothing_is_sent(ledger, telegram, stand_in):
    stand_in.plan = [(429, {"ok": False, "parameters": {"retry_after": 3_600}})]
    assert ledger.deliver("first", "first", telegram, now=NOW).startswith("kept, next try after 15:05:00")
    told = ledger.deliver("second", "second", telegram, now=NOW + SECOND)
    assert told == "kept, next try after 15:05:00 UTC: Telegram asked to be left alone"
    assert ledger.flush(telegram, now=NOW + timedelta(minutes=59)) == []
    assert stand_in.texts == ["first"]
    assert ledger.flush(telegram, now=NOW + timedelta(minutes=60)) == ["first: sent", "second: sent"]


def test_an_answer_that_nobody_can_decode_loses_nothing(ledger, telegram, stand_in):
    stand_in.plan = [(200, "no gzip", {"Content-Encoding": "gzip"}), (200, '{"ok": true, "result": {"message_id": 1e400}}')]
    assert ledger.deliver("k", "buy", telegram, now=NOW).startswith("kept")
    assert ledger.flush(telegram, now=NOW + 15 * SECOND)[0].startswith("k: kept")
    assert ledger.flush(telegram, now=NOW + timedelta(minutes=2)) == ["k: sent"]


def test_a_repeat_after_silence_says_that_it_may_be_one(ledger, telegram, stand_in):
    stand_in.plan = ["drop"]
    assert ledger.deliver("k", "buy", telegram, now=NOW).startswith("kept")
    assert ledger.flush(telegram, now=NOW + 15 * SECOND) == ["k: sent"]
    assert stand_in.texts[1] == "Possibly repeated: Telegram did not confirm an earlier try.\nbuy"


def test_a_run_killed_while_sending_is_not_repeated(ledger, telegram, stand_in, caplog):
    class Killed(BaseException):
        pass

    class Dying:
        def send(self, text):
            telegram.send(text)
            raise Killed

    with pytest.raises(Killed):
        ledger.deliver("k", "buy", Dying(), now=NOW)
    assert ledger.deliver("k", "buy", telegram, now=NOW + SECOND).startswith("sending before")
    assert ledger.flush(telegram, now=NOW + SECOND) == []
    later = NOW + timedelta(minutes=6)
    assert ledger.deliver("k", "buy", telegram, now=later) == "not sent again: its run was killed while sending"
    assert caplog.text.count("was killed while sending") == 1
    ledger.deliver("k", "buy", telegram, now=later)
    assert caplog.text.count("was killed while sending") == 1
    assert states(ledger) == {"k": "unsure"}
    assert stand_in.texts == ["buy"]


def test_without_a_token_the_alert_goes_to_the_log_once(ledger, telegram, stand_in, caplog):
    assert ledger.deliver("k", "buy gold", None, now=NOW) == "logged, not sent: QUANT_TELEGRAM_TOKEN is not set"
    assert "buy gold" in caplog.text
    caplog.clear()
    assert ledger.deliver("k", "buy gold", None, now=NOW).startswith("logged before")
    assert ledger.deliver("k", "buy gold", telegram, now=NOW).startswith("logged before")
    assert not caplog.text
    assert not stand_in.received


def test_runs_side_by_side_send_once(ledger, telegram, stand_in):
    start = threading.Barrier(8)

    def race():
        start.wait()
        AlertLedger(ledger.path).deliver("k", "buy", telegram, now=NOW)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stand_in.texts == ["buy"]
    assert states(ledger) == {"k": "sent"}


def test_an_unusable_file_is_our_error(tmp_path):
    (tmp_path / "alerts.sqlite").write_text("this is no database, " * 100)
    with pytest.raises(StorageError, match=r"alerts\.sqlite"):
        AlertLedger(tmp_path / "alerts.sqlite").deliver("k", "buy", None, now=NOW)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        AlertLedger(tmp_path / "file" / "alerts.sqlite").alerts()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE alerts SET first_at = 'soon'", "Invalid isoformat"),
        ("UPDATE alerts SET changed_at = 5", "Invalid isoformat"),
        ("UPDATE alerts SET changed_at = x'00'", "TypeError"),
        ("UPDATE alerts SET next_at = '2026-11-16T14:05:00'", "time zone"),
        ("UPDATE alerts SET attempts = 'many'", "another kind"),
        ("UPDATE alerts SET state = 'lost'", "the state 'lost'"),
        ("ALTER TABLE alerts DROP COLUMN error", "no such column"),
    ],
)
def test_a_ledger_of_other_values_or_columns_is_our_error(ledger, change, found):
    ledger.keep("k", "buy", now=NOW)
    with ledger.connect() as base:
        base.execute(change)
    with pytest.raises(StorageError, match=f"{found}.*To mend: restore it from a backup, or delete it"):
        ledger.alerts()


def test_a_column_more_is_no_damage(ledger):
    ledger.keep("k", "buy", now=NOW)
    with ledger.connect() as base:
        base.execute("ALTER TABLE alerts ADD COLUMN more TEXT")
    assert ledger.deliver("k", "buy", None, now=NOW).startswith("logged")


@pytest.mark.parametrize("wrong", ["folder", "dead link"])
def test_what_stands_in_the_place_of_the_ledger_is_named(tmp_path, wrong):
    path = tmp_path / "alerts.sqlite"
    path.mkdir() if wrong == "folder" else path.symlink_to(tmp_path / "no" / "where")
    with pytest.raises(StorageError, match=r"To mend: move .*alerts\.sqlite away"):
        AlertLedger(path).alerts()
