"""From a source into the store: what is new, then what is older and still missing, a month at a time.

Progress is kept beside the bars, so that a killed ingest loses at most the month it was fetching.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quant_pipeline.bars.limits import refuse_conflicts
from quant_pipeline.bars.sessions import open_time_between
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Instrument
from quant_pipeline.errors import SourceError
from quant_pipeline.files import write_json
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.base import MarketSource
from quant_pipeline.sources.store import RawStore, month_span

OVERLAP = timedelta(days=1)  # fetched again on every run, to notice what the provider revised
_SETTLED = timedelta(days=7)  # the first window reaches back at least so far: a month may begin with a holiday
_MINUTE = timedelta(minutes=1)
_LISTED = 50

Window = tuple[datetime, datetime]


def ingest(
    source: MarketSource, store: RawStore, symbol: str, instrument: Instrument, *, start: datetime, now: datetime
) -> Ledger:
    """Bring every native interval of `symbol` in `store` up to what `source` can tell at `now`, back to `start`.

    New bars come first, from a day before the newest stored one; then months before the oldest one, newest first. Each
    window is stored as soon as it arrives. Nothing is asked while the market has been closed since the newest bar.
    A window that came with problems is asked for again next time, as is everything after an error.

    Args:
        source: where bars come from.
        store: what they are appended to.
        symbol: its name in the universe.
        instrument: its entry there; the calendar tells when bars can be expected.
        start: oldest bar open wanted, aware; an earlier one than last time fetches what is missing in between.
        now: aware; noted as the moment of fetching.

    Returns:
        Ledger of the fetched rows, as `RawStore.append` counts them; rows_out are new. Notes: `partial` (whether
        something did not arrive), `problems` (up to 50 sentences), `new_revisions`, and `intervals`: first, last and new by
        interval.

    Raises:
        SourceError: nothing is stored for the symbol and nothing could be had.
        DataError, ConfigError, StorageError: as the source and the store raise them; what arrived before is kept.
    """
    horizon = min(source.horizon(symbol, now), now)
    if horizon <= start and not store.intervals(symbol):
        raise SourceError(
            f"{source.name}: {symbol}", found=f"its newest bar at {horizon}", wanted=f"bars after {start}",
            mend="ask for an earlier start (history_days of the experiment), or bring newer bars",
        )  # fmt: skip
    total = Ledger(notes={"new_revisions": 0})
    problems: list[str] = []
    errors: list[SourceError] = []
    intervals = {}
    for interval in source.intervals(symbol):
        run = _Run(source, store, symbol, interval, now, CleaningRules(symbol=symbol, limits=instrument.limits))
        intervals[interval] = run.update(instrument.calendar, start, horizon)
        _add(total, run.ledger)
        problems += [f"{interval}: {problem}" for problem in run.problems]
        errors += run.errors
    if errors and not store.intervals(symbol):
        raise errors[0]
    total.notes |= {"partial": bool(problems), "problems": problems[:_LISTED], "intervals": intervals}
    return total


def _add(total: Ledger, part: Ledger) -> None:
    total.rows_in += part.rows_in
    for reason, rows in part.dropped.items():
        total.drop(reason, rows)
    total.notes["new_revisions"] += part.notes.get("new_revisions", 0)


@dataclass
class _Progress:
    """How far back was asked already, and which windows came with problems."""

    path: Path
    reached: datetime | None = None
    retry: list[Window] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> _Progress:
        if not path.exists():
            return cls(path)
        kept = json.loads(path.read_text(encoding="utf-8"))
        retry = [(datetime.fromisoformat(begin), datetime.fromisoformat(end)) for begin, end in kept["retry"]]
        return cls(path, datetime.fromisoformat(kept["reached"]), retry)

    def save(self) -> None:
        if self.reached is not None:
            retry = [[begin.isoformat(), end.isoformat()] for begin, end in self.retry]
            write_json(self.path, {"reached": self.reached.isoformat(), "retry": retry})


@dataclass
class _Run:
    """One interval of one symbol during one ingest."""

    source: MarketSource
    store: RawStore
    symbol: str
    interval: str
    now: datetime
    rules: CleaningRules
    ledger: Ledger = field(default_factory=lambda: Ledger(notes={"new_revisions": 0}))
    problems: list[str] = field(default_factory=list)
    errors: list[SourceError] = field(default_factory=list)

    def update(self, calendar: str, start: datetime, horizon: datetime) -> dict[str, str | int | None]:
        """Fetch and store window after window until one fails; return first, last and new."""
        progress = _Progress.load(self.store.folder(self.symbol, self.interval) / "progress.json")
        for window in self._windows(progress, calendar, start, horizon):
            if not self._fetched(window, progress):
                break
            progress.reached = min(window[0], progress.reached or window[0])
            progress.save()
        first, last = self.store.first(self.symbol, self.interval), self.store.last(self.symbol, self.interval)
        moments = {"first": first.isoformat() if first else None, "last": last.isoformat() if last else None}
        return moments | {"new": self.ledger.rows_out}

    def _windows(self, progress: _Progress, calendar: str, start: datetime, horizon: datetime) -> Iterator[Window]:
        """Forward from the newest stored bar, then back to `start`, then what came with problems last time."""
        retry, reached, last = list(progress.retry), progress.reached, self.store.last(self.symbol, self.interval)
        if reached is None or last is None:
            progress.reached = None
            reached = max(start, _month_begin(horizon - _SETTLED))
            yield reached, horizon
        elif _traded(calendar, last + duration(self.interval), horizon):
            yield from self._months(max(last - OVERLAP, reached), horizon, horizon)
        yield from reversed(list(self._months(start, reached, horizon)))
        yield from retry

    def _months(self, begin: datetime, end: datetime, horizon: datetime) -> Iterator[Window]:
        """[begin, end) cut at the months' ends; each piece has room for the bar that opens in it and closes after it."""
        room = duration(self.interval) - _MINUTE
        while begin < end:
            stop = min(end, month_span(f"{begin.astimezone(UTC):%Y-%m}")[1])
            yield begin, min(stop + room, horizon)
            begin = stop

    def _fetched(self, window: Window, progress: _Progress) -> bool:
        try:
            fetched = self.source.fetch(self.symbol, self.interval, *window)
        except SourceError as error:
            self.errors.append(error)
            self.problems.append(str(error))
            return False
        refuse_conflicts(fetched.frame, self.rules, f"{self.interval} bars from {self.source.name}")
        _add(self.ledger, self.store.append(self.symbol, self.interval, fetched.frame, self.now))
        self.problems += fetched.problems
        progress.retry = [kept for kept in progress.retry if kept != window] + [window] * bool(fetched.problems)
        return True


def _month_begin(moment: datetime) -> datetime:
    return month_span(f"{moment.astimezone(UTC):%Y-%m}")[0]


def _traded(calendar: str, start: datetime, end: datetime) -> bool:
    return start < end and bool(open_time_between(calendar, start, end))
