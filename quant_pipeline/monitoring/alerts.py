"""Alerts: what they say (the fact first, then what a person needs to judge it), and sending each of them once."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.monitoring.drift import DriftSummary, RetrainDecision
from quant_pipeline.monitoring.telegram import from_environment

LOG = logging.getLogger(__name__)

LONGEST_ERROR = 800  # characters; the rest of a traceback is in the UI
_VERBS = {1: "BUY", 0: "HOLD", -1: "SELL"}


class SignalFacts(Protocol):
    """What the message of a signal tells; `inference/signals.py` has it all."""

    @property
    def symbol(self) -> str:
        """Whose signal."""

    @property
    def as_of(self) -> datetime:
        """The decision moment (UTC)."""

    @property
    def action(self) -> int:
        """1, 0 or -1."""

    @property
    def p_short(self) -> float | None:
        """Probability of the lower barrier."""

    @property
    def p_neutral(self) -> float | None:
        """Probability of neither."""

    @property
    def p_long(self) -> float | None:
        """Probability of the upper barrier."""

    @property
    def confidence(self) -> float | None:
        """Probability of the better side given a move."""

    @property
    def position_size(self) -> float:
        """Units."""

    @property
    def reason(self) -> str:
        """Why, in words."""

    @property
    def breakers(self) -> Sequence[str]:
        """Circuit breakers that had triggered."""

    @property
    def fallback(self) -> str | None:
        """Model that answered alone."""

    @property
    def simulated(self) -> bool:
        """Whether the bars were made up."""

    @property
    def bundle_id(self) -> str | None:
        """Which bundle answered."""


def signal_message(signal: SignalFacts) -> str:
    """The text of a signal alert.

    Example:
        SIMULATED GC=F: BUY, size 1.42, confidence 64 %
        decided 2026-11-16 14:00 UTC
        short 21 %, neutral 41 %, long 38 %
        expected net return +0.12 % long …
        bundle gc-3f2a91
    """
    label = "SIMULATED " if signal.simulated else ""
    head = f"{label}{signal.symbol}: {_VERBS[signal.action]}"
    if signal.action:
        head += f", size {signal.position_size:.2f}"
    if signal.confidence is not None:
        head += f", confidence {100 * signal.confidence:.0f} %"
    lines = [head, f"decided {signal.as_of:%Y-%m-%d %H:%M} UTC", *_probabilities(signal), signal.reason]
    if signal.breakers:
        lines.append(f"circuit breakers: {', '.join(signal.breakers)}")
    if signal.fallback:
        lines.append(f"answered by {signal.fallback} alone, the ensemble failed")
    lines.append(f"bundle {signal.bundle_id}" if signal.bundle_id else "no bundle")
    return "\n".join(line for line in lines if line)


def failure_message(job: str, run_id: str, error: str) -> str:
    """The text of a failed run's alert: job, run and the beginning of the error."""
    told = error.strip() or "no message"
    cut = told if len(told) <= LONGEST_ERROR else f"{told[:LONGEST_ERROR]}…"
    return f"FAILED {job}, run {run_id[:8]}\n{cut}"


def drift_message(symbol: str, summary: DriftSummary, decision: RetrainDecision, *, simulated: bool = False) -> str:
    """The text of a drift alert: how much drifted and whether a retraining follows, with its reason."""
    label = "SIMULATED " if simulated else ""
    follows = "retraining" if decision.retrain else "no retraining"
    return f"{label}{symbol}: DRIFT in {len(summary.drifted)} of {summary.measured} features, {follows}\n{decision.reason}"


def send_once(
    path: Path, key: str, text: str, environment: Mapping[str, str] | None = None, *, now: datetime | None = None
) -> str:
    """Deliver `text` under `key` once, and whatever is pending in the ledger at `path`; returns what happened, in words.

    Telegram's settings come from `environment` (default: the process's own); `now` is the wall clock unless given.
    """
    moment = now or datetime.now(UTC)
    client, ledger = from_environment(os.environ if environment is None else environment), AlertLedger(path)
    outcome = ledger.deliver(key, text, client, now=moment)
    for other in ledger.flush(client, now=moment):
        LOG.info("pending alert %s", other)
    return outcome


def _probabilities(signal: SignalFacts) -> list[str]:
    parts = (("short", signal.p_short), ("neutral", signal.p_neutral), ("long", signal.p_long))
    told = [f"{name} {100 * value:.0f} %" for name, value in parts if value is not None]
    return [", ".join(told)] if told else []
