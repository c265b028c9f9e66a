"""The ledger of alerts: what was sent, what waits, so that nothing is sent twice and nothing is lost in silence.

It is an SQLite file, so that runs side by side and a run killed at any moment agree on what was sent:

    (new) -> pending -> sending -> sent
                                -> pending -> sending …     Telegram refused, was not reached, or did not answer
                                -> unsure                   the run was killed while sending
                     -> logged                              there is no token; the text went to the log

Nobody can tell whether the message of a killed run arrived, so it is not sent again: once, not twice, counts for more
than a text that the UI shows as well.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from quant_pipeline.errors import StorageError
from quant_pipeline.files import aware, refusal
from quant_pipeline.monitoring.telegram import NoAnswerError, NotDeliveredError, TelegramClient

State = Literal["sending", "sent", "pending", "logged", "unsure"]

LOG = logging.getLogger(__name__)
LOCK_SECONDS = 30.0
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(minutes=15)  # between the tries of a pending alert
ABANDONED = timedelta(minutes=5)  # longer than any send takes, so a `sending` this old belongs to a killed run
LATE = timedelta(minutes=5)  # an alert older than this says so
_TABLES = """CREATE TABLE IF NOT EXISTS alerts (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, text TEXT NOT NULL, first_at TEXT NOT NULL, changed_at TEXT NOT NULL,
    next_at TEXT NOT NULL, attempts INTEGER NOT NULL, unanswered INTEGER NOT NULL, error TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS pauses (until TEXT NOT NULL)"""

_FIELDS = "key, state, text, first_at, changed_at, next_at, attempts, unanswered, error"
_PUT = f"""INSERT OR IGNORE INTO alerts ({_FIELDS})
    SELECT :key, 'pending', :text, :now, :now, MAX(:now, COALESCE(MAX(until), '')), 0, 0, '' FROM pauses"""  # noqa: S608 -- literals of this module
_CLAIM = """UPDATE alerts SET state = 'sending', changed_at = :now, attempts = attempts + 1
    WHERE key = :key AND state = 'pending' AND next_at <= :now"""
_LOG = "UPDATE alerts SET state = 'logged', changed_at = :now WHERE key = :key AND state = 'pending' AND attempts = 0"
_POSTPONE = """UPDATE alerts SET state = 'pending', changed_at = ?, next_at = ?, unanswered = unanswered + ?, error = ?
    WHERE key = ?"""


@dataclass(frozen=True)
class Alert:
    """One row of the ledger. Times are UTC; `unanswered` counts tries that may have been delivered all the same."""

    key: str
    state: State
    text: str
    first_at: datetime
    changed_at: datetime
    next_at: datetime
    attempts: int
    unanswered: int
    error: str


class AlertLedger:
    """What was sent, what waits, and what only went to the log, by key.

    Args:
        path: the SQLite file; made with its folder when it is absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def deliver(self, key: str, text: str, client: TelegramClient | None, *, now: datetime) -> str:
        """Send `text` unless `key` was dealt with before; returns what happened, in words.

        A key that is pending is tried again with the text it was first given, not before its next try is due.
        """
        self.keep(key, text, now=now)
        return self._settle(key, client, now) or self._told(self._alert(key), now)

    def keep(self, key: str, text: str, *, now: datetime) -> None:
        """Let `text` wait under `key` for the next `flush`; nothing where the key was dealt with before."""
        with self.connect() as base:
            put(base, key, text, now)

    def flush(self, client: TelegramClient | None, *, now: datetime) -> list[str]:
        """Try every pending alert that is due, oldest first, until one fails; returns what happened, in words."""
        for alert in self.alerts("sending"):
            self._told(alert, now)
        outcomes: list[str] = []
        for alert in self.alerts("pending"):
            if outcome := self._settle(alert.key, client, now):
                outcomes.append(f"{alert.key}: {outcome}")
                if self._alert(alert.key).state == "pending":
                    break
        return outcomes

    def alerts(self, state: State | None = None) -> list[Alert]:
        """The ledger's rows, oldest first, all or those in `state`."""
        return self._read("state = ?", state) if state else self._read("1 = 1")

    def _settle(self, key: str, client: TelegramClient | None, now: datetime) -> str:
        """Send or log a pending alert; empty when another run holds or finished it, or its next try is not due."""
        with self.connect() as base:
            mine = base.execute(_CLAIM if client else _LOG, {"key": key, "now": text_of(now)}).rowcount
        if not mine:
            return ""
        if client:
            return self._send(key, client, now)
        LOG.warning("alert without Telegram (QUANT_TELEGRAM_TOKEN is not set): %s", self._alert(key).text)
        return "logged, not sent: QUANT_TELEGRAM_TOKEN is not set"

    def _send(self, key: str, client: TelegramClient, now: datetime) -> str:
        alert = self._alert(key)
        try:
            client.send(_marked(alert, now))
        except (NotDeliveredError, NoAnswerError) as error:
            return self._postpone(alert, error, now)
        self._change(key, "sent", now)
        return "sent"

    def _postpone(self, alert: Alert, error: NotDeliveredError | NoAnswerError, now: datetime) -> str:
        due = now + min(FIRST_WAIT * 2 ** min(alert.attempts - 1, 10), LONGEST_WAIT)
        asked = error.wait if isinstance(error, NotDeliveredError) else None
        due = max(due, now + timedelta(seconds=asked or 0))
        with self.connect() as base:
            base.execute(_POSTPONE, (text_of(now), text_of(due), isinstance(error, NoAnswerError), str(error), alert.key))
            if asked:
                _pause(base, due)
        LOG.warning("alert %s is kept and tried again after %s: %s", alert.key, f"{due:%H:%M:%S} UTC", error)
        return f"kept, next try after {due:%H:%M:%S} UTC: {error}"

    def _told(self, alert: Alert, now: datetime) -> str:
        if alert.state == "pending":
            return f"kept, next try after {alert.next_at:%H:%M:%S} UTC: {alert.error or 'Telegram asked to be left alone'}"
        if alert.state == "sending" and now - alert.changed_at > ABANDONED:
            LOG.warning("alert %s: its run was killed while sending; it may have arrived and is not sent again", alert.key)
            self._change(alert.key, "unsure", now)
            return "not sent again: its run was killed while sending"
        return f"{alert.state} before, at {alert.changed_at:%Y-%m-%d %H:%M:%S} UTC"

    def _change(self, key: str, state: State, now: datetime) -> None:
        with self.connect() as base:
            base.execute("UPDATE alerts SET state = ?, changed_at = ?, error = '' WHERE key = ?", (state, text_of(now), key))

    def _alert(self, key: str) -> Alert:
        return self._read("key = ?", key)[0]

    def _read(self, where: str, *values: str) -> list[Alert]:
        with self.connect() as base:
            rows = base.execute(f"SELECT {_FIELDS} FROM alerts WHERE {where} ORDER BY first_at, key", values)  # noqa: S608 -- literals of this module
            return [_alert(*row) for row in rows]

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """The ledger's file, for one transaction: all of it is kept, or nothing.

        Raises `StorageError` when the disk refuses, and for a file, or a value in it, that is not as it was written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=LOCK_SECONDS)) as base, base:
                for table in _TABLES.split(";"):
                    base.execute(table)
                yield base
        except (OSError, sqlite3.Error, ValueError, TypeError) as error:
            raise (_damage(self.path, error) if _is_damage(error) else refusal(self.path, error)) from error


def _alert(
    key: str, state: State, text: str, first: str, changed: str, due: str, attempts: int, unanswered: int, error: str
) -> Alert:
    """The row that these columns hold; raises `ValueError` or `TypeError` for one that the ledger did not write."""
    if {type(attempts), type(unanswered)} != {int} or {type(each) for each in (key, text, error)} != {str}:
        raise TypeError(f"alert {key!r} holds a value of another kind than was written")
    if state not in get_args(State):
        raise ValueError(f"alert {key!r} has the state {state!r}")
    return Alert(key, state, text, aware(first), aware(changed), aware(due), attempts, unanswered, error)


def _is_damage(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return any(words in str(error) for words in ("no such", "no column"))
    return isinstance(error, sqlite3.Error | ValueError | TypeError)


def _damage(path: Path, error: Exception) -> StorageError:
    return StorageError(
        str(path), found=f"{type(error).__name__}: {error}", wanted="the ledger of alerts as it was written",
        mend="restore it from a backup, or delete it to forget what was sent",
    )  # fmt: skip


def _marked(alert: Alert, now: datetime) -> str:
    notes = []
    if now - alert.first_at > LATE:
        notes.append(f"Delayed: meant for {alert.first_at:%Y-%m-%d %H:%M} UTC.")
    if alert.unanswered:
        notes.append("Possibly repeated: Telegram did not confirm an earlier try.")
    return "\n".join([*notes, alert.text])


def put(base: sqlite3.Connection, key: str, text: str, now: datetime) -> None:
    """Let `text` wait under `key`, not before Telegram wants to hear more; nothing where the key was dealt with before."""
    base.execute(_PUT, {"key": key, "text": text, "now": text_of(now)})


def _pause(base: sqlite3.Connection, until: datetime) -> None:
    """Telegram counts a chat's messages, so that all of them wait when one was too many."""
    base.execute("DELETE FROM pauses")
    base.execute("INSERT INTO pauses VALUES (?)", (text_of(until),))
    base.execute("UPDATE alerts SET next_at = MAX(next_at, ?) WHERE state = 'pending'", (text_of(until),))


def text_of(moment: datetime) -> str:
    """A moment as the ledger writes it: of one width, so that the order of the texts is the order of the moments."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
