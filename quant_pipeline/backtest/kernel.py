"""The event loop of the backtest, compiled. Money is in multiples of the starting capital; see `engine` for the rules."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.jit import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REASONS = ("decision", "take_profit", "stop_loss", "horizon", "end", "ruin")
DECISION, TAKE_PROFIT, STOP_LOSS, HORIZON, END, RUIN = range(6)

# columns of the account: what is held, what was paid so far
CASH, UNITS, COSTS, TURNOVER = range(4)
# and of its open trade: signed size, money out less money in, fees, money put in, first price, the two barriers
TARGET, FLOW, FEES, STAKE, ENTRY, TAKE, STOP = range(4, 11)
ACCOUNT = 11
TRADES, PENDING, UNTIL, RUINED = range(4)  # of Book.counters: trades closed, next order, horizon of the open trade, 1 once broke


class Steps(NamedTuple):
    """Bars in time order, each (bars,); times in microseconds."""

    opens_at: Ints
    known_at: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats


class Orders(NamedTuple):
    """Decisions in time order, each (orders,): signed size, barriers as fractions of the fill price, horizon."""

    at: Ints
    target: Floats
    take: Floats
    stop: Floats
    horizon: Ints


class Rules(NamedTuple):
    """Whether barriers end trades, the cost of one side as a fraction of notional, whether the last close ends a trade."""

    barriers: bool
    side_cost: float
    close_at_end: bool


class Book(NamedTuple):
    """What changes: account (11,), counters (4,), log (trades, 7) and times (trades, 3) of entry, exit, reason."""

    account: Floats
    counters: Ints
    log: Floats
    times: Ints


@compiled
def simulate(steps: Steps, orders: Orders, rules: Rules) -> tuple[Floats, Floats, Ints]:
    """Walk the bars once, forward.

    Returns:
        curve (bars, 4): equity, exposure in money, costs so far, turnover so far, each at the bar's close;
        log (trades, 7): side, size, entry price, exit price, money put in, gross profit, fees;
        times (trades, 3): entry, exit, index of `REASONS`.
    """
    most = len(orders.at) + 1
    book = Book(np.zeros(ACCOUNT), np.zeros(4, np.int64), np.empty((most, 7)), np.empty((most, 3), np.int64))
    account, bars = book.account, len(steps.open)
    account[CASH] = 1.0
    curve = np.empty((bars, 4))
    for i in range(bars):
        if rules.barriers and account[UNITS] != 0:
            _leave_at_open(book, rules, steps.open[i], steps.opens_at[i])
        _obey(book, orders, rules, steps.open[i], steps.opens_at[i])
        if rules.barriers and account[UNITS] != 0:
            _leave_inside(book, rules, steps.high[i], steps.low[i], steps.known_at[i])
        _settle(book, rules, steps.close[i], steps.known_at[i], i == bars - 1)
        curve[i, 1] = account[UNITS] * steps.close[i]
        curve[i, 0], curve[i, 2], curve[i, 3] = account[CASH] + curve[i, 1], account[COSTS], account[TURNOVER]
    trades = book.counters[TRADES]
    return curve, book.log[:trades], book.times[:trades]


@compiled
def _newest(book: Book, orders: Orders, moment: int) -> int:
    """The last order decided since the bar before, -1 if none."""
    newest = -1
    while book.counters[PENDING] < len(orders.at) and orders.at[book.counters[PENDING]] <= moment:
        newest = book.counters[PENDING]
        book.counters[PENDING] += 1
    return newest


@compiled
def _obey(book: Book, orders: Orders, rules: Rules, price: float, moment: int) -> None:
    order = _newest(book, orders, moment)
    if order < 0 or book.counters[RUINED] == 1:
        return
    account, want = book.account, orders.target[order]
    if rules.barriers and (want == 0 or want * account[UNITS] > 0 or orders.horizon[order] <= moment):
        return  # a trade with barriers lives until its own exit; only the opposite side ends it early
    if account[CASH] + account[UNITS] * price <= 0:
        want = 0.0
    if want == account[TARGET]:
        return
    if account[UNITS] != 0 and want * account[UNITS] <= 0:
        _close(book, rules, price, moment, DECISION)
    if want != 0:
        if account[UNITS] == 0:
            side = np.sign(want)
            account[ENTRY], book.times[book.counters[TRADES], 0], book.counters[UNTIL] = price, moment, orders.horizon[order]
            account[TAKE], account[STOP] = price * (1 + side * orders.take[order]), price * (1 - side * orders.stop[order])
        _trade(account, rules, price, want * (account[CASH] + account[UNITS] * price) / price)
        account[TARGET] = want


@compiled
def _leave_at_open(book: Book, rules: Rules, price: float, moment: int) -> None:
    side = np.sign(book.account[UNITS])
    if side * (price - book.account[STOP]) <= 0:
        _close(book, rules, price, moment, STOP_LOSS)
    elif side * (price - book.account[TAKE]) >= 0:
        _close(book, rules, price, moment, TAKE_PROFIT)
    elif book.counters[UNTIL] <= moment:
        _close(book, rules, price, moment, HORIZON)


@compiled
def _leave_inside(book: Book, rules: Rules, high: float, low: float, moment: int) -> None:
    """Barriers met inside the bar, at their price; when both lie inside, the stop came first."""
    stop, take = book.account[STOP], book.account[TAKE]
    long = book.account[UNITS] > 0
    if (low <= stop) if long else (high >= stop):
        _close(book, rules, stop, moment, STOP_LOSS)
    elif (high >= take) if long else (low <= take):
        _close(book, rules, take, moment, TAKE_PROFIT)


@compiled
def _settle(book: Book, rules: Rules, price: float, moment: int, last: bool) -> None:  # noqa: FBT001 - a kernel
    if book.account[UNITS] == 0:
        return
    if book.account[CASH] + book.account[UNITS] * price <= 0:
        book.counters[RUINED] = 1
        _close(book, rules, price, moment, RUIN)
    elif last and rules.close_at_end:
        _close(book, rules, price, moment, END)


@compiled
def _trade(account: Floats, rules: Rules, price: float, units: float) -> None:
    change = units - account[UNITS]
    notional = abs(change) * price
    account[TURNOVER] += notional / max(account[CASH] + account[UNITS] * price, 1e-12)
    account[CASH] -= change * price + notional * rules.side_cost
    account[COSTS] += notional * rules.side_cost
    account[FLOW] -= change * price
    account[FEES] += notional * rules.side_cost
    if abs(units) > abs(account[UNITS]):
        account[STAKE] += notional
    account[UNITS] = units


@compiled
def _close(book: Book, rules: Rules, price: float, moment: int, reason: int) -> None:
    account, row = book.account, book.counters[TRADES]
    side, size = np.sign(account[UNITS]), abs(account[TARGET])
    _trade(account, rules, price, 0.0)
    book.log[row] = np.array([side, size, account[ENTRY], price, account[STAKE], account[FLOW], account[FEES]])
    book.times[row, 1], book.times[row, 2] = moment, reason
    book.counters[TRADES] += 1
    account[TARGET:] = 0.0
