"""The clock of a store: what was stored before somebody looked, and what after, never share a moment.

`seen_at` of a batch is when it was stored, by the clock of its run. Where that clock stands still (it is pinned) or goes
back, and a decision has looked at the store since the batch before, it is a microsecond after what that decision saw. So
"all that had been seen by T", with T as a decision was told it, is what that decision could read, and never changes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from quant_pipeline.files import aware, locked, read_state, stands, write_state

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""By then nothing had been seen."""
_TICK = timedelta(microseconds=1)


def next_arrival(root: Path, now: datetime) -> datetime:
    """`seen_at` (UTC) of a batch that is about to be stored under `root`, whose lock the caller holds."""
    last, looked = _clock(root)
    moment = max(now.astimezone(UTC), last + _TICK if looked else last)
    write_state(_path(root), {"last": moment.isoformat(), "looked": False})
    return moment


def look(root: Path) -> datetime:
    """The moment by which all had been seen that is stored under `root` now; what is stored later is seen later.

    Raises `DataError` for a damaged clock.
    """
    if not stands(root):
        return BEFORE_ALL
    with locked(root / ".lock"):
        last, looked = _clock(root)
        if not looked:
            write_state(_path(root), {"last": last.isoformat(), "looked": True})
    return last


def _clock(root: Path) -> tuple[datetime, bool]:
    if not stands(_path(root)):
        return BEFORE_ALL, False
    mend = "restore it from a backup, or delete it: the clock then goes on from now"
    return read_state(_path(root), mend, lambda told: (aware(told["last"]), bool(told["looked"])))


def _path(root: Path) -> Path:
    return root / ".arrivals"
