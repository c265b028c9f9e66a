"""From raw bars and a bundle to a signal: the one path of live inference, replay and backtest.

A signal is a function of its decision moment: only bars closed by then count, and exactly those of a fixed window
before it. Later bars, or how late somebody asks, change nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from quant_pipeline.bars.build import build_bars, check_primary
from quant_pipeline.bars.sessions import open_time_between
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.config.universe import Symbol
from quant_pipeline.errors import DataError, QuantError
from quant_pipeline.features.context import ALONE, Context
from quant_pipeline.inference.account import Account, Desk
from quant_pipeline.inference.bundle import PRIORS, Bundle
from quant_pipeline.inference.context import context_hash, gather
from quant_pipeline.inference.decision import decide
from quant_pipeline.inference.inputs import decision_features
from quant_pipeline.inference.schedule import decision_time, next_open
from quant_pipeline.inference.seen import SeenBy
from quant_pipeline.inference.signals import Signal, Status
from quant_pipeline.inference.window import answers_for, bars_hash, context_start, cut, read_raw, window_start
from quant_pipeline.risk.portfolio import PortfolioState
from quant_pipeline.sources.arrival import BEFORE_ALL
from quant_pipeline.views.feature_matrix import from_frame

LOG = logging.getLogger(__name__)
MISSED = "missed: no signal was made in time, so nothing was done"
_TICK = timedelta(microseconds=1)
_HOLLOW = 4
_FORECAST = ("p_short", "p_neutral", "p_long", "p_up", "e_r", "e_long", "e_short")


@dataclass(frozen=True)
class Task:
    """One symbol to be decided, and where its bars come from.

    Attributes:
        instrument: calendar, costs and risk profile of `symbol`.
        profile: simulated, files or yahoo; `simulated` marks bars that were made up.
    """

    symbol: str
    instrument: Symbol
    experiment: Experiment
    profile: str
    simulated: bool


def predict_signal(
    bundle: Bundle | None,
    raw: Mapping[str, pl.DataFrame],
    task: Task,
    *,
    as_of: datetime,
    state: PortfolioState | None = None,
    context: Context = ALONE,
    seen_by: SeenBy | None = None,
) -> Signal:
    """The signal of `task` that was due at `as_of`.

    Args:
        bundle: the live bundle; None gives status `no_model`.
        raw: raw BARS by native interval, at least those of the window; others only tell how old the newest bar is.
        task: the symbol and its settings.
        as_of: any moment (UTC); the signal is about the last scheduled close of a primary bar at or before it.
        state: the account at that close, for the circuit breakers; None is a new account.
        context: other markets, news and releases since `context_start`, as known at that close; see `gather`.
        seen_by: up to which arrivals the stores were read, for the record.

    Returns:
        A signal whose action is 0, with the reason, unless its status is `ok`. Errors of data or settings become status
        `failed`; a failure inside the bundle makes its fallback answer. A feature that the bundle was trained on and
        that cannot be built is never replaced by anything.
    """
    calendar, primary = task.instrument.calendar, task.experiment.primary
    moment = decision_time(calendar, primary, as_of)
    seen = cut(raw, window_start(task.experiment, calendar, moment), moment, calendar)
    known = any(frame.height for frame in seen.values())
    facts = _facts(task, moment, bundle.id if bundle else None, seen_by)
    facts["data_hash"] = data_hash(seen, context) if known else None
    if bundle is None:
        return _silent(facts, "no_model", f"no bundle is live: quant train {task.symbol}")
    try:
        return _signal(facts, bundle, seen, context, task, state) if known else _unseen(facts, raw, task)
    except QuantError as error:
        LOG.info("signal of %s at %s failed", task.symbol, moment, exc_info=True)  # its reason tells why, now and in a replay
        return _silent(facts, "failed", str(error))


def _facts(task: Task, moment: datetime, bundle_id: str | None, seen_by: SeenBy | None) -> dict[str, Any]:
    entry_from = next_open(task.instrument.calendar, task.experiment.primary, moment)
    return {
        "symbol": task.symbol, "as_of": moment, "entry_from": entry_from, "seen_by": seen_by, "bundle_id": bundle_id,
        "experiment": task.experiment.name, "profile": task.profile, "simulated": task.simulated,
    }  # fmt: skip


def _signal(
    facts: dict[str, Any], bundle: Bundle, seen: dict[str, pl.DataFrame], context: Context, task: Task,
    state: PortfolioState | None,
) -> Signal:  # fmt: skip
    moment, settings = facts["as_of"], task.experiment.signal
    if not answers_for(bundle.manifest, task.experiment):
        return _silent(facts, "failed", f"the bundle was trained with other feature settings: quant train {task.symbol}")
    check_primary(seen, task.experiment, task.symbol)
    rules = CleaningRules(symbol=task.symbol, adjustments=task.instrument.adjustments)
    rungs, _ = build_bars(seen, task.instrument.calendar, task.experiment.rungs, as_of=moment, rules=rules)
    newest = rungs[task.experiment.primary].tail(1)
    if newest.is_empty():
        return _silent(facts, "no_data", f"no bar of {task.experiment.primary} in the window is usable")
    facts |= {"decision_at": newest["known_at"][0], "last_bar_at": _last_close(rungs, newest)}
    old = _unasked(facts) or _old(facts["last_bar_at"], task, moment) or _hollow(rungs.get("1m"), newest, settings.max_staleness)
    if old:
        return _silent(facts, "stale", old)
    forecast = _forecast(bundle, rungs, context, task, facts["decision_at"])
    if forecast is None:
        return _silent(facts, "no_data", "too few bars in the window for any feature")
    return _decided(facts, forecast, task, state)


def _unseen(facts: dict[str, Any], raw: Mapping[str, pl.DataFrame], task: Task) -> Signal:
    """The signal of a window without bars: they ended before it, or there never were any."""
    moment = facts["as_of"]
    before = cut(raw, BEFORE_ALL, moment, task.instrument.calendar)
    past = [frame["timestamp"][-1] + duration(interval) for interval, frame in before.items() if frame.height]
    if past:
        return _silent(facts | {"last_bar_at": max(past)}, "stale", _old(max(past), task, moment))
    return _silent(facts, "no_data", f"no bars before {moment:%Y-%m-%d %H:%M} UTC")


def _forecast(
    bundle: Bundle, rungs: dict[str, pl.DataFrame], context: Context, task: Task, decision_at: datetime
) -> dict[str, Any] | None:
    features = decision_features(rungs, context, task.experiment, task.instrument.calendar, since=decision_at - _TICK)
    if features.is_empty():
        return None
    ready = bundle.prepared(features.tail(1), rungs[task.experiment.primary])
    absent = [name for name in bundle.columns if name not in ready.columns]
    if absent:
        raise _absent(absent, rungs, task)
    return bundle.predict(from_frame(ready, bundle.columns)).row(0, named=True)


def _absent(names: list[str], rungs: Mapping[str, pl.DataFrame], task: Task) -> DataError:
    """Features that the bundle was trained on and that cannot be built now: bars became longer, or a source is gone."""
    lost = [rung for rung in task.experiment.rungs if rung not in rungs and any(name.endswith(f"_{rung}") for name in names)]
    without = f"no {', '.join(names[:5])} ({len(names)} absent)"
    return DataError(
        f"features of {task.symbol}",
        found=f"bars of {min(rungs, key=minutes)}, which give no {', '.join(lost)}: {without}" if lost else without,
        wanted="every feature that the bundle was trained on",
        mend=(f"bring bars of {lost[0]} back" if lost else "bring back what they are made of")
        + f", or train without them: quant train {task.symbol}",
    )


def _decided(facts: dict[str, Any], forecast: dict[str, Any], task: Task, state: PortfolioState | None) -> Signal:
    told = {**facts, **{name: forecast[name] for name in _FORECAST}, "fallback": forecast["fallback"]}
    if forecast["fallback"] == PRIORS:
        return _silent(told, "failed", f"every model of the bundle failed: {forecast['problems']}")
    made = decide(forecast, task.experiment.signal, task.instrument.risk, state)
    problems = f" (fallback {forecast['fallback']}: {forecast['problems']})" if forecast["fallback"] else ""
    return Signal(
        **told, status="ok", action=made.action, confidence=made.confidence, position_size=made.size, equity_share=made.share,
        breakers=made.breakers, reason=f"{made.reason}{problems}",
    )  # fmt: skip


def data_hash(raw: Mapping[str, pl.DataFrame], context: Context) -> str:
    """Thirty-two hex digits over all that a signal looks at: raw bars, and what the context adds."""
    beside = context_hash(context)
    bars = bars_hash(raw)
    return hashlib.sha256(f"{bars}{beside}".encode()).hexdigest()[:32] if beside else bars


def _silent(facts: dict[str, Any], status: Status, reason: str) -> Signal:
    return Signal(**facts, status=status, reason=reason)


def _last_close(rungs: Mapping[str, pl.DataFrame], primary: pl.DataFrame) -> datetime:
    # a primary bar counts as closed at its time even where its last minutes never came; the minutes tell how old it is
    newest: datetime = next((rungs[rung] for rung in sorted(rungs, key=minutes) if rungs[rung].height), primary)["known_at"][-1]
    return newest


def _old(last_bar_at: datetime, task: Task, moment: datetime) -> str:
    """Why bars up to `last_bar_at` are too old for the decision at `moment`; empty when they are not."""
    age, allowed = open_time_between(task.instrument.calendar, last_bar_at, moment), task.experiment.signal.max_staleness
    if age <= allowed:
        return ""
    told = f"the newest bar closed {last_bar_at:%Y-%m-%d %H:%M} UTC, {_length(age)} of session time before the decision; "
    told += f"at most {_length(allowed)} is allowed (signal.max_staleness)"
    pinned = f". If the file is a history that ended, pin the clock for the signal of then: --as-of {last_bar_at.isoformat()}"
    return told + pinned * (task.profile == "files")


def _unasked(facts: Mapping[str, Any]) -> str:
    """Why the newest bar may be unfinished: bars were last asked for before it closed; empty when they were not."""
    seen_by, moment = facts["seen_by"], facts["as_of"]
    if seen_by is None or seen_by.asked is None or seen_by.asked >= moment:
        return ""
    told = f"bars were last asked for at {seen_by.asked:%Y-%m-%d %H:%M} UTC, before the decision: its bar may be unfinished"
    return f"{told}. To mend: quant predict {facts['symbol']}"


def _hollow(finest: pl.DataFrame | None, newest: pl.DataFrame, allowed: timedelta) -> str:
    """Why the minutes inside the newest primary bar are too few to stand for it; empty when they are not.

    A silence of more than a quarter of the bar is a hole in the feed: among 11,800 hours of the thinnest futures at hand (CL,
    GC) the longest was 13 minutes.
    """
    if finest is None:
        return ""  # longer native bars are whole or absent
    opened, closed = newest["timestamp"][0], newest["known_at"][0]
    inside = finest.filter((pl.col("timestamp") >= opened) & (pl.col("timestamp") < closed))
    since = pl.max_horizontal("session_open", pl.lit(opened), pl.col("known_at").shift().fill_null(opened))
    silent = inside.select((pl.col("timestamp") - since).max()).item()
    if silent is None or silent <= max(allowed, (closed - opened) / _HOLLOW):
        return ""
    return f"{_length(silent)} without a minute inside the newest bar: a hole in the feed that may yet be filled"


def _length(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{60 * hours:.3g} min" if hours < 1 else f"{float(f'{hours:.3g}'):,g} h"


class Predictor:
    """Signals from the stores: reads a decision's window of bars and the account before it. Writes nothing.

    Args:
        desk: bars, earlier signals, universe and experiment.
        profile: simulated, files or yahoo.
        simulated: whether the bars were made up.
        span: moments that will be asked for, when they are many (a replay); the account is then opened once.
    """

    def __init__(self, desk: Desk, *, profile: str, simulated: bool, span: tuple[datetime, datetime] | None = None) -> None:
        self.desk, self.profile, self.simulated = desk, profile, simulated
        self._account = Account(desk, *span) if span else None

    def task(self, symbol: str) -> Task:
        """What `predict_signal` needs to know of `symbol`; raises `ConfigError` when the universe lacks it."""
        return Task(symbol, self.desk.universe.symbol(symbol), self.desk.experiment, self.profile, self.simulated)

    def signal(self, symbol: str, bundle: Bundle | None, as_of: datetime, seen_by: SeenBy | None = None) -> Signal:
        """The signal that was due at `as_of`; see `predict_signal`.

        `seen_by` is that of a signal that was emitted, for a replay; None reads all that the stores hold now.
        """
        seen_by = seen_by or self.desk.look()
        task = self.task(symbol)
        moment = decision_time(task.instrument.calendar, task.experiment.primary, as_of)
        account = self._account or Account(self.desk, moment, moment)
        since = context_start(task.experiment, task.instrument.calendar, moment)
        signal = predict_signal(
            bundle, self.raw(task, moment, seen_by.bars), task, as_of=moment, state=account.at(moment, seen_by.bars),
            context=gather(self.desk, symbol, since, moment, seen_by), seen_by=seen_by,
        )  # fmt: skip
        down = f"{signal.reason} (did not answer: {', '.join(seen_by.down)})"
        return signal.model_copy(update={"reason": down}) if seen_by.down else signal

    def unread(
        self, symbol: str, moment: datetime, status: Status, reason: str, bundle_id: str | None, seen_by: SeenBy | None = None
    ) -> Signal:
        """A signal that says nothing because nothing was read: of a missed decision, or of what failed before."""
        return _silent(_facts(self.task(symbol), moment, bundle_id, seen_by), status, reason)

    def missed(self, symbol: str, moment: datetime, bundle_id: str | None) -> Signal:
        """The signal of a decision that was not made in time: never acted on, however right it would have been."""
        return self.unread(symbol, moment, "late", MISSED, bundle_id)

    def raw(self, task: Task, moment: datetime, seen_by: datetime | None = None) -> dict[str, pl.DataFrame]:
        """Raw BARS by interval of the window before `moment`, and where it has none, the newest one before it."""
        store, symbol = self.desk.store, task.symbol
        window = read_raw(store, symbol, window_start(task.experiment, task.instrument.calendar, moment), moment, seen_by)
        if any(frame.height for frame in window.values()):
            return window
        return {interval: store.newest(symbol, interval, moment, seen_by) for interval in store.intervals(symbol)}
