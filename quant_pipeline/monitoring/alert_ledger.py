"""The ledger of alerts: what was sent, what waits, so that nothing is sent twice and nothing is lost in silence.

It is an SQLite file, so that runs side by side and a run killed at any moment agree on what was sent:

    (new) -> sending -> sent
                     -> pending -> sending …     Telegram refused, was not reached, or did not answer
                     -> unsure                   the run was killed while sending
    (new) -> logged                              there is no token; the text went to the log

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
from typing import Literal

from quant_pipeline.errors import StorageError
from quant_pipeline.monitoring.telegram import NoAnswerError, NotDeliveredError, TelegramClient

State = Literal["sending", "sent", "pending", "logged", "unsure"]

LOG = logging.getLogger(__name__)
LOCK_SECONDS = 30.0
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(minutes=15)  # between the tries of a pending alert
ABANDONED = timedelta(minutes=5)  # longer than any send takes, so a `sending` this old belongs to a killed run
LATE = timedelta(minutes=5)  # an alert older than this says so
_TABLE = """CREATE TABLE IF NOT EXISTS alerts (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, text TEXT NOT NULL, first_at TEXT NOT NULL, changed_at TEXT NOT NULL,
    next_at TEXT NOT NULL, attempts INTEGER NOT NULL, unanswered INTEGER NOT NULL, error TEXT NOT NULL)"""

_CLAIM = """INSERT INTO alerts VALUES (?, 'sending', ?, ?, ?, ?, 1, 0, '')
    ON CONFLICT (key) DO UPDATE SET state = 'sending', changed_at = excluded.changed_at, attempts = attempts + 1
    WHERE state = 'pending' AND next_at <= excluded.next_at"""
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
        if client is None:
            return self._log(key, text, now)
        if self._claim(key, text, now):
            return self._send(key, client, now)
        return self._told(self._read("key = ?", key)[0], now)

    def flush(self, client: TelegramClient | None, *, now: datetime) -> list[str]:
        """Try every pending alert that is due, oldest first, until one fails; returns what happened, in words."""
        outcomes: list[str] = []
        for alert in self.alerts("pending") if client else []:
            if client and alert.next_at <= now and self._claim(alert.key, alert.text, now):
                outcomes.append(f"{alert.key}: {self._send(alert.key, client, now)}")
                if self._read("key = ?", alert.key)[0].state == "pending":
                    break
        return outcomes

    def alerts(self, state: State | None = None) -> list[Alert]:
        """The ledger's rows, oldest first, all or those in `state`."""
        return self._read("state = ?", state) if state else self._read("1 = 1")

    def _log(self, key: str, text: str, now: datetime) -> str:
        with self._connect() as base:
            fresh = base.execute(
                "INSERT OR IGNORE INTO alerts VALUES (?, 'logged', ?, ?, ?, ?, 0, 0, '')", (key, text, *[_text(now)] * 3)
            ).rowcount
        if not fresh:
            return self._told(self._read("key = ?", key)[0], now)
        LOG.warning("alert without Telegram (QUANT_TELEGRAM_TOKEN is not set): %s", text)
        return "logged, not sent: QUANT_TELEGRAM_TOKEN is not set"

    def _claim(self, key: str, text: str, now: datetime) -> bool:
        """Mark `key` as sending; False when another run holds or finished it, or its next try is not due."""
        with self._connect() as base:
            return bool(base.execute(_CLAIM, (key, text, *[_text(now)] * 3)).rowcount)

    def _send(self, key: str, client: TelegramClient, now: datetime) -> str:
        alert = self._read("key = ?", key)[0]
        try:
            client.send(_marked(alert, now))
        except (NotDeliveredError, NoAnswerError) as error:
            return self._postpone(alert, error, now)
        self._change(key, "sent", now)
        return "sent"

    def _postpone(self, alert: Alert, error: NotDeliveredError | NoAnswerError, now: datetime) -> str:
        due = now + min(FIRST_WAIT * 2 ** min(alert.attempts - 1, 10), LONGEST_WAIT)
        with self._connect() as base:
            base.execute(_POSTPONE, (_text(now), _text(due), isinstance(error, NoAnswerError), str(error), alert.key))
        LOG.warning("alert %s is kept and tried again after %s: %s", alert.key, f"{due:%H:%M:%S} UTC", error)
        return f"kept, next try after {due:%H:%M:%S} UTC: {error}"

    def _told(self, alert: Alert, now: datetime) -> str:
        if alert.state == "pending":
            return f"kept, next try after {alert.next_at:%H:%M:%S} UTC: {alert.error}"
        if alert.state == "sending" and now - alert.changed_at > ABANDONED:
            LOG.warning("alert %s: its run was killed while sending; it may have arrived and is not sent again", alert.key)
            self._change(alert.key, "unsure", now)
            return "not sent again: its run was killed while sending"
        return f"{alert.state} before, at {alert.changed_at:%Y-%m-%d %H:%M:%S} UTC"

    def _change(self, key: str, state: State, now: datetime) -> None:
        with self._connect() as base:
            base.execute("UPDATE alerts SET state = ?, changed_at = ?, error = '' WHERE key = ?", (state, _text(now), key))

    def _read(self, where: str, *values: str) -> list[Alert]:
        with self._connect() as base:
            rows = base.execute(f"SELECT * FROM alerts WHERE {where} ORDER BY first_at, key", values).fetchall()  # noqa: S608 -- `where` is a literal of this module
        return [Alert(*row[:3], *map(datetime.fromisoformat, row[3:6]), *row[6:]) for row in rows]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=LOCK_SECONDS)) as base, base:
                base.execute(_TABLE)
                yield base
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                str(self.path), found=f"{type(error).__name__}: {error}", wanted="a writable SQLite file",
                mend="free space or fix permissions; delete the file to forget what was sent",
            ) from error  # fmt: skip


def _marked(alert: Alert, now: datetime) -> str:
    notes = []
    if now - alert.first_at > LATE:
        notes.append(f"Delayed: meant for {alert.first_at:%Y-%m-%d %H:%M} UTC.")
    if alert.unanswered:
        notes.append("Possibly repeated: Telegram did not confirm an earlier try.")
    return "\n".join([*notes, alert.text])


def _text(moment: datetime) -> str:
    # one width, so that the order of the texts is the order of the moments
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
