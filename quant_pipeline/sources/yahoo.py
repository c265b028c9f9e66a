"""Bars from Yahoo Finance through yfinance: minutes a month deep, quarter hours two months, hours two years.

Requests are paged to what Yahoo answers at once and repeated with growing pauses when it is busy. What arrives is kept,
and what does not is reported. How many requests run at once is the business of the pool that runs this source.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA, PRICES, check_bars
from quant_pipeline.bars.sessions import open_time_between
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Universe
from quant_pipeline.errors import ConfigError, SourceError, UnreachableError
from quant_pipeline.sources.base import Fetched, empty_bars

if TYPE_CHECKING:
    import pandas as pd

Download = Callable[[str, str, datetime, datetime], "pd.DataFrame"]


class _Limit(NamedTuple):
    depth: timedelta  # how far back Yahoo answers at all
    page: timedelta  # how much it answers at once


# depths less an hour, for the seconds between our clock and Yahoo's: past the limit it refuses the whole request
_HOUR = timedelta(hours=1)
_LIMITS = {
    "1m": _Limit(timedelta(days=30) - _HOUR, timedelta(days=7)),
    "15m": _Limit(timedelta(days=60) - _HOUR, timedelta(days=60)),
    "1h": _Limit(timedelta(days=730) - _HOUR, timedelta(days=730)),
}
# what yfinance raises when Yahoo answered, but with nothing; all else is worth another try
_NOTHING = {"YFPricesMissingError", "YFTzMissingError", "YFInvalidPeriodError"}
_OFFLINE = {5, 6, 7, 97}
"""Curl's codes for a host or proxy that has no address or refuses: pauses of seconds do not mend a missing network."""
_LONGEST_PAUSE = 60.0  # seconds


