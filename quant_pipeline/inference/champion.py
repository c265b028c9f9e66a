"""The champion: which bundle is live for a symbol, since when, and why; every decision stays in a history."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from quant_pipeline.config.experiment import ChampionSettings
from quant_pipeline.errors import ModelError, StorageError
from quant_pipeline.files import write_text
from quant_pipeline.models.contract import PROBABILITIES
from quant_pipeline.validation.skill import brier, log_loss


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


def decide(
    challenger: Score,
    champion: Score | None,
    settings: ChampionSettings,
    *,
    as_of: datetime,
    champion_since: datetime | None = None,
) -> Decision:
    """Promote a challenger that is better by more than `min_improvement`, or that replaces a champion past its age.

    Args:
        challenger: its losses on the test rows.
        champion: the live bundle's losses on the same rows; None when there is none, or when it cannot be scored.
        settings: metric (lower is better), improvement and age.
        as_of: the moment of the decision (UTC), the challenger's training cutoff.
        champion_since: since when the champion is live; None when there is none.

    Raises:
        ModelError: scores of different rows.
    """
    if champion_since is not None and as_of < champion_since:
        return Decision(
            False, f"as of {as_of:%Y-%m-%d %H:%M} UTC is before the champion went live at {champion_since:%Y-%m-%d %H:%M}"
        )
    if champion is None:
        return Decision(True, "no champion yet" if champion_since is None else "the champion cannot be scored on the test rows")
    if challenger.rows_hash != champion.rows_hash:
        found, mend = (
            f"{challenger.rows} and {champion.rows} rows that differ",
            "score both bundles on the challenger's test span",
        )
        raise ModelError("champion rule", found=found, wanted="scores of the same rows", mend=mend)
    new, old = getattr(challenger, settings.metric), getattr(champion, settings.metric)
    told = f"{settings.metric} {new:.5f} against the champion's {old:.5f} on {challenger.rows} rows"
    if old - new > settings.min_improvement:
        return Decision(True, f"better: {told}")
    age = as_of - champion_since if champion_since is not None else timedelta(0)
    if age > timedelta(days=settings.max_age_days):
        return Decision(True, f"the champion is {age.days} days old, more than {settings.max_age_days}: {told}")
    return Decision(False, f"not better by more than {settings.min_improvement}: {told}")


@dataclass(frozen=True)
class Event:
    """One decision of the history. `live` is the bundle that is live from `as_of` on, None while there is none."""

    symbol: str
    as_of: datetime
    live: str | None
    challenger: str
    promoted: bool
    reason: str
    scores: dict[str, Any]


class ChampionHistory:
    """Append-only JSON lines, one file a symbol under `root`; rewritten atomically, in order of `as_of`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def events(self, symbol: str) -> tuple[Event, ...]:
        """Every decision about `symbol`, oldest first; raises `StorageError` for a damaged history."""
        path = self._path(symbol)
        if not path.exists():
            return ()
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            return tuple(Event(**{**line, "as_of": datetime.fromisoformat(line["as_of"])}) for line in lines)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(str(path), found=f"{type(error).__name__}: {error}", wanted="one decision a line",
                               mend="restore the file from a backup, or remove it and train again") from error  # fmt: skip

    def record(
        self, symbol: str, challenger: str, decision: Decision, *, as_of: datetime, scores: dict[str, Score | None] | None = None
    ) -> Event:
        """Add a decision; the same challenger at the same `as_of` is recorded once, so a retried run adds nothing.

        Raises:
            ModelError: a promotion before a later one. What was live at a past moment is not rewritten.
        """
        events = self.events(symbol)
        for event in events:
            if (event.challenger, event.as_of) == (challenger, as_of):
                return event
        if decision.promote and events and as_of < events[-1].as_of:
            raise ModelError(f"champion of {symbol}", found=f"a promotion as of {as_of}", wanted=f"one after {events[-1].as_of}",
                             mend="let `decide` see champion_since")  # fmt: skip
        live = challenger if decision.promote else self.live_at(symbol, as_of)
        told = {name: None if one is None else asdict(one) for name, one in (scores or {}).items()}
        event = Event(symbol, as_of, live, challenger, decision.promote, decision.reason, told)
        self._write(symbol, sorted((*events, event), key=lambda one: one.as_of))
        return event

    def live_at(self, symbol: str, at: datetime) -> str | None:
        """Id of the bundle that was live for `symbol` at `at` (UTC), None before the first; live from its `as_of` on."""
        past = [event.live for event in self.events(symbol) if event.as_of <= at]
        return past[-1] if past else None

    def live_since(self, symbol: str, at: datetime) -> datetime | None:
        """Since when the bundle that was live at `at` has been live."""
        past = [event for event in self.events(symbol) if event.promoted and event.as_of <= at]
        return past[-1].as_of if past else None

    def _path(self, symbol: str) -> Path:
        return self.root / f"{symbol}.jsonl"

    def _write(self, symbol: str, events: list[Event]) -> None:
        lines = [json.dumps({**asdict(event), "as_of": event.as_of.isoformat()}, sort_keys=True) for event in events]
        write_text(self._path(symbol), "\n".join(lines) + "\n")
