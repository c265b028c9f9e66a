"""The paper account that the circuit breakers look at: what following the emitted signals has led to."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

import polars as pl

from quant_pipeline.bars.build import build_bars
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import Universe
from quant_pipeline.inference.context import Library
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.inference.window import read_raw
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


class Account:
    """The account at any moment of [start, end], from signals emitted before it and bars closed by it.

    It covers the 90 days up to each moment: a peak or a loss longer ago no longer counts.
    """

    def __init__(self, desk: Desk, start: datetime, end: datetime) -> None:
        self.desk, self.start, self.end = desk, start, end

    def at(self, moment: datetime) -> PortfolioState:
        """State at `moment`; the same whether the account was opened for this moment alone or for a span around it."""
        since = _begin(moment)
        signals = self._signals.filter((pl.col("as_of") >= since) & (pl.col("as_of") < moment))
        traded = set(signals.filter(pl.col("action") != 0)["symbol"])
        bars = {name: frame.filter(pl.col("timestamp") >= since) for name, frame in self._bars.items() if name in traded}
        symbols, horizon = self.desk.universe.symbols, self.desk.experiment.labels.max_bars
        return paper_account(signals, bars, symbols, at=moment, horizon_bars=horizon)

    @cached_property
    def _signals(self) -> pl.DataFrame:
        columns = ("symbol", "as_of", "action", "position_size")
        tables = [self.desk.signals.table(name).select(columns) for name in self.desk.universe.symbols]
        return pl.concat(tables).filter((pl.col("as_of") >= _begin(self.start)) & (pl.col("as_of") < self.end))

    @cached_property
    def _bars(self) -> dict[str, pl.DataFrame]:
        """Primary bars of every symbol that a signal traded."""
        traded = self._signals.filter(pl.col("action") != 0)["symbol"].unique().sort()
        return {name: self._primary(name) for name in traded}

    def _primary(self, symbol: str) -> pl.DataFrame:
        primary = self.desk.experiment.primary
        raw = read_raw(self.desk.store, symbol, _begin(self.start) - WARM_UP, self.end)
        calendar, rules = self.desk.universe.symbol(symbol).calendar, self.desk.universe.cleaning(symbol)
        return build_bars(raw, calendar, (primary,), as_of=self.end, rules=rules)[0][primary]


def _begin(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) - MEMORY
