"""Connections to SQLite files that stay open: opening a file for every event, and closing it, takes longer than the event."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy.pool import NullPool, QueuePool

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

OPEN = 8
"""Files that are kept open at once: those of the runs at work, and the index."""
PATIENT = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}


class Connections:
    """Engines of SQLite files, one connection each; the file that was used longest ago is closed first.

    A commit is safe from kills; a power cut may undo the last ones, and never damages the file (SQLite: WAL with
    `synchronous=NORMAL`).

    Args:
        prepare: sets up a file that was not used before.
    """

    def __init__(self, prepare: Callable[[Engine], None]) -> None:
        self._prepare = prepare
        self._prepared: set[str] = set()
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    def engine(self, url: str) -> Engine:
        """The engine of the file at `url`, which stays open."""
        if url not in self._prepared:
            self._prepare(sa.create_engine(url, poolclass=NullPool, connect_args=PATIENT))
            self._prepared.add(url)
        if url not in self._engines:
            self._engines[url] = _kept_open(url)
        self._engines.move_to_end(url)
        if len(self._engines) > OPEN:
            self._engines.popitem(last=False)[1].dispose()
        return self._engines[url]

    def forget(self, url: str) -> None:
        """Close a file that is to be removed."""
        self._prepared.discard(url)
        if engine := self._engines.pop(url, None):
            engine.dispose()

    def close(self) -> None:
        """Close all files."""
        for url in tuple(self._engines):
            self.forget(url)


def _kept_open(url: str) -> Engine:
    engine = sa.create_engine(url, poolclass=QueuePool, pool_size=1, connect_args=PATIENT)
    sa.event.listen(engine, "connect", _without_waiting_for_the_disk)
    return engine


def _without_waiting_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
