"""What a trade of a signal would look like: the newest price, the barriers that its models learned, and when it ends.

It says nothing that the signal does not already follow from, and is no part of it: stored signals stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from quant_pipeline.config.timeframes import duration
from quant_pipeline.errors import DataError
from quant_pipeline.inference.context import primary_bars
from quant_pipeline.inference.schedule import LOOK_AHEAD, decision_moments
from quant_pipeline.inference.window import window_start
from quant_pipeline.labels.barriers import simple_atr

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import LabelSettings
    from quant_pipeline.inference.account import Desk
    from quant_pipeline.inference.signals import Signal

SPARSE = 7  # times as long as the bars themselves: an exchange that is open four hours of a working day, and holidays


@dataclass(frozen=True)
class TradePlan:
    """Prices in the symbol's own currency.

    Attributes:
        price: close of the newest primary bar at the decision.
        target: where the profit is taken, if the trade were filled at `price`.
        stop: where the loss is cut, likewise.
        expires_at: when the trade ends if neither was met (UTC); None where the calendar does not reach so far.
    """

    price: float
    target: float
    stop: float
    expires_at: datetime | None


def trade_plan(desk: Desk, signal: Signal, barriers: LabelSettings) -> TradePlan | None:
    """The plan of `signal`, from the bars that it had seen; None where it has no side or its bars give no range.

    For the barriers see `label_bars`: multiples of the average true range, on net profit.
    """
    if not signal.action or signal.decision_at is None:
        return None
    instrument, experiment = desk.universe.symbol(signal.symbol), desk.experiment
    start = window_start(experiment, instrument.calendar, signal.as_of)
    bars = primary_bars(desk, signal.symbol, start, signal.as_of, signal.seen_by.bars if signal.seen_by else None)
    if bars.height <= barriers.atr_period:
        return None
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    price, atr = float(close[-1]), float(simple_atr(high, low, close, barriers.atr_period)[-1])
    cost = instrument.costs.round_trip * price
    target = price + signal.action * (barriers.tp_atr * atr + cost)
    stop = price - signal.action * (barriers.sl_atr * atr - cost)
    return TradePlan(price, target, stop, _expiry(instrument.calendar, experiment.primary, signal.as_of, barriers.max_bars))


def _expiry(calendar: str, primary: str, after: datetime, bars: int) -> datetime | None:
    """Scheduled close of the `bars`-th primary bar after `after`."""
    ahead = LOOK_AHEAD + SPARSE * bars * duration(primary)
    try:
        closes = decision_moments(calendar, primary, after + timedelta(microseconds=1), after + ahead)
    except DataError:
        return None
    return closes[bars - 1] if len(closes) >= bars else None
