"""Headlines collected live from RSS feeds: what is new since the last time, judged row by row."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl

from quant_pipeline.bars.moments import to_microseconds
from quant_pipeline.config.feeds import Feed, FeedSettings
from quant_pipeline.errors import SourceError
from quant_pipeline.files import damaged, read_json, stands, write_json
from quant_pipeline.ledger import Ledger
from quant_pipeline.sources.base import HEADLINES_SCHEMA
from quant_pipeline.sources.news.articles import SAME_TITLE, ArticleStore, copies
from quant_pipeline.sources.news.feeds import Answer, Entry, Limits, ask, client, entries
from quant_pipeline.sources.news.titles import LONGEST, article_id, tidy, without_source

COLLECTED_SCHEMA = pl.Schema({**HEADLINES_SCHEMA, "link": pl.String(), "article_id": pl.String(), "first": pl.Boolean()})
CLOCK_SLACK = timedelta(minutes=5)
"""How far a publisher's clock may be ahead of ours; later articles are dated in the future."""
OLDEST = timedelta(days=30)
"""Feeds mix old articles in; what is older than this is no news."""

State = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Collected:
    """What the feeds of one symbol told.

    Attributes:
        frame: COLLECTED_SCHEMA, sorted by `known_at`: the latest moment that the told time may mean, plus the delay;
            `published_at` is the earliest one. `first` marks rows of a feed's first collection.
        ledger: rows_in are the entries of all feeds; dropped by reason: no_title, no_time, bad_time, future, too_old,
            repeated. Notes name the feeds that were not_modified, empty or malformed, and count title_too_long (cut) and
            vague_times (no hour or no certain zone: known at the latest moment that they may mean).
        problems: one line for each feed that did not answer.
        state: what `RssSource.remember` keeps once the rows are stored.
    """

    frame: pl.DataFrame
    ledger: Ledger
    problems: tuple[str, ...]
    state: State


@dataclass(frozen=True)
class RssSource:
    """The RSS feeds of `feeds.yaml`, asked conditionally (ETag, Last-Modified).

    Args:
        feeds: which feeds each symbol has.
        state: folder of one JSON file a symbol: the headers of each feed's last stored answer.
        delay: added to the latest moment that the told time may mean, for what lies between publication and use.
        limits: of one answer's size and time, and of the tries.
        transport, sleep: stand for the network and for waiting.
    """

    feeds: FeedSettings
    state: Path
    delay: timedelta = timedelta(0)
    limits: Limits = field(default_factory=Limits)
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep
    name: str = "rss"

    def collect(self, symbol: str, now: datetime) -> Collected:
        """Ask every feed of `symbol`. Nothing is remembered until `remember`, so a run that dies asks for the same again.

        Raises:
            SourceError: every feed failed; the error of the first one.
            ConfigError: a symbol without feeds.
            DataError: a damaged state file, or `now` without a time zone.
        """
        to_microseconds(now, "now")
        feeds, state = self.feeds.of(symbol), self._state(symbol)
        gathered, problems = _Gathered(now), list[SourceError]()
        with client(self.transport, self.limits) as http:
            for feed in feeds:
                known = state.get(feed.url)
                try:
                    answer = ask(http, feed, {} if known is None else known, self.limits, self.sleep)
                    gathered.add(feed, answer, first=known is None)
                except SourceError as error:
                    problems.append(error)
                    continue
                state = {**state, feed.url: answer.validators}
        if len(problems) == len(feeds):
            raise problems[0]
        return Collected(gathered.frame(symbol, self.delay), gathered.ledger, tuple(map(str, problems)), state)

    def remember(self, symbol: str, collected: Collected) -> None:
        """Keep the feeds' headers, so that the next collection is told only what changed. Call it once the rows are stored."""
        write_json(self._path(symbol), collected.state)

    def _path(self, symbol: str) -> Path:
        return self.state / f"{quote(symbol, safe='^=+')}.json"

    def _state(self, symbol: str) -> State:
        path = self._path(symbol)
        if not stands(path):
            return {}
        mend = "delete it; all feeds are then read as if for the first time, and stored articles stay as they are"
        state = read_json(path, mend)
        try:
            return {str(url): {str(name): str(value) for name, value in headers.items()} for url, headers in state.items()}
        except AttributeError as error:
            raise damaged(path, str(error), mend) from error


def collect_into(source: RssSource, store: ArticleStore, symbol: str, now: datetime) -> tuple[Collected, Ledger]:
    """Collect, store, then remember, in this order: a kill in between repeats work and loses nothing."""
    collected = source.collect(symbol, now)
    ledger = store.append(symbol, collected.frame, now, backfill=False)
    source.remember(symbol, collected)
    return collected, ledger


class _Gathered:
    """The usable entries of several feeds, and the ledger of the others."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._rows: list[dict[str, Any]] = []
        self.ledger = Ledger(notes={"not_modified": [], "empty": [], "malformed": {}, "title_too_long": 0, "vague_times": 0})

    def add(self, feed: Feed, answer: Answer, *, first: bool) -> None:
        notes = self.ledger.notes
        if answer.body is None:
            notes["not_modified"].append(feed.name)
            return
        found, wrong = entries(answer.body, feed)
        if wrong is not None:
            notes["malformed"][feed.name] = wrong
        if not found:
            notes["empty"].append(feed.name)
        self.ledger.rows_in += len(found)
        reasons = Counter(self._keep(entry, first=first) for entry in found)
        for reason in sorted(reasons - Counter({"": reasons[""]})):
            self.ledger.drop(reason, reasons[reason])

    def _keep(self, entry: Entry, *, first: bool) -> str:
        """Keep a usable entry and return "", else the reason against it."""
        source = tidy(entry.source)
        whole = without_source(tidy(entry.title), source)
        title = whole[:LONGEST].strip()
        reason = _against(title, entry, self._now)
        if reason or entry.time is None:
            return reason
        self.ledger.notes["title_too_long"] += len(whole) > LONGEST
        self.ledger.notes["vague_times"] += entry.time.vague
        self._rows.append({
            "published_at": entry.time.earliest, "known_at": entry.time.latest, "title": title,
            "source": source[:LONGEST], "link": entry.link, "article_id": article_id(title, entry.guid or entry.link),
            "first": first,
        })  # fmt: skip
        return ""

    def frame(self, symbol: str, delay: timedelta) -> pl.DataFrame:
        """The rows, one an article; a copy from a feed that was watched before beats one of a first collection."""
        rows = pl.DataFrame(self._rows, schema={name: kind for name, kind in COLLECTED_SCHEMA.items() if name in _TOLD})
        rows = rows.sort("first", "known_at", "published_at", maintain_order=True)
        why = copies(rows, rows.clear(), SAME_TITLE)
        self.ledger.drop("repeated", int((why != "").sum()))
        whole = rows.filter(why == "").with_columns(known_at=pl.col("known_at") + delay, symbol=pl.lit(symbol))
        return whole.select(COLLECTED_SCHEMA.names()).sort("known_at", maintain_order=True)


_TOLD = set(COLLECTED_SCHEMA) - {"symbol"}


def _against(title: str, entry: Entry, now: datetime) -> str:
    """Why an entry cannot be used; "" where it can."""
    if not title:
        return "no_title"
    if entry.time is None:
        return "bad_time" if entry.time_told else "no_time"
    if entry.time.earliest > now + CLOCK_SLACK:
        return "future"
    return "too_old" if entry.time.earliest < now - OLDEST else ""
