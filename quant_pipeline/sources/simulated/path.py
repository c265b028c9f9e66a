"""The path of one symbol: month after month, each from the state that the month before left."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quant_pipeline.bars.moments import Int64s, microseconds
from quant_pipeline.sources.simulated import couplings, kernels, volatility
from quant_pipeline.sources.simulated.defects import Copies, copies
from quant_pipeline.sources.simulated.headlines import PER_DAY, TONE_VARIANCE, month_news
from quant_pipeline.sources.simulated.minutes import Minutes, minutes_per_year, month_grid
from quant_pipeline.sources.simulated.noise import (
    MINUTE,
    Floats,
    closure_shock,
    common_shocks,
    factor_shocks,
    month_minutes,
    month_of,
    month_start,
    stream,
)
from quant_pipeline.sources.simulated.releases import SURPRISES_PER_DAY, impulses
from quant_pipeline.sources.simulated.world import Asset, World, asset

_DAYS_A_YEAR = 365.25
_DECIMALS = 6  # more than any tick has: takes the binary dust off rounded prices


@dataclass(frozen=True)
class Market:
    """One symbol of one world, with the session calendar that it trades by."""

    world: World
    symbol: str
    calendar: str

    @property
    def asset(self) -> Asset:
        """Its parameters."""
        return asset(self.symbol)

    @property
    def first_month(self) -> int:
        """Number of the month in which the market begins."""
        return month_of(self.world.epoch)


@dataclass(frozen=True)
class Block:
    """One month of a symbol, by trading minute (n,): true prices, volume, states after the minute, feed copies.

    Attributes:
        grid: The trading minutes.
        prices: Open, high, low, close, rounded to the tick (4, n).
        volume: Volume (n,), None when the feed has none.
        states: x, n, m, log-volatility deviation, after each minute (4, n).
        regime: Volatility regime of each minute (n,).
        shown: How often the feed shows the minute: 0, 1 or 2.
        carried: State handed to the next month, and the open of the last trading minute so far (microseconds).
    """

    grid: Minutes
    prices: Floats
    volume: Floats | None
    states: Floats
    regime: npt.NDArray[np.int8]
    shown: Copies
    carried: tuple[Floats, int]


def rules(market: Market) -> couplings.Couplings:
    """The planted couplings of a symbol; its trading time decides how dense headlines and releases are."""
    per_day = _yearly_minutes(market) / _DAYS_A_YEAR
    return couplings.solve(market.world, PER_DAY * TONE_VARIANCE / per_day, SURPRISES_PER_DAY / per_day)


def usual_volatility(market: Market) -> float:
    """Standard deviation of the log return of a usual minute, such that the year comes out at the asset's volatility."""
    gain = couplings.long_run_gain(rules(market))
    squared = volatility.mean_square() * (1 + couplings.JUMP_VARIANCE) * _yearly_minutes(market)
    return float(market.asset.volatility / gain / np.sqrt(squared))


def _yearly_minutes(market: Market) -> float:
    return minutes_per_year(market.calendar, market.world.epoch.year)


def block(market: Market, month: int) -> Block:
    """The market's month; months before it are made first, so that recursion stays shallow."""
    for earlier in range(market.first_month, month):
        _handed_over(market, earlier)
    return _block(market, month)


# a month of a 24/7 symbol takes 3.3 MB; a month that fell out is made again from what was handed over to it
@lru_cache(maxsize=40)
def _block(market: Market, month: int) -> Block:
    grid = month_grid(market.calendar, month)
    before, last = _handed_over(market, month)
    state = before.copy()
    random = stream(market.world.seed, f"path {market.symbol}", month)
    size = month_minutes(month)
    normal, uniform = random.standard_normal((5, size))[:, grid.index], 1 - random.random((4, size))[:, grid.index]
    jump = np.where(uniform[3] < couplings.JUMPS_PER_MINUTE, couplings.JUMP_SIZE * normal[3], 0.0)
    extra = np.vstack([jump, _tones(market, month, grid, last), _surprises(market, month, grid, last)])
    prices, states = kernels.walk(
        state, rules(market), usual_volatility(market), volatility.CALM, volatility.CUMULATIVE, volatility.MULTIPLIER,
        grid.deviation, _gaps(market, grid, normal[4]), _shocks(market, month, grid, normal), extra, uniform[:3],
    )  # fmt: skip
    return Block(
        grid=grid, prices=_rounded(np.exp(prices), market.asset.tick), volume=_volume(market, grid, prices, states),
        states=states[:4].copy(), regime=states[4].astype(np.int8),
        shown=copies(market.world.seed, market.symbol, month, grid),
        carried=(state, int(grid.timestamp[-1]) if len(grid.timestamp) else last),
    )  # fmt: skip


