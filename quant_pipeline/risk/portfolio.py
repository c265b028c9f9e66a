"""The portfolio that limits look at, and the paper account that derives it from emitted signals and known bars."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import Int64s, microseconds, require_columns, to_microseconds
from quant_pipeline.errors import DataError
from quant_pipeline.jit import compiled
from quant_pipeline.risk.sizing import notional_share

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import polars as pl

    from quant_pipeline.config.universe import Symbol

Floats = npt.NDArray[np.float64]
CORRELATION_BARS = 100  # about four days of hourly bars: long enough to trust 0.9, short enough to see a regime
_FEWEST_RETURNS = 30
_CLOSE, _OPEN = 0, 1  # at the same moment, bars close before the next ones open
_DAY_US = timedelta(days=1) // timedelta(microseconds=1)


@dataclass(frozen=True)
class PortfolioState:
    """The account at one moment. A new account has the defaults.

    Attributes:
        equity: in multiples of the starting capital.
        peak: highest equity so far, at bar closes.
        day_start_equity: equity at 00:00 UTC of the day, at the last bar close by then.
        exposures: signed notional of each open position as a share of equity; symbols without one are left out.
        correlation: highest correlation between the returns of two open positions, each times its side, so that two bets
            which win together count and a hedge does not; None with fewer than two positions or too few bars.
    """

    equity: float = 1.0
    peak: float = 1.0
    day_start_equity: float = 1.0
    exposures: Mapping[str, float] = field(default_factory=dict)
    correlation: float | None = None

    def __post_init__(self) -> None:
        figures = (self.equity, self.peak, self.day_start_equity, *self.exposures.values(), self.correlation or 0.0)
        if not all(map(math.isfinite, figures)) or self.peak < max(self.equity, self.day_start_equity, 0.0):
            raise DataError(
                "portfolio state", found=self, wanted="finite figures and a peak not below equity",
                mend="check the bars and signals that the account was derived from",
            )  # fmt: skip


class _Book(NamedTuple):
    """One symbol's bars known by the moment, and the signed share wanted at each open (NaN: no change)."""

    opens_at: Int64s
    known_at: Int64s
    open: Floats
    close: Floats
    target: Floats


class _Events(NamedTuple):
    """Opens and closes of every symbol's bars in time order; `target` is NaN but at the opens that trade."""

    at: Int64s
    kind: Int64s
    symbol: Int64s
    price: Floats
    target: Floats


