"""The champion: which bundle is live for a symbol, since when, and why; every decision stays in a history."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from quant_pipeline.config.experiment import ChampionSettings
from quant_pipeline.errors import ModelError
from quant_pipeline.files import aware, locked, read_records, write_text
from quant_pipeline.models.contract import PROBABILITIES
from quant_pipeline.validation.skill import brier, log_loss

FEWEST_FRESH = 50  # rows: over fewer, the difference of two mean losses is noise
_MOMENTS = ("as_of", "since")


@dataclass(frozen=True)
class Score:
    """Out-of-sample losses of one bundle on named rows; `rows_hash` tells whether two scores are of the same rows."""

    log_loss: float
    brier: float
    rows: int
    rows_hash: str


def score(forecasts: pl.DataFrame, labels: pl.DataFrame) -> Score:
    """Score `Bundle.predict` output on the LABELS of the same decisions; rows without a label are left out."""
    joined = forecasts.join(labels.select("decision_at", "label"), on="decision_at", how="inner", validate="1:1").sort(
        "decision_at"
    )
    if not len(joined):
        raise ModelError(
            "test rows", found="no forecast with a label", wanted="at least one", mend="score the rows of the final test span"
        )
    p, label = joined.select(PROBABILITIES).to_numpy(), joined["label"].to_numpy()
    digest = hashlib.sha256(joined["decision_at"].to_physical().to_numpy().tobytes() + label.tobytes()).hexdigest()[:16]
    return Score(log_loss(p, label), brier(p, label), len(joined), digest)


@dataclass(frozen=True)
class Decision:
    """Whether the challenger goes live, with the reason in words."""

    promote: bool
    reason: str


@dataclass(frozen=True)
class Rival:
    """The live bundle, as a challenger meets it.

    Attributes:
        since: when it went live (UTC).
        able: whether it can answer at all: undamaged, and made for the same features.
        scores: losses of the challenger and of the rival on rows that neither learned from; None when these are too few.
        fresh: how many such rows there are.
    """

    since: datetime
    able: bool = True
    scores: tuple[Score, Score] | None = None
    fresh: int = 0


def decide(rival: Rival | None, settings: ChampionSettings, *, now: datetime) -> Decision:
    """Promote a challenger that is better by more than `min_improvement`, or that replaces a champion past its age.

    Args:
        rival: the live bundle; None when there is none.
        settings: metric (lower is better), improvement and age; without `auto` nothing goes live by itself.
        now: the moment of the decision (UTC), from which a promoted challenger is live.

    Raises:
        ModelError: scores of different rows.
    """
    ruled = _ruled(rival, settings, now)
    if ruled.promote and not settings.auto:
        return Decision(False, f"champion.auto is false; else it would have gone live: {ruled.reason}")
    return ruled


def _ruled(rival: Rival | None, settings: ChampionSettings, now: datetime) -> Decision:
    if rival is None:
        return Decision(True, "no champion yet")
    if now < rival.since:
        return Decision(False, f"{now:%Y-%m-%d %H:%M} UTC is before the champion went live at {rival.since:%Y-%m-%d %H:%M}")
    if not rival.able:
        return Decision(True, "the champion is damaged, or was trained on other features: it cannot answer")
    told, better = _compared(rival, settings)
    if better:
        return Decision(True, f"better: {told}")
    age = now - rival.since
    if age > timedelta(days=settings.max_age_days):
        return Decision(True, f"the champion is {age.days} days old, more than {settings.max_age_days}: {told}")
    return Decision(False, told)


def _compared(rival: Rival, settings: ChampionSettings) -> tuple[str, bool]:
    """What the comparison says, and whether the challenger is better by enough."""
    if rival.scores is None:
        return f"{rival.fresh} test rows that neither learned from, fewer than {FEWEST_FRESH}: no comparison", False
    challenger, champion = rival.scores
    if challenger.rows_hash != champion.rows_hash:
        found, mend = (
            f"{challenger.rows} and {champion.rows} rows that differ",
            "score both bundles on the challenger's test span",
        )
        raise ModelError("champion rule", found=found, wanted="scores of the same rows", mend=mend)
    new, old = getattr(challenger, settings.metric), getattr(champion, settings.metric)
    told = f"{settings.metric} {new:.5f} against the champion's {old:.5f} on {challenger.rows} rows that neither learned from"
    better = old - new > settings.min_improvement
    return (told if better else f"not better by more than {settings.min_improvement}: {told}"), better


@dataclass(frozen=True)
class Event:
    """One decision of the history.

    Attributes:
        as_of: the challenger's training cutoff.
        live: the bundle that is live after the decision, None while there is none.
        since: when the decision took effect. A bundle that replaces an able one is live from then, never earlier, so a
            decision moment that has passed keeps the champion that it had; the first one is live from its `as_of`.
        by_hand: whether a person chose it, not the rule.
    """

    symbol: str
    as_of: datetime
    live: str | None
    challenger: str
    promoted: bool
    reason: str
    scores: dict[str, Any]
    since: datetime
    by_hand: bool = False


def _event(symbol: str, told: dict[str, Any]) -> Event:
    """The decision about `symbol` that a line tells, with every value of its kind."""
    event = Event(**{**told, **{name: aware(told[name]) for name in _MOMENTS}})
    texts = (event.symbol, event.challenger, event.reason, event.live or "")
    flags = isinstance(event.promoted, bool) and isinstance(event.by_hand, bool)
    kinds = flags and all(isinstance(text, str) for text in texts) and isinstance(event.scores, dict)
    if not kinds:
        raise TypeError("a value of another kind than was written")
    if event.symbol != symbol:
        raise ValueError(f"a decision about {event.symbol}")
    return event


class ChampionHistory:
    """Append-only JSON lines, one file a symbol under `root`; rewritten atomically, in order of `since`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def events(self, symbol: str) -> tuple[Event, ...]:
        """Every decision about `symbol`, oldest first; raises `DamagedError` for a damaged history."""
        mend = "restore the file from a backup, or remove it and train again"
        return tuple(read_records(self._path(symbol), mend, partial(_event, symbol), "one decision a line"))

    def record(
        self, symbol: str, challenger: str, decision: Decision, *, as_of: datetime, since: datetime,
        rival: Rival | None = None, by_hand: bool = False,
    ) -> Event:  # fmt: skip
        """Add a decision.

        Args:
            symbol: whose champion.
            challenger: its bundle's id.
            decision: of `decide`, or of a person.
            as_of: its training cutoff.
            since: from when the decision holds, see `Event`.
            rival: what it was compared with; its scores are kept.
            by_hand: whether a person decided.

        Raises:
            ModelError: a promotion before a later one. What was live at a past moment is not rewritten.
        """
        both = rival.scores if rival and rival.scores else ()
        told = {name: asdict(one) for name, one in zip(("challenger", "champion"), both, strict=False)}
        with locked(self.root / ".locks" / symbol):
            events = self.events(symbol)
            later = next((event for event in events if event.promoted and event.since > since), None)
            if decision.promote and later:
                raise ModelError(f"champion of {symbol}", found=f"a promotion at {since}", wanted=f"one after {later.since}",
                                 mend="use no --as-of, or a later moment")  # fmt: skip
            live = challenger if decision.promote else self.live_at(symbol, since)
            event = Event(symbol, as_of, live, challenger, decision.promote, decision.reason, told, since, by_hand)
            self._write(symbol, sorted((*events, event), key=lambda one: one.since))
        return event

    def judged(self, symbol: str, challenger: str, as_of: datetime) -> Event | None:
        """The newest decision about a challenger of the training cutoff `as_of`, None before the first."""
        about = [event for event in self.events(symbol) if (event.challenger, event.as_of) == (challenger, as_of)]
        return about[-1] if about else None

    def promotion(self, symbol: str, at: datetime) -> Event | None:
        """The promotion that holds at `at` (UTC), None before the first. What was refused since then changes nothing."""
        past = [event for event in self.events(symbol) if event.promoted and event.since <= at]
        return past[-1] if past else None

    def live_at(self, symbol: str, at: datetime) -> str | None:
        """Id of the bundle that was live for `symbol` at `at` (UTC), None before the first."""
        holds = self.promotion(symbol, at)
        return holds.challenger if holds else None

    def live_since(self, symbol: str, at: datetime) -> datetime | None:
        """Since when the bundle that was live at `at` has been live."""
        holds = self.promotion(symbol, at)
        return holds.since if holds else None

    def _path(self, symbol: str) -> Path:
        return self.root / f"{symbol}.jsonl"

    def _write(self, symbol: str, events: list[Event]) -> None:
        told = [{**asdict(event), **{name: getattr(event, name).isoformat() for name in _MOMENTS}} for event in events]
        lines = [json.dumps(one, sort_keys=True) for one in told]
        write_text(self._path(symbol), "\n".join(lines) + "\n")