# one small array a month: never forgotten in practice
@lru_cache(maxsize=8_192)
def _handed_over(market: Market, month: int) -> tuple[Floats, int]:
    if month > market.first_month:
        return _block(market, month - 1).carried
    state = np.zeros(kernels.STATES)
    state[kernels.PRICE], state[kernels.REGIME] = np.log(market.asset.price), 1
    return state, int(month_start(month).timestamp()) * 1_000_000 - MINUTE


def _shocks(market: Market, month: int, grid: Minutes, own: Floats) -> Floats:
    """Price, log-volatility and log-volume shocks (3, n), each of variance 1 over many minutes."""
    loadings = market.asset.loadings
    late = market.asset.follows if market.world.lead_lag else 0.0
    common = common_shocks(market.world.seed, month, loadings, late)[grid.index]
    mood = factor_shocks(market.world.seed, month)[-1][grid.index]
    return np.vstack(
        [
            common + _alone(*loadings) * own[0],
            volatility.COMMON * mood + _alone(volatility.COMMON) * own[1],
            own[2],
        ]
    )


def _gaps(market: Market, grid: Minutes, own: Floats) -> Floats:
    """Price gap before each minute in usual-volatility units: 0, or what the closure's common and own shocks made."""
    gaps, loadings = np.zeros(len(grid.timestamp)), market.asset.loadings
    for row, start, size in zip(grid.gap_rows.tolist(), grid.gap_start.tolist(), grid.gap_deviation.tolist(), strict=True):
        common = closure_shock(market.world.seed, loadings, start, int(grid.timestamp[row]))
        gaps[row] = size * (common + _alone(*loadings) * own[row])
    return gaps


def _alone(*loadings: float) -> float:
    return float(np.sqrt(1 - np.sum(np.square(loadings))))


def _tones(market: Market, month: int, grid: Minutes, last: int) -> Floats:
    """Summed tone of the headlines that came out in each minute, or while the market was closed before it."""
    news = [month_news(market.world.seed, market.symbol, number) for number in (month - 1, month)]
    return _collect(grid, last, np.concatenate([part.published for part in news]), np.concatenate([part.tone for part in news]))


def _surprises(market: Market, month: int, grid: Minutes, last: int) -> Floats:
    """The same for macro surprises, signed by what they mean to this asset."""
    december = month // 12 * 12 + 11
    table = impulses(market.world.seed, market.world.epoch, december)
    meaning = market.asset.inflation * table["inflation"] + market.asset.growth * table["growth"]
    return _collect(grid, last, microseconds(table["released_at"]), meaning.to_numpy())


def _collect(grid: Minutes, last: int, at: Int64s, value: Floats) -> Floats:
    minute = at - at % MINUTE
    row = np.searchsorted(grid.timestamp, minute)
    new = (minute > last) & (row < len(grid.timestamp))
    return np.bincount(row[new], weights=value[new], minlength=len(grid.timestamp)).astype(np.float64)


def _volume(market: Market, grid: Minutes, prices: Floats, states: Floats) -> Floats | None:
    """Volume follows the session's U, the volatility and the size of the minute's own move."""
    usual = market.asset.volume
    if usual is None:
        return None
    activity: Floats = np.exp(states[5] - volatility.VOLUME_DEVIATION**2 / 2 + 0.5 * states[3])
    level = usual_volatility(market) * grid.deviation
    activity *= 0.6 + 0.5 * np.minimum(np.abs(prices[3] - prices[0]) / level, 8.0)
    step = 10.0**-market.asset.volume_decimals
    rounded: Floats = np.round(usual * grid.volume * activity, market.asset.volume_decimals)
    return np.maximum(rounded, step)


def _rounded(prices: Floats, tick: float) -> Floats:
    return np.maximum(np.round(np.round(prices / tick) * tick, _DECIMALS), tick)
