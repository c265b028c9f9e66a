"""Troubles: what is wrong for a while is told once, with how often it was seen, and so is its end.

A trouble lies in a scope (the signals of GC=F, one step of its runs) and is of a kind (stale, failed with these words).
What is seen of an open trouble again is counted. All troubles of a scope end together, when it works again: one message
says after how long, and how often. What begins and ends before its first message went out is one message, too.

Everything is kept in the ledger's file, in one transaction with the message, so that a kill leaves both or neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from quant_pipeline.files import aware
from quant_pipeline.monitoring.alert_ledger import AlertLedger, put, text_of

if TYPE_CHECKING:
    import sqlite3

_TABLES = (
    """CREATE TABLE IF NOT EXISTS troubles (
    scope TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL, thing TEXT NOT NULL, text TEXT NOT NULL,
    first_at TEXT NOT NULL, last_at TEXT NOT NULL, times INTEGER NOT NULL, is_over INTEGER NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS heard (key TEXT PRIMARY KEY)",
)
_COUNT = """UPDATE troubles SET times = times + 1, first_at = MIN(first_at, :at), last_at = MAX(last_at, :at)
    WHERE scope = :scope AND kind = :kind AND NOT is_over"""
_OPEN = "INSERT INTO troubles VALUES (:scope, :kind, :label, :thing, :text, :at, :at, 1, 0)"
_FIELDS = "rowid, label, thing, text, first_at, last_at, times"


@dataclass(frozen=True)
class Trouble:
    """One sight of a trouble.

    Attributes:
        key: of this sight; seen twice, it counts once.
        scope: what does not work, as a path: signal/GC=F.
        kind: what is wrong with it; equal kinds in a scope are one trouble.
        label: the kind in a word or two, for counts: stale.
        thing: the scope in words, for the end: GC=F signals.
        text: the message.
        at: when it was so (UTC).
    """

    key: str
    scope: str
    kind: str
    label: str
    thing: str
    text: str
    at: datetime


@dataclass(frozen=True)
class _Open:
    row: int
    label: str
    thing: str
    text: str
    first_at: datetime
    last_at: datetime
    times: int

    @property
    def key(self) -> str:
        """Under which its message lies in the ledger."""
        return f"trouble/{self.row}"

    @property
    def counted(self) -> str:
        """The message, with how often it was seen when that was more than once."""
        return self.text if self.times == 1 else f"{self.text}\n{self.times} times, {span(self.first_at, self.last_at)}"


class TroubleBook:
    """Open and ended troubles, in the file of `ledger`, which sends what they say."""

    def __init__(self, ledger: AlertLedger) -> None:
        self.ledger = ledger
        with ledger.connect() as base:
            for table in _TABLES:
                base.execute(table)

    def note(self, trouble: Trouble, now: datetime) -> bool:
        """Tell `trouble`, or count it where it is open; False when this sight of it was noted before."""
        with self.ledger.connect() as base:
            if not _fresh(base, trouble.key):
                return False
            values = {**vars(trouble), "at": text_of(trouble.at)}
            if not base.execute(_COUNT, values).rowcount:
                base.execute(_OPEN, values)
            (seen,) = _open(base, "scope = ? AND kind = ?", trouble.scope, trouble.kind)
            put(base, seen.key, seen.counted, now)
            _reword(base, seen.key, seen.counted)
        return True

    def end(self, scope: str, at: datetime, now: datetime) -> bool:
        """The scope works at `at`: troubles seen until then are over, and it is told; False when there were none."""
        with self.ledger.connect() as base:
            over = _open(base, "scope = ? AND last_at <= ?", scope, text_of(at))
            if not over:
                return False
            base.executemany("UPDATE troubles SET is_over = 1 WHERE rowid = ?", [(each.row,) for each in over])
            told = [each for each in over if not _reword(base, each.key, f"{each.counted}\nover {_after([each], at)}")]
            if told:
                put(base, f"{told[-1].key}/over", _over(told, at), now)
        return True

    def unheard(self, keys: Collection[str]) -> set[str]:
        """Those of `keys` that nobody was told of: neither `note` nor `hear` knows them."""
        with self.ledger.connect() as base:
            known = base.execute("SELECT key FROM heard WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),))
            return set(keys) - {key for (key,) in known}

    def hear(self, key: str) -> None:
        """Remember `key`."""
        with self.ledger.connect() as base:
            _fresh(base, key)


def alike(text: str) -> str:
    """`text` without what differs between two sights of the same trouble: every word that holds a digit.

    Example:
        >>> alike("no answer after 10.2 s from 10.0.0.1:443")
        'no answer after # s from #'
    """
    return re.sub(r"\S*\d\S*", "#", text)


def span(first: datetime, last: datetime) -> str:
    """Two moments in words, of the second only what is another."""
    begun, ended = f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}"
    until = "" if begun == ended else f" to {ended if first.date() != last.date() else ended[11:]}"
    return f"{begun}{until} UTC"


def length(time: timedelta) -> str:
    """A length of time in words: the two largest units that say something.

    Example:
        >>> length(timedelta(hours=5, minutes=5)), length(timedelta(days=2, hours=3, minutes=4)), length(timedelta(seconds=20))
        ('5 h 5 min', '2 days 3 h', 'less than 1 min')
    """
    hours, minutes = divmod(int(time.total_seconds()) // 60, 60)
    days, hours = divmod(hours, 24)
    units = ((days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min"))
    return " ".join([f"{count} {unit}" for count, unit in units if count][:2]) or "less than 1 min"


def _fresh(base: sqlite3.Connection, key: str) -> bool:
    return bool(base.execute("INSERT OR IGNORE INTO heard VALUES (?)", (key,)).rowcount)


def _open(base: sqlite3.Connection, where: str, *values: str) -> list[_Open]:
    rows = base.execute(f"SELECT {_FIELDS} FROM troubles WHERE NOT is_over AND {where} ORDER BY rowid", values).fetchall()  # noqa: S608 -- `where` is a literal of this module
    return [
        _Open(row, label, thing, text, aware(first), aware(last), times) for row, label, thing, text, first, last, times in rows
    ]


def _reword(base: sqlite3.Connection, key: str, text: str) -> bool:
    """Let a message that still waits say `text`; False when it is out."""
    return bool(base.execute("UPDATE alerts SET text = ? WHERE key = ? AND state = 'pending'", (text, key)).rowcount)


def _after(over: list[_Open], at: datetime) -> str:
    return f"after {length(at - min(each.first_at for each in over))}"


def _over(over: list[_Open], at: datetime) -> str:
    times: dict[str, int] = {}
    for each in over:
        times[each.label] = times.get(each.label, 0) + each.times
    counts = ", ".join(f"{'once' if count == 1 else f'{count} times'} {label}" for label, count in times.items())
    first, last = min(each.first_at for each in over), max(each.last_at for each in over)
    return f"OVER {over[0].thing}, {_after(over, at)}\n{counts}\n{span(first, last)}"
