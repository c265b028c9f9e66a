"""Figures of an equity curve: returns, risk-adjusted returns with an interval, drawdown, turnover, trades."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.jit import compiled
from quant_pipeline.validation.bootstrap import Interval, block_bootstrap, block_length
from quant_pipeline.validation.skill_kernels import means

if TYPE_CHECKING:
    import polars as pl

    from quant_pipeline.backtest.engine import Backtest
    from quant_pipeline.validation.skill_kernels import Counts, Floats

YEAR_SECONDS = 365.2425 * 86_400


@dataclass(frozen=True)
class Statistics:
    """Fractions, not percents; annual figures by the bars per year that the market really had. NaN where undefined.

    Attributes:
        total_return: net of costs, with its interval.
        hit_rate: share of trades with a net return above zero.
        turnover_per_year: traded notional over equity, in a year; a round trip of all capital is 2.
        exposure: share of bars with a position at their close.
        costs: all costs paid, in starting capitals.
    """

    total_return: Interval
    cagr: float
    volatility: float
    sharpe: Interval
    sortino: float
    max_drawdown: float
    turnover_per_year: float
    hit_rate: float
    trades: int
    exposure: float
    costs: float
    bars_per_year: float
    years: float


def statistics(backtest: Backtest, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0) -> Statistics:
    """Statistics of net equity. Sharpe and Sortino are on simple returns per bar, without a risk-free rate."""
    trades, equity = backtest
    net = np.append(1.0, equity["net"].to_numpy())
    returns = np.diff(net) / np.where(net[:-1] > 0, net[:-1], np.inf)  # after ruin nothing moves
    per_year, years = bars_per_year(equity), equity.height / bars_per_year(equity)
    down = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    sharpe = block_bootstrap(
        partial(_sharpes, returns, per_year),
        len(returns),
        block=block_length(returns),
        resamples=resamples,
        level=level,
        seed=seed,
    )
    return Statistics(
        total_return=total_return(net, resamples=resamples, level=level, seed=seed),
        cagr=float(max(net[-1], 0.0) ** (1 / years) - 1),
        volatility=float(returns.std(ddof=1) * np.sqrt(per_year)) if len(returns) > 1 else np.nan,
        sharpe=sharpe,
        sortino=float(returns.mean() / down * np.sqrt(per_year)) if down > 0 else np.nan,
        max_drawdown=float(equity["drawdown"].to_numpy().min()),
        turnover_per_year=float(equity["turnover"][-1] / years),
        hit_rate=float((trades["net_return"].to_numpy() > 0).mean()) if trades.height else np.nan,
        trades=trades.height,
        exposure=float((equity["exposure"].to_numpy() != 0).mean()),
        costs=float(equity["costs"][-1]),
        bars_per_year=per_year,
        years=years,
    )


def total_return(net: Floats, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0) -> Interval:
    """Compounded return of an equity curve (bars + 1,), its start first, by the block bootstrap of its bars' log-returns.

    The interval is of what such bars earn when they come in another order and mix; it has no bounds after ruin.
    """
    if len(net) <= 1 or (net <= 0).any():
        return Interval(float(net[-1] / net[0] - 1), np.nan, np.nan, np.nan, np.nan)
    growth = np.diff(np.log(net))
    return block_bootstrap(
        partial(_compounded, growth), len(growth), block=block_length(growth), resamples=resamples, level=level, seed=seed
    )


def _compounded(growth: Floats, counts: Counts) -> Floats:
    return np.asarray(np.expm1(means(growth, counts) * len(growth)), dtype=np.float64)


def bars_per_year(bars: pl.DataFrame) -> float:
    """Bars a year of this market: bars counted over the calendar time from the first open to the last close.

    Weekends, holidays, breaks and outages are in it as they were: hourly bars give about 8,766 for a 24/7
    market, 5,900 for gold futures, 1,750 for a stock.
    """
    span = (bars["known_at"][-1] - bars["timestamp"][0]).total_seconds()
    return float(bars.height / (span / YEAR_SECONDS))


@compiled
def _sharpes(returns: Floats, per_year: float, counts: Counts) -> Floats:
    out = np.empty(len(counts))
    for b in range(len(counts)):
        rows, total, square = 0, 0.0, 0.0
        for i in range(len(returns)):
            rows, total, square = rows + counts[b, i], total + counts[b, i] * returns[i], square + counts[b, i] * returns[i] ** 2
        mean = total / rows
        variance = (square - rows * mean * mean) / max(rows - 1, 1)
        out[b] = mean / np.sqrt(variance) * np.sqrt(per_year) if variance > 1e-20 else np.nan  # noqa: PLR2004 - rounding
    return out
