"""Event-accurate backtest: decisions become fills at the next open, fills cost money, positions are marked at every close.

Nothing at time t depends on a later bar: a decision is filled at the open of the first bar that opens at or after it,
a barrier is met inside the bar that reaches it, a horizon ends a trade at the first open after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl

from quant_pipeline.backtest import kernel
from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import microseconds, moments, require_columns
from quant_pipeline.errors import DataError

if TYPE_CHECKING:
    from datetime import datetime

    from quant_pipeline.config.universe import Costs

Exits = Literal["next_decision", "barrier"]
_PRICES = ("open", "high", "low", "close")
_BARRIERS = ("take_profit", "stop_loss", "horizon_end")


class Backtest(NamedTuple):
    """Trades and equity; money is in multiples of the starting capital.

    Attributes:
        trades: entry_at, exit_at (open of the fill, or known_at of the bar inside which a barrier was met), side (1, -1),
            size (fraction of equity at entry), entry_price, exit_price, gross_return, cost, net_return (each as a
            fraction of the money put in), profit (net, in starting capitals), reason.
        equity: one row per primary bar, at its close: timestamp, known_at, close, exposure (fraction of equity, signed),
            gross, net, costs (paid so far), turnover (traded notional over equity, so far), drawdown (of net, <= 0).
            gross is net with the costs paid so far given back, the positions being the same.
    """

    trades: pl.DataFrame
    equity: pl.DataFrame


def run_backtest(
    decisions: pl.DataFrame,
    bars: pl.DataFrame,
    costs: Costs,
    *,
    path: pl.DataFrame | None = None,
    exits: Exits = "next_decision",
    close_at_end: bool = True,
) -> Backtest:
    """What `decisions` would have earned on `bars`.

    A fill trades at the open of the first path bar with timestamp >= decision_at (the next bar's open; after a gap, the
    next session's). Of several decisions that meet the same open, the last counts. Every fill pays half a round trip
    of its notional. A position is `size` times the equity at its fill; it is traded again only when action or size change,
    so drifting prices cause no trades.

    Args:
        decisions: decision_at (sorted, unique), action (-1, 0, 1), size (fraction of equity, >= 0). With
            exits="barrier" also take_profit and stop_loss (fractions of the fill price, as in LABELS) and horizon_end.
        bars: primary RUNG BARS, sorted; equity has one row for each.
        costs: of the symbol; `round_trip` / 2 of the traded notional is paid at each side.
        path: finer RUNG BARS of the same span on which fills and barriers are resolved; None takes `bars`.
        exits: "next_decision" holds until a decision asks for something else; 0 means flat. "barrier" holds until take-profit,
            stop (first when both lie in one bar; a gap beyond one fills at the open) or the first open at or after horizon_end;
            decisions for the same side and for 0 are ignored meanwhile, the opposite side reverses.
        close_at_end: whether the last close ends an open trade, so that every trade pays both sides.

    Raises:
        DataError: a missing column, unsorted decisions, an impossible action or size, or bars that do not increase.
    """
    orders = _orders(decisions, exits)
    inside = (pl.col("timestamp") >= bars["timestamp"].min()) & (pl.col("known_at") <= bars["known_at"].max())
    steps = _steps(bars if path is None else path.filter(inside), "path bars")
    closes_at = _steps(bars, "primary bars").known_at
    curve, log, times = kernel.simulate(steps, orders, kernel.Rules(exits == "barrier", costs.round_trip / 2, close_at_end))
    return Backtest(_trades(log, times), _equity(bars, asof_index(closes_at, steps.known_at), curve))


def buy_and_hold(
    bars: pl.DataFrame, costs: Costs, *, since: datetime | None = None, path: pl.DataFrame | None = None
) -> Backtest:
    """The baseline: all capital long from the first open at or after `since` (default: the first bar) to the last close.

    Its net result is the ratio of the two prices less one round trip, half on each of the two notionals.
    """
    at = pl.Series("decision_at", [since or bars["timestamp"][0]], dtype=pl.Datetime("us", "UTC"))
    return run_backtest(pl.DataFrame(at).with_columns(action=pl.lit(1), size=pl.lit(1.0)), bars, costs, path=path)


def most_probable(predictions: pl.DataFrame, *, size: float = 1.0) -> pl.DataFrame:
    """Decisions of the plainest policy: long or short where that class is the most probable, else flat.

    `predictions` are PREDICTIONS of one model; a decision that stands in several folds takes its mean probabilities.
    """
    mean = predictions.group_by("decision_at").agg(pl.col("p_short", "p_neutral", "p_long").mean()).sort("decision_at")
    best = mean.select("p_short", "p_neutral", "p_long").to_numpy().argmax(axis=1) - 1
    return mean.select("decision_at", action=pl.Series(best), size=pl.lit(size))


def _orders(decisions: pl.DataFrame, exits: Exits) -> kernel.Orders:
    require_columns(decisions, ("decision_at", "action", "size", *(_BARRIERS if exits == "barrier" else ())), "decisions")
    at = microseconds(decisions["decision_at"])
    action, size = (decisions[name].cast(pl.Float64).to_numpy() for name in ("action", "size"))
    sound = {
        "decision_at sorted, each once": (np.diff(at) > 0).all(),
        "action of -1, 0 or 1": np.isin(action, (-1, 0, 1)).all(),
        "finite size >= 0": (np.isfinite(size) & (size >= 0)).all(),
    }
    if not all(sound.values()):
        broken = ", ".join(wanted for wanted, holds in sound.items() if not holds)
        raise DataError("decisions", found="rows that break this", wanted=broken, mend="sort them and check action and size")
    if exits == "next_decision":
        return kernel.Orders(at, action * size, np.zeros(len(at)), np.zeros(len(at)), np.zeros(len(at), dtype=np.int64))
    take, stop = (decisions[name].cast(pl.Float64).to_numpy() for name in _BARRIERS[:2])
    return kernel.Orders(at, action * size, take, stop, microseconds(decisions["horizon_end"]))


def _steps(bars: pl.DataFrame, name: str) -> kernel.Steps:
    require_columns(bars, ("timestamp", "known_at", *_PRICES), name)
    opens_at, known_at = microseconds(bars["timestamp"]), microseconds(bars["known_at"])
    if bars.is_empty() or (np.diff(opens_at) <= 0).any():
        found = "no rows" if bars.is_empty() else "timestamps that do not increase"
        raise DataError(name, found=found, wanted="bars sorted by time, each once", mend="run clean_bars first")
    return kernel.Steps(opens_at, known_at, *(bars[column].to_numpy() for column in _PRICES))


def _trades(log: kernel.Floats, times: kernel.Ints) -> pl.DataFrame:
    side, size, entry, left, stake, gross, fees = log.T
    return pl.DataFrame(
        {
            "entry_at": moments(np.ascontiguousarray(times[:, 0]), "entry_at"),
            "exit_at": moments(np.ascontiguousarray(times[:, 1]), "exit_at"),
            "side": side.astype(np.int8),
            "size": size,
            "entry_price": entry,
            "exit_price": left,
            "gross_return": gross / stake,
            "cost": fees / stake,
            "net_return": (gross - fees) / stake,
            "profit": gross - fees,
            "reason": pl.Series(kernel.REASONS).gather(times[:, 2]),
        }
    )


def _equity(bars: pl.DataFrame, step: kernel.Ints, curve: kernel.Floats) -> pl.DataFrame:
    """Curve at the last step of each bar; -1, no step yet, finds the untouched capital appended at the end."""
    net, exposure, costs, turnover = np.vstack([curve, [1.0, 0.0, 0.0, 0.0]])[step].T
    held = np.divide(exposure, net, out=np.zeros_like(net), where=net > 0)
    frame = bars.select("timestamp", "known_at", "close").with_columns(
        exposure=held, gross=net + costs, net=net, costs=costs, turnover=turnover
    )
    peak = pl.max_horizontal(pl.col("net").cum_max(), pl.lit(1.0))
    return frame.with_columns(drawdown=pl.col("net") / peak - 1)