def paper_account(
    signals: pl.DataFrame, bars: Mapping[str, pl.DataFrame], symbols: Mapping[str, Symbol], *, at: datetime, horizon_bars: int
) -> PortfolioState:
    """The account at `at` of someone who followed every signal; only rows known by then are used.

    A signal is filled at the open of the first bar that opens at or after its `as_of`, at `notional_share` of the equity
    then. It is held, without rebalancing, until another signal's fill asks for another share (action 0: none), or until
    `horizon_bars` bars after its fill, whichever is first. Each fill pays half a round trip of what it trades. Equity is
    marked at closes. Signals older than a symbol's first bar cannot be priced and are skipped.

    Args:
        signals: The signals table: symbol, as_of (Datetime us UTC), action (-1, 0, 1), position_size (units); of two with
            the same symbol and fill, the later row counts.
        bars: Primary RUNG bars by symbol, each sorted; signals of other symbols are skipped.
        symbols: Costs and risk profile of each symbol of `bars`.
        at: The moment; bars with a later known_at do not exist.
        horizon_bars: Bars after which an unrenewed position is closed, at an open.

    Returns:
        The state; equal for equal inputs, and the same whether or not later rows are present.

    Raises:
        DataError: a missing column, a naive `at`, or `horizon_bars` below 1.
    """
    require_columns(signals, ("symbol", "as_of", "action", "position_size"), "signals")
    if horizon_bars < 1:
        raise DataError("horizon_bars", found=horizon_bars, wanted="one bar or more", mend="take labels.max_bars")
    if not bars:
        return PortfolioState()
    moment, names = to_microseconds(at, "at"), sorted(bars)
    books = [_book(bars[name], signals.filter(symbol=name), symbols[name], moment, horizon_bars) for name in names]
    sides = np.array([symbols[name].costs.round_trip / 2 for name in names])
    equity, peak, day_start, values = _follow(_events(books), sides, moment // _DAY_US * _DAY_US)
    exposures = {name: float(value / equity) for name, value in zip(names, values, strict=True) if value}
    held = [(book, math.copysign(1, exposures[name])) for name, book in zip(names, books, strict=True) if name in exposures]
    return PortfolioState(float(equity), float(peak), float(day_start), exposures, _highest_correlation(held))


def _book(bars: pl.DataFrame, signals: pl.DataFrame, symbol: Symbol, moment: int, horizon_bars: int) -> _Book:
    known = int(np.searchsorted(microseconds(bars["known_at"]), moment, side="right"))
    seen = bars.head(known)
    opens_at = microseconds(seen["timestamp"])
    target = np.full(known, np.nan)
    ordered = signals.sort("as_of", maintain_order=True)
    issued = microseconds(ordered["as_of"])
    fills = np.searchsorted(opens_at, issued)
    priced = (fills < known) & (issued >= (opens_at[0] if known else 0))
    shares = [a * notional_share(s, symbol.risk) for a, s in ordered.select("action", "position_size").filter(priced).iter_rows()]
    target[fills[priced]] = shares
    _close_at_horizon(target, horizon_bars)
    return _Book(opens_at, microseconds(seen["known_at"]), seen["open"].to_numpy(), seen["close"].to_numpy(), target)


def _close_at_horizon(target: Floats, horizon_bars: int) -> None:
    filled = np.flatnonzero(~np.isnan(target))
    ends = filled + horizon_bars
    unrenewed = ends < np.append(filled[1:], len(target))
    target[ends[unrenewed]] = 0.0


def _events(books: list[_Book]) -> _Events:
    parts = []
    for number, book in enumerate(books):
        count, nothing = len(book.open), np.full(len(book.open), np.nan)
        symbol = np.full(count, number)
        parts.append(_Events(book.opens_at, np.full(count, _OPEN), symbol, book.open, book.target))
        parts.append(_Events(book.known_at, np.full(count, _CLOSE), symbol, book.close, nothing))
    joined = _Events._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((joined.symbol, joined.kind, joined.at))
    return _Events._make(column[order] for column in joined)


@compiled
def _follow(events: _Events, side_cost: Floats, midnight: int) -> tuple[float, float, float, Floats]:
    """Walk the events once: equity, its peak, equity at `midnight`, and the money value of each position."""
    symbols = len(side_cost)
    units, price, wanted = np.zeros(symbols), np.zeros(symbols), np.zeros(symbols)
    cash, equity, peak, day_start = 1.0, 1.0, 1.0, 1.0
    for i in range(len(events.at)):
        k = events.symbol[i]
        price[k] = events.price[i]
        equity = cash + np.sum(units * price)
        target = events.target[i]
        if not np.isnan(target) and target != wanted[k]:
            bought = target * max(equity, 0.0) / price[k] - units[k]
            cash -= bought * price[k] + abs(bought) * price[k] * side_cost[k]
            units[k] += bought
            wanted[k] = target
        if events.kind[i] == _CLOSE:
            peak = max(peak, equity)
            if events.at[i] <= midnight:
                day_start = equity
    return equity, peak, day_start, units * price


def _highest_correlation(held: list[tuple[_Book, float]]) -> float | None:
    """Highest correlation between two positions' bar returns times their sides, on the first one's newest bars."""
    found = [
        one_side * other_side * value
        for i, (one, one_side) in enumerate(held)
        for other, other_side in held[i + 1 :]
        if (value := _correlation(one, other)) is not None
    ]
    return max(found, default=None)


def _correlation(one: _Book, other: _Book) -> float | None:
    moments = one.known_at[-CORRELATION_BARS - 1 :]
    row = asof_index(moments, other.known_at)
    both = row >= 0
    if both.sum() <= _FEWEST_RETURNS:
        return None
    closes = np.stack([one.close[-CORRELATION_BARS - 1 :][both], other.close[row[both]]])
    returns = np.diff(np.log(closes))
    if (np.ptp(returns, axis=1) == 0).any():
        return None
    return float(np.clip(np.corrcoef(returns)[0, 1], -1, 1))