def yahoo_history(symbol: str, interval: str, start: datetime, end: datetime) -> pd.DataFrame:
    """The answer of yfinance: Open, High, Low, Close, Adj Close, Volume, indexed by bar open in the exchange's time zone.

    Prices are as traded (not adjusted), regular hours only. Errors are raised, where yfinance by default logs them and
    returns an empty frame.
    """
    import yfinance

    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # what it would log is raised, or told once for many requests
    yfinance.config.debug.hide_exceptions = False
    # yfinance keeps whatever a past range was answered with, an error page included: a second try would see it again
    yfinance.data.YfData.cache_get.cache_clear()
    ticker = yfinance.Ticker(symbol)
    answer: pd.DataFrame = ticker.history(
        start=start, end=end, interval=interval, prepost=False, actions=False, auto_adjust=False
    )
    return answer


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class YahooSource:
    """Yahoo's bars; symbols of the universe are Yahoo's names.

    `download`, `clock` and `sleep` stand for the network and the time; `attempts` is how often one page is asked for.
    """

    universe: Universe
    download: Download = yahoo_history
    clock: Callable[[], datetime] = _now
    sleep: Callable[[float], None] = time.sleep
    attempts: int = 5
    name: str = "yahoo"
    simulated: bool = False
    whole: bool = False

    def intervals(self, symbol: str) -> tuple[str, ...]:  # noqa: ARG002 - the same for every symbol
        """Minutes, and the longer bars that reach further back."""
        return tuple(_LIMITS)

    def fetch(self, symbol: str, interval: str, start: datetime, end: datetime) -> Fetched:
        """Bars that open at or after `start` and close at or before `end`, as far back as Yahoo reaches.

        Args:
            symbol: a traded or auxiliary symbol of the universe.
            interval: 1m (30 days deep), 15m (60 days) or 1h (730 days).
            start: aware; earlier than Yahoo's depth is cut there, silently, for nothing can be had.
            end: aware.

        Returns:
            The bars; empty without a problem where the market was closed. `problems` names each page that did not come.

        Raises:
            ConfigError: unknown symbol or interval.
            SourceError: the market was open and nothing arrived; `UnreachableError` where no network leads to Yahoo.
        """
        self.universe.instrument(symbol)
        if interval not in _LIMITS:
            raise ConfigError(f"interval {interval!r}", found="not one of Yahoo's", wanted=", ".join(_LIMITS), mend="resample")
        frames, problems = [empty_bars()], list[SourceError]()
        for begin, stop in _pages(max(start, self.clock() - _LIMITS[interval].depth), end, _LIMITS[interval].page):
            try:
                # once a page failed in spite of all pauses, the others are asked for without any
                frames.append(self._page(symbol, interval, begin, stop, 1 if problems else self.attempts))
            except SourceError as error:
                problems.append(error)
                if isinstance(error, UnreachableError):
                    break
        closed = pl.col("timestamp") + duration(interval) <= end
        bars = pl.concat(frames).filter((pl.col("timestamp") >= start) & closed)
        if problems and bars.is_empty():
            raise problems[0]
        return Fetched(bars, tuple(map(str, problems)))

    def horizon(self, symbol: str, now: datetime) -> datetime:  # noqa: ARG002 - Yahoo can tell about now for any symbol
        """`now`: Yahoo tells about the present, if some minutes late."""
        return now

    def _page(self, symbol: str, interval: str, start: datetime, end: datetime, attempts: int) -> pl.DataFrame:
        thing = f"yahoo: {symbol} {interval} {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
        try:
            bars = _to_bars(self._ask(symbol, interval, start, end, attempts), thing)
            reason = "an empty answer"
        except SourceError:
            raise
        except Exception as error:  # yfinance lets through whatever its parsing of a broken answer raises
            if _offline(error):
                raise UnreachableError(
                    thing, found=f"no way to Yahoo ({str(error).partition(' See https')[0]})", wanted="an answer",
                    mend="check the connection to the internet, or the proxy that HTTPS_PROXY names, then run again; "
                    "without a network there are the profiles simulated and files",
                ) from error  # fmt: skip
            if type(error).__name__ not in _NOTHING:
                raise SourceError(
                    thing, found=f"{type(error).__name__}: {error}", wanted="bars", mend="run again later; what arrived is kept"
                ) from error
            bars, reason = empty_bars(), str(error)
        calendar = self.universe.instrument(symbol).calendar
        if bars.is_empty() and open_time_between(calendar, start, max(start, end - _HOUR)):
            raise SourceError(
                thing, found=reason, wanted=f"bars, for {calendar} was open",
                mend=f"check at finance.yahoo.com that {symbol} is still listed; run again later",
            )  # fmt: skip
        return bars

    def _ask(self, symbol: str, interval: str, start: datetime, end: datetime, attempts: int) -> pd.DataFrame:
        """One page, asked for again with growing pauses unless Yahoo answered that there is nothing, or there is no network."""
        import tenacity

        again = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(attempts),
            wait=tenacity.wait_exponential_jitter(initial=1, max=_LONGEST_PAUSE),
            retry=tenacity.retry_if_exception(lambda error: type(error).__name__ not in _NOTHING and not _offline(error)),
            sleep=self.sleep,
            reraise=True,
        )
        return again(self.download, symbol, interval, start, end)


def _offline(error: BaseException) -> bool:
    return isinstance(error, ConnectionRefusedError) or getattr(error, "code", None) in _OFFLINE


def _pages(start: datetime, end: datetime, size: timedelta) -> list[tuple[datetime, datetime]]:
    """[start, end) in equal parts of at most `size`; none when `start` is not before `end`."""
    count = max(0, -((start - end) // size))
    edges = [start + (end - start) * number / count for number in range(count)] + [end]
    return list(pairwise(edges))


def _to_bars(answer: pd.DataFrame, thing: str) -> pl.DataFrame:
    """A frame of yfinance as raw BARS: of `Ticker.history`, or of `download` with its (Price, Ticker) columns."""
    if answer is None or answer.empty:
        return empty_bars()
    if answer.columns.nlevels > 1:
        answer = answer.droplevel([level for level in answer.columns.names if level != "Price"], axis=1)
    names = {str(column).lower(): column for column in answer.columns}
    missing = [column for column in (*PRICES, "volume") if column not in names]
    clock = getattr(answer.index, "tz", None)
    if missing or clock is None:
        found = f"no {', '.join(missing)}" if missing else "timestamps without a time zone"
        raise SourceError(
            thing, found=found, wanted="Open, High, Low, Close, Volume by aware time", mend="update yfinance; its answer changed"
        )
    opened = pl.Series(answer.index.astype("datetime64[us, UTC]").astype("int64").to_numpy()).cast(BARS_SCHEMA["timestamp"])
    columns = {column: answer[names[column]].to_numpy("float64", na_value=float("nan")) for column in (*PRICES, "volume")}
    return check_bars(pl.DataFrame({"timestamp": opened, **columns}), thing)
