"""One rule for hours: every scheduled close of a trained symbol's primary bar gets exactly one signal.

A close is asked for five minutes after it, and again while its bars are late. It can be answered until the next one, or
for a quarter of an hour; then it is missed, and made up as a signal with status `late`, which says 0. What was missed more
than a week ago is not made up: `quant replay` counts it.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_FAILURE_REASON_TAG

from quant_pipeline.config.timeframes import duration
from quant_pipeline.errors import QuantError
from quant_pipeline.orchestration.burial import bury_dead_runs
from quant_pipeline.orchestration.moments import DECISION, decisions_of
from quant_pipeline.orchestration.slots import INFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quant_pipeline.inference.signals import Signal
    from quant_pipeline.orchestration.house import House

SETTLED = timedelta(minutes=5)
"""A provider tells the last minute of a bar a little after it closed."""
MADE_UP = timedelta(days=7)
PATIENCE = timedelta(minutes=30)
"""Before a second try; each further wait is twice as long as that before."""
FORGIVEN = 2
"""So many tries that a kill or a power cut ended are made up for at once; a run that ends so again may itself be the reason."""
WAITING = ("stale", "no_data")
"""What a signal says while its bars may still come."""
_OWN_REASONS = {reason.value for reason in (RunFailureReason.STEP_FAILURE, RunFailureReason.RUN_EXCEPTION)}
_RUNS = 100
_UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)


class Hours(NamedTuple):
    """Closes of a symbol, oldest first: those that wait for an answer, and those that it is too late for."""

    due: list[datetime]
    missed: list[datetime]


class Tries(NamedTuple):
    """How many runs were asked for each decision, how many of them were cut off, and which decisions a run is unfinished of."""

    asked: Counter[datetime]
    cut_off: Counter[datetime]
    running: set[datetime]


def tick(house: House, instance: dg.DagsterInstance, symbols: Iterable[str]) -> tuple[list[dg.RunRequest], list[str]]:
    """Make up what was missed; returns the runs to ask for, and what there is to say."""
    bury_dead_runs(instance)  # or what they were asked for waits for them
    asked, said = [], []
    for symbol in symbols:
        try:
            requests, words = _tick(house, instance, symbol)
        except QuantError as error:  # the other symbols are due as well
            requests, words = [], [f"{symbol}: {error}"]
        asked += requests
        said += words
    return asked, said


def _tick(house: House, instance: dg.DagsterInstance, symbol: str) -> tuple[list[dg.RunRequest], list[str]]:
    # of the clock, not of the tick: a machine that slept is told of all its ticks at once
    now = house.workplace.now()
    due, missed = hours(house, symbol, now)
    words = []
    if missed:
        make_up(house, symbol, missed)
        words = [f"{symbol}: {len(missed)} missed, made up as late, from {missed[0]} to {missed[-1]}"]
    tries = tries_of(instance, symbol) if due else Tries(Counter(), Counter(), set())
    asked = to_ask(house, tries, due, now)
    return [_request(symbol, asked, tries)] if asked else [], words


def hours(house: House, symbol: str, now: datetime) -> Hours:
    """What is due and what was missed at `now`: nothing before the first signal, and the newest close where there is none."""
    from quant_pipeline.inference.schedule import GRACE, decision_moments

    closes = decision_moments(house.symbol(symbol).calendar, house.experiment.primary, now - MADE_UP, now)
    answered = house.signals.moments(symbol)
    owed = [at for at in closes if at >= min(answered)] if answered else closes[-1:]
    in_time = {at for at in owed if at == closes[-1] or now - at < GRACE}
    due = [at for at in owed if at in in_time and now - at >= SETTLED and not (at in answered and _final(house, symbol, at))]
    return Hours(due, [at for at in owed if at not in in_time and at not in answered])


def make_up(house: House, symbol: str, missed: Iterable[datetime]) -> None:
    """Write a `late` signal for every missed close."""
    predictor = house.predictor()
    house.signals.write_all(symbol, [predictor.missed(symbol, at, _live(house, symbol, at)) for at in missed])


def to_ask(house: House, tries: Tries, due: Iterable[datetime], now: datetime) -> list[datetime]:
    """Those of the `due` closes that a run is to be asked for now: none of which a run is unfinished."""
    patience = min(PATIENCE, duration(house.experiment.primary) / 2)
    failed = {at: tries.asked[at] - min(tries.cut_off[at], FORGIVEN) for at in due}
    return [at for at in due if at not in tries.running and now - at >= patience * (2 ** failed[at] - 1)]


def tries_of(instance: dg.DagsterInstance, symbol: str) -> Tries:
    """The tries of a symbol's newest runs."""
    runs = instance.get_runs(dg.RunsFilter(job_name=INFERENCE, tags={PARTITION_NAME_TAG: symbol}), limit=_RUNS)
    told = [(at, run) for run in runs for at in decisions_of(run.tags)]
    return Tries(
        Counter(at for at, _ in told),
        Counter(at for at, run in told if _is_cut_off(run)),
        {at for at, run in told if run.status in _UNFINISHED},
    )


def _is_cut_off(run: dg.DagsterRun) -> bool:
    """Whether a run failed for no reason of its own: its process, or all of them, were ended."""
    return run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(RUN_FAILURE_REASON_TAG) not in _OWN_REASONS


def _request(symbol: str, asked: list[datetime], tries: Tries) -> dg.RunRequest:
    """One run for all closes that are asked for; its tag tells it which."""
    again = tries.asked[asked[-1]]
    key = f"{symbol}@{asked[-1]:%Y-%m-%dT%H:%M}" + f" again {again}" * bool(again)
    return dg.RunRequest(run_key=key, partition_key=symbol, tags={DECISION: " ".join(at.isoformat() for at in asked)})


def answers(house: House, symbol: str, told: Iterable[datetime], down: Iterable[str]) -> Iterator[Signal]:
    """The signals of the decisions that a run was told; of those that it is too late for, the `late` one where there is none.

    `down` names the inputs whose source did not answer.
    """
    from quant_pipeline.inference.schedule import on_time

    calendar, primary = house.symbol(symbol).calendar, house.experiment.primary
    for moment in told:
        if on_time(calendar, primary, moment, house.clock()):
            yield _answer(house, symbol, moment, down)
        elif moment not in house.signals.moments(symbol):
            yield house.predictor().missed(symbol, moment, _live(house, symbol, moment))


def answer(house: House, symbol: str, moment: datetime, down: Iterable[str] = ()) -> Signal:
    """The signal of `moment` from what is there, which knows what is not: see `SeenBy`."""
    asked = house.store.asked(symbol)
    early = asked if asked and asked < moment else None
    seen_by = house.desk().look().model_copy(update={"asked": early, "down": tuple(down)})
    return house.predictor().signal(symbol, house.live_bundle(symbol, moment), moment, seen_by)


def _answer(house: House, symbol: str, moment: datetime, down: Iterable[str]) -> Signal:
    """The signal of `moment`; whatever cannot be opened, a `failed` one says so."""
    try:
        return answer(house, symbol, moment, down)
    except QuantError as error:
        return house.predictor().unread(symbol, moment, "failed", str(error), _live(house, symbol, moment))


def _final(house: House, symbol: str, moment: datetime) -> bool:
    """Whether the signal of `moment` stays as it is; a damaged one is left for `quant replay` to tell."""
    try:
        signal = house.signals.latest(symbol, moment)
    except QuantError:
        return True
    return signal is None or signal.status not in WAITING


def _live(house: House, symbol: str, moment: datetime) -> str | None:
    try:
        return house.champions.live_at(symbol, moment)
    except QuantError:
        return None
