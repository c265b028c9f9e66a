"""The oracle: what the market's own rules expect of a return, and the best skill that any forecast can reach.

Information sets. `bars`: the symbol's own past minutes, from which x is computed. `news`: also its headlines so far.
`macro`: also the releases so far. The oracle knows the current volatility and regime, which bars tell only
roughly; that changes the size of its forecasts from row to row, hardly their sign. It leaves out two trifles that
own bars hold in principle: the common shocks that a follower has yet to take (under five minutes' worth), and the
faint echo of unseen news in x. Together they are worth under one hundredth of the planted information coefficient.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds, moments, to_microseconds
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.errors import DataError
from quant_pipeline.sources.simulated import couplings, kernels, volatility
from quant_pipeline.sources.simulated.grading import Reachable, score
from quant_pipeline.sources.simulated.noise import MINUTE, Floats
from quant_pipeline.sources.simulated.path import rules, usual_volatility
from quant_pipeline.sources.simulated.span import Span

if TYPE_CHECKING:
    from quant_pipeline.sources.simulated.path import Market

INPUTS = ("bars", "news", "macro")
_HOUR = 60 * MINUTE
_FEWEST = 2  # rows that a correlation needs


def outlook(market: Market, decision_at: pl.Series, horizon: timedelta, inputs: tuple[str, ...]) -> pl.DataFrame:
    """What the oracle says at each decision about the log return of the trade that it starts.

    Args:
        market: The symbol and its world.
        decision_at: UTC moments, usually closes of bars. The trade is filled at the open of the first minute at or
            after it and held for `horizon` of trading time: closures do not count.
        horizon: Trading time that the trade is held, whole minutes.
        inputs: Which of `INPUTS` the oracle may use.

    Returns:
        decision_at, expected_return, deviation (both log returns), p_up; null before the market begins.

    Raises:
        DataError: an unknown input, or a horizon that is not a positive number of whole minutes.
    """
    steps = _steps(horizon)
    known = np.array([name in _checked(inputs) for name in INPUTS], np.float64)
    at = microseconds(decision_at)
    span = Span.around(market, at, steps)
    row = span.fill_row(at)
    asked = np.flatnonzero(row > 0)
    mean, deviation = np.full(len(at), np.nan), np.full(len(at), np.nan)
    if len(asked):
        mean[asked], deviation[asked] = _expect(market, span, row[asked], steps, known)
    table = pl.DataFrame({"decision_at": decision_at, "expected_return": mean, "deviation": deviation})
    return table.with_columns(p_up=pl.Series(_normal_cdf(mean / deviation))).with_columns(
        pl.col("expected_return", "deviation", "p_up").fill_nan(None)
    )


def forward_return(market: Market, decision_at: pl.Series, horizon: timedelta) -> pl.Series:
    """Log return of the trade described in `outlook`, as it truly came; null before the market begins."""
    steps = _steps(horizon)
    at = microseconds(decision_at)
    span = Span.around(market, at, steps)
    row = span.fill_row(at)
    asked = row > 0
    prices = span.prices()
    value = np.full(len(at), np.nan)
    value[asked] = np.log(prices[1][row[asked] + steps - 1] / prices[0][row[asked]])
    return pl.Series("forward_return", value).fill_nan(None)


def reachable_at(market: Market, decision_at: pl.Series, horizon: timedelta, inputs: tuple[str, ...]) -> Reachable:
    """The oracle's score on given decisions, outcomes as `forward_return`; those before the market begins are left out.

    Raises:
        DataError: as `outlook`, or fewer than two decisions.
    """
    said = outlook(market, decision_at, horizon, inputs).with_columns(forward_return(market, decision_at, horizon)).drop_nulls()
    if len(said) < _FEWEST:
        raise DataError(
            f"decisions of {market.symbol}", found=f"{len(said)} since {market.world.epoch}",
            wanted=f"at least {_FEWEST}, each with a finished trade", mend="ask for a longer span after the market's epoch",
        )  # fmt: skip
    return score(*(said[name].to_numpy() for name in ("expected_return", "p_up", "forward_return")))


def hourly_decisions(market: Market, horizon: timedelta, start: datetime, end: datetime) -> pl.Series:
    """Each full hour after a session's open, and each close, in [start, end), if its trade ends by `end`."""
    sessions = session_table(market.calendar, start, end)
    opens, closes = microseconds(sessions["session_open"]), microseconds(sessions["session_close"])
    hours = -(-(closes - opens) // _HOUR)
    row = np.repeat(np.arange(len(opens)), hours)
    hour = 1 + np.arange(len(row)) - np.repeat(np.cumsum(hours) - hours, hours)
    at = np.minimum(opens[row] + hour * _HOUR, closes[row])
    first, last = to_microseconds(start, "start"), to_microseconds(end, "end")
    at = at[(at >= first) & (at < last)]
    span = Span.around(market, at, _steps(horizon))
    fill = span.fill_row(at)
    return moments(at[span.timestamp[fill + _steps(horizon) - 1] + MINUTE <= last], "decision_at")


def _expect(market: Market, span: Span, row: Int64s, steps: int, known: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of the return from the open of grid row `row`, from the state after the minute before."""
    states, regime = span.states()
    linear, coming = rules(market), couplings.ahead(rules(market), steps)
    level, square = volatility.expected(steps)
    scale = usual_volatility(market)
    deviation, gap = span.noise()
    return kernels.expectation(
        np.ascontiguousarray(states[:, row - 1]), regime[row - 1], row,
        np.vstack(coming) * known[:, None], scale * level, scale**2 * square, volatility.MEMORY,
        deviation**2 + couplings.JUMP_VARIANCE, gap**2, linear.bars_memory + linear.bars, linear.bars,
    )  # fmt: skip


def _steps(horizon: timedelta) -> int:
    steps, rest = divmod(horizon, timedelta(minutes=1))
    if steps < 1 or rest:
        raise DataError("horizon", found=horizon, wanted="a positive number of whole minutes", mend="pass timedelta(hours=5)")
    return steps


def _checked(inputs: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in inputs if name not in INPUTS]
    if unknown or not inputs:
        raise DataError("inputs", found=inputs, wanted=f"some of {', '.join(INPUTS)}", mend="pass ('bars',) or all of them")
    return inputs


def _normal_cdf(z: Floats) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(z), np.float64)
