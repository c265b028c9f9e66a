"""The simulated market as a source: bars, headlines and macro releases, and the oracle that knows their rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import moments, to_microseconds
from quant_pipeline.errors import ConfigError
from quant_pipeline.sources.base import BARS_SCHEMA, Fetched, empty_bars
from quant_pipeline.sources.simulated import oracle
from quant_pipeline.sources.simulated.headlines import headline_table
from quant_pipeline.sources.simulated.noise import MINUTE, month_of
from quant_pipeline.sources.simulated.path import Block, Market, block
from quant_pipeline.sources.simulated.releases import release_table
from quant_pipeline.sources.simulated.world import World

if TYPE_CHECKING:
    from quant_pipeline.config.universe import Universe
    from quant_pipeline.sources.simulated.grading import Reachable

_PLAIN = World()
_EPSILON = timedelta(microseconds=1)


class SimulatedSource:
    """A seeded market in which the best reachable skill is known. Everything it tells is made up.

    What it says about a moment depends only on the seed, the parameters and the moment: a longer history begins with
    the shorter one, whatever window was fetched. Sessions follow the universe's calendars; the feed misses
    minutes and repeats rows as real ones do.

    Args:
        universe: The symbols and their calendars; a symbol without its own parameters gets plausible ones.
        seed: Seed of everything random.
        null: No signal at all: the three effects are 0 and no symbol leads another.
        signal: Information coefficient that the best forecast from bars alone reaches five trading hours ahead. The
            default is far above real markets, so that one year of data can grade the pipeline (see `World`).
        news_effect: The same for the tone of headlines alone.
        macro_effect: The same for macro surprises alone.
        epoch: First day of the market; the first of a month.

    Raises:
        ConfigError: an effect, seed or epoch that cannot be.
    """

    name = "simulated"
    simulated = True
    whole = False

    def __init__(
        self,
        universe: Universe,
        *,
        seed: int = _PLAIN.seed,
        null: bool = False,
        signal: float = _PLAIN.bars_effect,
        news_effect: float = _PLAIN.news_effect,
        macro_effect: float = _PLAIN.macro_effect,
        epoch: date = _PLAIN.epoch,
    ) -> None:
        self._universe = universe
        effects = {"signal": signal, "news_effect": news_effect, "macro_effect": macro_effect}
        for effect, value in effects.items():
            if not 0 <= value < 1:
                raise ConfigError(
                    f"{effect} of the simulated market", found=value, wanted="a correlation in [0, 1)", mend="0 plants nothing"
                )
        if seed < 0:
            raise ConfigError("seed of the simulated market", found=seed, wanted="0 or more", mend="choose another seed")
        if epoch.day != 1:
            raise ConfigError(
                "epoch of the simulated market", found=epoch, wanted="the first of a month", mend=f"{epoch:%Y-%m}-01"
            )
        world = World(seed, signal, news_effect, macro_effect, epoch=date(epoch.year, epoch.month, 1))
        self.world = replace(world, bars_effect=0.0, news_effect=0.0, macro_effect=0.0, lead_lag=False) if null else world

    def intervals(self, symbol: str) -> tuple[str, ...]:  # noqa: ARG002 - the same for every symbol
        """Minutes only."""
        return ("1m",)

    def fetch(self, symbol: str, interval: str, start: datetime, end: datetime) -> Fetched:
        """Minute bars that open at or after `start` and close at or before `end`; see `MarketSource`."""
        if interval not in self.intervals(symbol):
            raise ConfigError(
                f"interval {interval!r}", found="not a native interval of the simulated market", wanted="1m", mend="ask for 1m"
            )
        market = self.market(symbol)
        first, last = to_microseconds(start, "start"), to_microseconds(end, "end")
        frames = [_frame(block(market, month), first, last) for month in self._months(start, end - _EPSILON)]
        early = start < datetime.combine(self.world.epoch, datetime.min.time(), UTC)
        problems = (
            (f"{symbol}: the simulated market begins on {self.world.epoch}, after the asked start {start}",) if early else ()
        )
        return Fetched(pl.concat([empty_bars(), *frames]), problems)

    def horizon(self, symbol: str, now: datetime) -> datetime:
        """`now`: the simulated market can be asked about every moment up to the present; see `MarketSource`."""
        self._universe.instrument(symbol)
        to_microseconds(now, "now")
        return now

    def headlines(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Headlines with their tone; see `NewsSource`."""
        self._universe.instrument(symbol)
        return headline_table(self.world.seed, symbol, self._months(start, end), start, end)

    def releases(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Macro releases and revisions, also some from the two years before the epoch; see `MacroSource`."""
        to_microseconds(start, "start"), to_microseconds(end, "end")
        return release_table(self.world.seed, self.world.epoch, start, end)

    def best_reachable(
        self,
        symbol: str,
        horizon: timedelta,
        *,
        start: datetime,
        end: datetime,
        inputs: tuple[str, ...] = ("bars",),
    ) -> Reachable:
        """The best achievable skill on the hourly decisions of [start, end) whose trades end by `end`.

        `horizon` is trading time: five hours are five hourly bars of a market that is open around the clock. A
        decision falls on each full hour after a session's open and on its close; the trade is filled at the next
        minute's open. `inputs` is what may be used: "bars", "news", "macro".

        Raises:
            DataError: fewer than two such decisions, or inputs and horizons that make no sense.
        """
        market = self.market(symbol)
        return oracle.reachable_at(market, oracle.hourly_decisions(market, horizon, start, end), horizon, inputs)

    def reachable_at(
        self, symbol: str, decision_at: pl.Series, horizon: timedelta, inputs: tuple[str, ...] = ("bars",)
    ) -> Reachable:
        """The same on decisions of the caller's choice (UTC datetimes), so that a model is graded on equal rows."""
        return oracle.reachable_at(self.market(symbol), decision_at, horizon, inputs)

    def expected_return(
        self, symbol: str, decision_at: pl.Series, horizon: timedelta, inputs: tuple[str, ...] = ("bars",)
    ) -> pl.Series:
        """The oracle's forecast of the log return of the trade that each decision starts; null before the epoch."""
        return self.outlook(symbol, decision_at, horizon, inputs)["expected_return"]

    def outlook(
        self, symbol: str, decision_at: pl.Series, horizon: timedelta, inputs: tuple[str, ...] = ("bars",)
    ) -> pl.DataFrame:
        """The oracle row by row: decision_at, expected_return, deviation, p_up; see `oracle.outlook`."""
        return oracle.outlook(self.market(symbol), decision_at, horizon, inputs)

    def market(self, symbol: str) -> Market:
        """The market of one symbol; raises `ConfigError` for a symbol that the universe lacks."""
        return Market(self.world, symbol, self._universe.instrument(symbol).calendar)

    def _months(self, start: datetime, end: datetime) -> range:
        to_microseconds(start, "start"), to_microseconds(end, "end")
        first, last = (month_of(at.astimezone(UTC)) for at in (start, end))
        return range(max(first, month_of(self.world.epoch)), last + 1)


def _frame(month: Block, first: int, last: int) -> pl.DataFrame:
    """What the feed shows of a month between two moments (microseconds)."""
    at = month.grid.timestamp
    inside = (at >= first) & (at + MINUTE <= last)
    rows = np.repeat(np.arange(len(at)), np.where(inside, month.shown, 0))
    columns = dict(zip(("open", "high", "low", "close"), month.prices[:, rows], strict=True))
    volume = month.volume[rows] if month.volume is not None else None
    frame = pl.DataFrame({"timestamp": moments(at[rows], "timestamp"), **columns})
    return frame.with_columns(
        pl.Series("volume", volume, pl.Float64()) if volume is not None else pl.lit(None, pl.Float64()).alias("volume")
    ).select(BARS_SCHEMA.names())
