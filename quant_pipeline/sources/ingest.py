"""From a source into the store: what is new, then what is older and still missing, a month at a time.

A source that tells all there is, as a user's file, is compared as a whole each time: what it corrects, adds or leaves out
is stored and said. Of one that forgets, a provider, progress is kept beside the bars, so that a killed ingest loses at
most the month it was fetching, and holes are asked for again while it may still fill them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from quant_pipeline.bars.limits import refuse_conflicts
from quant_pipeline.bars.sessions import open_time_between
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Instrument
from quant_pipeline.errors import SourceError, UnreachableError
from quant_pipeline.files import aware, locked, read_state, stands, write_state
from quant_pipeline.ledger import DOWN, Ledger
from quant_pipeline.sources.arrival import BEFORE_ALL
from quant_pipeline.sources.base import MarketSource
from quant_pipeline.sources.holes import holes
from quant_pipeline.sources.store import RawStore, month_span

LOG = logging.getLogger(__name__)
OVERLAP = timedelta(days=1)  # fetched again on every run, to notice what the provider revised
HOLES_BACK = timedelta(days=28)  # providers of minutes forget them after a month
HOLES_AT_ONCE = 10
_SETTLED = timedelta(days=7)  # the first window reaches back at least so far: a month may begin with a holiday
_MINUTE = timedelta(minutes=1)
_LISTED = 50

Window = tuple[datetime, datetime]


def ingest(
    source: MarketSource, store: RawStore, symbol: str, instrument: Instrument, *, start: datetime, now: datetime
) -> Ledger:
    """Bring every native interval of `symbol` in `store` up to what `source` can tell at `now`, back to `start`.

    Of a provider, new bars come first, from a day before the newest stored one; then months before the oldest one, newest
    first; then, once a day each, the holes of the last four weeks. Each window is stored as soon as it arrives. Nothing is
    asked while the market has been closed since the newest bar. A window that came with problems is asked for again next
    time, as is everything after an error. A file is read and compared as a whole.

    Args:
        source: where bars come from.
        store: what they are appended to.
        symbol: its name in the universe.
        instrument: its entry there; the calendar tells when bars can be expected.
        start: oldest bar open wanted, aware; an earlier one than last time fetches what is missing in between.
        now: aware; noted as the moment of fetching.

    Returns:
        Ledger of the fetched rows, as `RawStore.append` counts them; rows_out were stored. Notes: `partial` (whether
        something did not arrive), `problems` (up to 50 sentences), `revised`, `withdrawn`, `changed` (up to 50 sentences:
        what is other than it was stored before), `intervals`: first, last, stored and holes asked for by interval, and `down`,
        why the source did not answer, where it did not.

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
    total = Ledger(notes={"revised": 0, "withdrawn": 0})
    problems: list[str] = []
    changed: list[str] = []
    errors: list[SourceError] = []
    intervals = {}
    asked = source.intervals(symbol)
    for interval in asked:
        run = _Run(source, store, symbol, interval, now, CleaningRules(symbol=symbol, limits=instrument.limits))
        intervals[interval] = run.update(instrument.calendar, start, horizon)
        _add(total, run.ledger)
        problems += [f"{interval}: {problem}" for problem in run.problems]
        changed += [f"{interval}: {change}" for change in run.changed]
        errors += run.errors
        if interval == asked[0] and run.caught_up(instrument.calendar, horizon):
            store.note_asked(symbol, now)
        if any(isinstance(error, UnreachableError) for error in run.errors):
            break
    untold = set(store.intervals(symbol)) - set(asked) if source.whole and not errors else ()
    for interval in sorted(untold):
        gone = store.withdraw(symbol, interval, now)
        _add(total, gone)
        changed.append(f"{interval}: {gone.notes['changed']}, for the source tells {', '.join(asked)} now")
        LOG.warning("%s bars changed since they were stored: %s", symbol, changed[-1])
    if errors and not store.intervals(symbol):
        raise errors[0]
    total.notes |= {
        "partial": bool(problems), "problems": problems[:_LISTED], "changed": changed[:_LISTED], "intervals": intervals,
        **({DOWN: str(errors[0])} if errors else {}),
    }  # fmt: skip
    return total


def _add(total: Ledger, part: Ledger) -> None:
    total.rows_in += part.rows_in
    for reason, rows in part.dropped.items():
        total.drop(reason, rows)
    for note in ("revised", "withdrawn"):
        total.notes[note] += part.notes[note]


@dataclass
class _Progress:
    """How far back was asked already, which windows came with problems, and on which day each hole was asked for.

    `came` says of each window of this ingest whether it came with problems; another one may be under way beside it.
    """

    path: Path
    reached: datetime | None = None
    retry: list[Window] = field(default_factory=list)
    holes: dict[str, str] = field(default_factory=dict)
    came: dict[Window, bool] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> _Progress:
        if not stands(path):
            return cls(path)
        mend = "restore it from a backup, or delete it: the history is then asked for again"
        return read_state(path, mend, lambda kept: cls._of(path, kept))

    @classmethod
    def _of(cls, path: Path, kept: dict[str, Any]) -> _Progress:
        retry = [(aware(begin), aware(end)) for begin, end in kept["retry"]]
        return cls(path, aware(kept["reached"]), retry, dict(kept["holes"].items()))

    def save(self) -> None:
        if self.reached is None:
            return
        with locked(self.path.with_name(".progress.lock")):
            known = dict.fromkeys((*_Progress.load(self.path).retry, *self.came))
            retry = [[moment.isoformat() for moment in window] for window in known if self.came.get(window, True)]
            write_state(self.path, {"reached": self.reached.isoformat(), "retry": retry, "holes": self.holes})

    def to_ask(self, found: list[Window], now: datetime) -> Iterator[Window]:
        """Those holes that were not asked for on the day of `now`; each is noted when it is taken."""
        known = {begin.isoformat() for begin, _ in found}
        self.holes = {begin: day for begin, day in self.holes.items() if begin in known}
        for begin, end in found:
            if self.holes.get(begin.isoformat()) != f"{now:%Y-%m-%d}":
                self.holes[begin.isoformat()] = f"{now:%Y-%m-%d}"
                yield begin, end


