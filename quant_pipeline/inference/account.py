"""The paper account that the circuit breakers look at: what following the emitted signals has led to."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import NamedTuple

import polars as pl

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import Universe
from quant_pipeline.inference.context import Library, primary_bars
from quant_pipeline.inference.seen import SeenBy
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.risk.portfolio import PortfolioState, paper_account
from quant_pipeline.sources.store import RawStore

MEMORY = timedelta(days=90)  # the account starts anew this long before each decision, so its cost does not grow
WARM_UP = timedelta(days=8)  # bars of the first session, or week, are made whole


class Desk(NamedTuple):
    """Where signals are made: bars, earlier signals, the settings that count, news and macro releases."""

    store: RawStore
    signals: SignalStore
    universe: Universe
    experiment: Experiment
    library: Library = Library()

    def look(self) -> SeenBy:
        """Up to which arrivals the stores are read by a decision that is made now."""
        articles, releases = self.library.articles, self.library.releases
        return SeenBy(
            bars=self.store.look(), news=articles.look() if articles else None, releases=releases.look() if releases else None
        )


class Account:
    """The account at any moment of [start, end], from signals emitted before it and bars closed by it.

    It covers the 90 days up to each moment: a peak or a loss longer ago no longer counts.
    """

    def __init__(self, desk: Desk, start: datetime, end: datetime) -> None:
        self.desk, self.start, self.end = desk, start, end
        self._primary = lru_cache(maxsize=64)(self._built)

    def at(self, moment: datetime, seen_by: datetime | None = None) -> PortfolioState:
        """State at `moment`, from bars that had been seen by a moment of the store (None: from all that are there).

        The same whether the account was opened for this moment alone or for a span around it.
        """
        since = _begin(moment)
        signals = self._signals.filter((pl.col("as_of") >= since) & (pl.col("as_of") < moment))
        traded = set(signals.filter(pl.col("action") != 0)["symbol"])
        bars = {name: self._bars(name, moment, seen_by).filter(pl.col("timestamp") >= since) for name in sorted(traded)}
        symbols, horizon = self.desk.universe.symbols, self.desk.experiment.labels.max_bars
        return paper_account(signals, bars, symbols, at=moment, horizon_bars=horizon)

    @cached_property
    def _signals(self) -> pl.DataFrame:
        columns = ("symbol", "as_of", "action", "position_size")
        tables = [self.desk.signals.table(name).select(columns) for name in self.desk.universe.symbols]
        return pl.concat(tables).filter((pl.col("as_of") >= _begin(self.start)) & (pl.col("as_of") < self.end))

    def _bars(self, symbol: str, moment: datetime, seen_by: datetime | None) -> pl.DataFrame:
        """Primary bars as they had been seen; those of the whole span serve wherever nothing before `moment` came later."""
        late = seen_by is not None and self.desk.store.newest_arrival(symbol, self._first, moment) > seen_by
        return self._primary(symbol, seen_by if late else None)

    def _built(self, symbol: str, seen_by: datetime | None) -> pl.DataFrame:
        return primary_bars(self.desk, symbol, self._first, self.end, seen_by)

    @property
    def _first(self) -> datetime:
        return _begin(self.start) - WARM_UP


def _begin(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) - MEMORY
