"""The clock of a store: every batch that is stored gets a moment of its own, later than those of all batches before it.

That moment, `seen_at`, is when the batch was stored by the clock of its run; where that clock stands still (it is pinned)
or goes back, it is a microsecond after the batch before. So "all that had been seen by T" is exactly what the store held
at some moment, and never changes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from quant_pipeline.files import locked, read_state, write_state

_TICK = timedelta(microseconds=1)


def next_arrival(root: Path, now: datetime) -> datetime:
    """The moment (UTC) of a batch that is about to be stored under `root`, whose lock the caller holds."""
    last = _last(root)
    moment = now.astimezone(UTC) if last is None else max(now.astimezone(UTC), last + _TICK)
    write_state(root / ".arrivals", {"last": moment.isoformat()})
    return moment


def last_arrival(root: Path) -> datetime | None:
    """The moment of the newest batch under `root`, once it is stored as a whole; None before the first.

    Raises `DataError` for a damaged clock.
    """
    if not root.exists():
        return None
    with locked(root / ".lock"):
        return _last(root)


def _last(root: Path) -> datetime | None:
    path = root / ".arrivals"
    if not path.exists():
        return None
    told = read_state(path, "restore it from a backup, or delete it: the clock then goes on from now")
    return datetime.fromisoformat(told["last"])
