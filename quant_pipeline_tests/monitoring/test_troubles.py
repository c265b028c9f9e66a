"""Troubles: one message each, counted, and one for the end, whatever was killed or unreachable in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.monitoring.telegram import TelegramClient
from quant_pipeline.monitoring.troubles import Trouble, TroubleBook, alike, length, span

TEN = datetime(2026, 11, 18, 10, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def book(tmp_path):
    return TroubleBook(AlertLedger(tmp_path / "alerts.sqlite"))


@pytest.fixture
def telegram(stand_in):
    return TelegramClient("123:abc", "42", stand_in.url, sleep=[].append, timeout=0.3)


def stale(hour: int, kind: str = "stale", **changed: str) -> Trouble:
    at = TEN + hour * HOUR
    facts = {"scope": "signal/GC=F", "label": kind, "thing": "GC=F signals", "text": f"GC=F {kind.upper()}"}
    return Trouble(**{"key": f"signal/GC=F/{at}/{kind}", "kind": kind, "at": at, **facts, **changed})


def test_a_trouble_is_told_at_once_then_counted_and_its_end_is_told(book, telegram, stand_in):
    for hour in range(5):
        for _ in range(3):
            book.note(stale(hour), TEN + hour * HOUR)
            book.ledger.flush(telegram, now=TEN + hour * HOUR)
    assert stand_in.texts == ["GC=F STALE"]
    for _ in range(3):
        book.end("signal/GC=F", TEN + 5 * HOUR, TEN + 5 * HOUR)
        book.ledger.flush(telegram, now=TEN + 5 * HOUR)
    assert stand_in.texts[1:] == ["OVER GC=F signals, after 5 h\n5 times stale\n2026-11-18 10:00 to 14:00 UTC"]


def test_another_kind_in_the_scope_is_told_and_one_end_counts_both(book, telegram, stand_in):
    for hour, kind in enumerate(("stale", "failed", "stale", "stale")):
        book.note(stale(hour, kind), TEN)
        book.ledger.flush(telegram, now=TEN)
    book.end("signal/GC=F", TEN + 30 * HOUR, TEN)
    book.ledger.flush(telegram, now=TEN)
    assert stand_in.texts == [
        "GC=F STALE", "GC=F FAILED",
        "OVER GC=F signals, after 1 day 6 h\n3 times stale, once failed\n2026-11-18 10:00 to 13:00 UTC",
    ]  # fmt: skip


def test_a_trouble_that_comes_again_is_told_again(book, telegram, stand_in):
    for hour in (0, 2):
        book.note(stale(hour), TEN)
        book.ledger.flush(telegram, now=TEN)
        assert book.end("signal/GC=F", TEN + (hour + 1) * HOUR, TEN)
        book.ledger.flush(telegram, now=TEN)
    assert [text.split()[0] for text in stand_in.texts] == ["GC=F", "OVER", "GC=F", "OVER"]


def test_what_was_noted_before_is_not_noted_again_though_it_is_over(book):
    assert book.note(stale(0), TEN)
    book.end("signal/GC=F", TEN + HOUR, TEN)
    assert not book.note(stale(0), TEN)
    assert not book.end("signal/GC=F", TEN + HOUR, TEN)


def test_an_end_before_the_last_sight_ends_nothing(book):
    book.note(stale(2), TEN)
    assert not book.end("signal/GC=F", TEN + HOUR, TEN)
    assert not book.end("signal/SI=F", TEN + 9 * HOUR, TEN)
    assert book.end("signal/GC=F", TEN + 2 * HOUR, TEN)


def test_what_ends_while_telegram_is_down_is_one_message(book, telegram, stand_in):
    stand_in.plan = [(400, {})]
    for hour in range(3):
        book.note(stale(hour), TEN)
        book.ledger.flush(telegram, now=TEN)
    book.end("signal/GC=F", TEN + 3 * HOUR, TEN)
    book.ledger.flush(telegram, now=TEN + MINUTE)
    assert stand_in.texts[1:] == ["GC=F STALE\n3 times, 2026-11-18 10:00 to 12:00 UTC\nover after 3 h"]


def test_a_kill_between_the_note_and_its_message_loses_nothing(book, telegram, stand_in):
    book.note(stale(0), TEN)
    again = TroubleBook(AlertLedger(book.ledger.path))
    assert not again.note(stale(0), TEN)
    again.ledger.flush(telegram, now=TEN)
    assert stand_in.texts == ["GC=F STALE"]


def test_without_a_token_troubles_go_to_the_log(book, telegram, stand_in, caplog):
    book.note(stale(0), TEN)
    assert len(book.ledger.flush(None, now=TEN)) == 1
    assert "GC=F STALE" in caplog.text
    assert book.ledger.flush(telegram, now=TEN) == []
    assert stand_in.texts == []


def test_what_only_numbers_tell_apart_is_alike():
    assert alike("bundle GC=F-3f2a91 at 10:00, 5 rows") == alike("bundle GC=F-77 at 11:30, 12 rows")
    assert alike("no answer") != alike("no answer, refused")


def test_lengths_in_words():
    told = [length(timedelta(minutes=minutes)) for minutes in (0, 1, 61, 24 * 60, 24 * 61, 51 * 60 + 4)]
    assert told == ["less than 1 min", "1 min", "1 h 1 min", "1 day", "1 day 24 min", "2 days 3 h"]


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (MINUTE / 3, "2026-11-18 10:00 UTC"), (2 * HOUR, "2026-11-18 10:00 to 12:00 UTC"),
        (24 * HOUR, "2026-11-18 10:00 to 2026-11-19 10:00 UTC"),
    ],
)  # fmt: skip
def test_a_span_tells_of_its_end_what_is_another(later, words):
    assert span(TEN, TEN + later) == words
