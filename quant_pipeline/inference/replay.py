"""Replay: recompute emitted signals with the bundle that made them from what the stores had seen by then, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import polars as pl

from quant_pipeline.errors import BundleError, QuantError
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.bundle import Bundle
from quant_pipeline.inference.predictor import Predictor
from quant_pipeline.inference.schedule import decision_moments
from quant_pipeline.inference.signals import Signal

_PORTFOLIO = {"action", "position_size", "equity_share", "breakers", "reason"}
SCHEMA = pl.Schema(
    {
        "as_of": pl.Datetime("us", "UTC"),
        "decision_at": pl.Datetime("us", "UTC"),
        "status": pl.String(),
        "equal": pl.Boolean(),
        "differing": pl.List(pl.String()),
        "cause": pl.String(),
    }
)


def replay(
    desk: Desk,
    symbol: str,
    load: Callable[[str], Bundle],
    *,
    profile: str,
    simulated: bool,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.DataFrame:
    """Compare every signal of `symbol` with as_of in [start, end] with itself computed again.

    Args:
        desk: bars, signals, universe and experiment.
        symbol: whose signals.
        load: opens the bundle of an id, the one recorded in each signal.
        profile: as when the signals were emitted.
        simulated: as when the signals were emitted.
        start: first moment (UTC), inclusive; None for the first signal.
        end: last moment, inclusive; None for the last signal.

    Returns:
        One row a signal, oldest first: as_of, decision_at, status, equal, differing (names of fields), cause (in words,
        empty when equal). The words of a failure may differ in an equal one.
    """
    emitted = desk.signals.read(symbol, start, end)
    if not emitted:
        return pl.DataFrame(schema=SCHEMA)
    span = (emitted[0].as_of, emitted[-1].as_of)
    predictor = Predictor(desk, profile=profile, simulated=simulated, span=span)
    opened = lru_cache(maxsize=4)(load)
    return pl.DataFrame([_compare(predictor, opened, signal) for signal in emitted], schema=SCHEMA, orient="row")


def decisions_without_signal(desk: Desk, symbol: str, start: datetime, end: datetime) -> list[datetime]:
    """Decision moments of the calendar in [start, end] for which no signal was emitted, oldest first."""
    emitted = {signal.as_of for signal in desk.signals.read(symbol, start, end)}
    calendar = desk.universe.symbol(symbol).calendar
    return [at for at in decision_moments(calendar, desk.experiment.primary, start, end) if at not in emitted]


def _compare(predictor: Predictor, load: Callable[[str], Bundle], emitted: Signal) -> tuple[object, ...]:
    known = (emitted.as_of, emitted.decision_at, emitted.status)
    try:
        again = _computed(predictor, load, emitted)
    except QuantError as error:
        failed = predictor.unread(emitted.symbol, emitted.as_of, "failed", str(error), emitted.bundle_id, emitted.seen_by)
        if failed.canonical() == emitted.canonical():
            return *known, True, [], ""
        told = "the bundle cannot be opened" if isinstance(error, BundleError) else "it cannot be computed again"
        return *known, False, [], f"{told}: {error}"
    again = again.model_copy(update={"seen_by": emitted.seen_by})
    if again.canonical() == emitted.canonical():
        return *known, True, [], ""
    differing = differing_fields(emitted, again)
    if emitted.status == "failed" and differing == ["reason"]:
        return *known, True, differing, "it failed then as now; a newer version tells the reason in other words"
    return *known, False, differing, _cause(emitted, again, set(differing))


def _computed(predictor: Predictor, load: Callable[[str], Bundle], emitted: Signal) -> Signal:
    if emitted.status == "late":
        return predictor.missed(emitted.symbol, emitted.as_of, emitted.bundle_id)
    bundle = load(emitted.bundle_id) if emitted.bundle_id else None
    return predictor.signal(emitted.symbol, bundle, emitted.as_of, emitted.seen_by)


def differing_fields(one: Signal, other: Signal) -> list[str]:
    """Names of the fields whose canonical values differ, sorted."""
    left, right = (json.loads(signal.canonical()) for signal in (one, other))
    return sorted(name for name in left if left[name] != right[name])


def _cause(emitted: Signal, again: Signal, differing: set[str]) -> str:
    if emitted.status == "failed" and emitted.data_hash is None:
        return f"what it was to be made of could not be opened then, and can be now: {emitted.reason}"
    if "data_hash" in differing:
        then, now = (f"{signal.last_bar_at:%Y-%m-%d %H:%M}" if signal.last_bar_at else "none" for signal in (emitted, again))
        told = "the bars, headlines or releases of the window are not those of then: a store was rebuilt or changed by hand"
        return f"{told} (newest then {then}, now {now})"
    if differing & {"experiment", "profile", "simulated"}:
        then, now = (f"experiment {signal.experiment!r}, profile {signal.profile!r}" for signal in (emitted, again))
        return f"emitted with {then}, replayed with {now}"
    if differing <= _PORTFOLIO and emitted.breakers != again.breakers:
        return "the account before the decision is not that of then: signals of another symbol came late"
    return "the same bars and bundle: settings (costs, risk, signal), code or library versions are not those of then"