@dataclass
class _Run:
    """One interval of one symbol during one ingest."""

    source: MarketSource
    store: RawStore
    symbol: str
    interval: str
    now: datetime
    rules: CleaningRules
    ledger: Ledger = field(default_factory=lambda: Ledger(notes={"revised": 0, "withdrawn": 0}))
    problems: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    errors: list[SourceError] = field(default_factory=list)
    told_until: datetime = BEFORE_ALL

    def caught_up(self, calendar: str, horizon: datetime) -> bool:
        """Whether the source was asked, and answered, for all that traded up to `horizon`."""
        last = self.store.last(self.symbol, self.interval)
        idle = last is not None and not _traded(calendar, last + duration(self.interval), horizon)
        return idle or self.told_until >= horizon

    def update(self, calendar: str, start: datetime, horizon: datetime) -> dict[str, str | int | None]:
        """Fetch and store, as a whole or window after window until one fails; return first, last, stored and holes."""
        asked = 0
        if self.source.whole:
            self._compared((start, self.now))
        else:
            progress = _Progress.load(self.store.folder(self.symbol, self.interval) / "progress.json")
            for window in self._windows(progress, calendar, start, horizon):
                if not self._fetched(window, progress):
                    break
                progress.reached = min(window[0], progress.reached or window[0])
                progress.save()
            asked = self._fill(progress, calendar, horizon)
        first, last = self.store.first(self.symbol, self.interval), self.store.last(self.symbol, self.interval)
        moments = {"first": first.isoformat() if first else None, "last": last.isoformat() if last else None}
        return moments | {"new": self.ledger.rows_out, "holes": asked}

    def _windows(self, progress: _Progress, calendar: str, start: datetime, horizon: datetime) -> Iterator[Window]:
        """Forward from the newest stored bar, then back to `start`, then what came with problems last time."""
        retry, reached, last = progress.retry, progress.reached, self.store.last(self.symbol, self.interval)
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
        while begin < end:
            stop = min(end, month_span(f"{begin.astimezone(UTC):%Y-%m}")[1])
            yield begin, min(stop + self._room, horizon)
            begin = stop

    @property
    def _room(self) -> timedelta:
        return duration(self.interval) - _MINUTE

    def _fetched(self, window: Window, progress: _Progress) -> bool:
        try:
            fetched = self.source.fetch(self.symbol, self.interval, *window)
        except SourceError as error:
            self.errors.append(error)
            self.problems.append(str(error))
            return False
        self._keep(fetched.frame)
        self.told_until = max(self.told_until, window[1])
        self.problems += fetched.problems
        progress.came[window] = bool(fetched.problems)
        return True

    def _compared(self, span: Window) -> None:
        """Read all that the source tells of `span`, and let the store be like it."""
        fetched = self.source.fetch(self.symbol, self.interval, *span)
        self.problems += fetched.problems
        self._keep(fetched.frame, whole=span)
        self.told_until = span[1]

    def _fill(self, progress: _Progress, calendar: str, horizon: datetime) -> int:
        """Ask for holes again that the source may fill by now, each once a day; returns how many were asked for."""
        last = self.store.last(self.symbol, self.interval)
        if self.problems or progress.reached is None or last is None:
            return 0
        begin, end = max(progress.reached, self.now - HOLES_BACK), last + duration(self.interval)
        opens = self.store.read(self.symbol, self.interval, begin)["timestamp"]
        found = holes(opens, self.interval, calendar, begin, end) if begin < end else []
        asked = 0
        for window in islice(progress.to_ask(found, self.now), HOLES_AT_ONCE):
            asked += 1
            try:
                fetched = self.source.fetch(self.symbol, self.interval, window[0], min(window[1] + self._room, horizon))
            except SourceError as error:
                LOG.info("%s %s: a hole from %s to %s stays: %s", self.symbol, self.interval, *window, error)
                break  # the line may be dead; the other holes wait for the next run
            self._keep(fetched.frame)
        progress.save()
        return asked

    def _keep(self, told: pl.DataFrame, whole: Window | None = None) -> None:
        refuse_conflicts(told, self.rules, f"{self.interval} bars from {self.source.name}")
        stored = self.store.append(self.symbol, self.interval, told, self.now, whole=whole)
        _add(self.ledger, stored)
        if stored.notes["changed"]:
            LOG.warning("%s bars changed since they were stored: %s: %s", self.symbol, self.interval, stored.notes["changed"])
            self.changed.append(stored.notes["changed"])


def _month_begin(moment: datetime) -> datetime:
    return month_span(f"{moment.astimezone(UTC):%Y-%m}")[0]


def _traded(calendar: str, start: datetime, end: datetime) -> bool:
    return start < end and bool(open_time_between(calendar, start, end))
