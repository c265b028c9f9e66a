"""What alerts say: the fact first, then what a person needs to judge it, in words with units, on one screen of a phone.

A fact a line, none wider than a phone (about 38 characters); only reasons run over several.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

NO_BREAK = "\N{NO-BREAK SPACE}"
LONGEST_REASON = 500  # characters: half a phone's screen; the rest is in the UI
_VERBS = {1: "BUY", 0: "HOLD", -1: "SELL"}
_SILENT = {
    "stale": "the bars are too old", "no_data": "there are no bars", "no_model": "no model is live", "failed": "it failed",
    "late": "its hour was missed",
}  # fmt: skip


class SignalFacts(Protocol):
    """What the message of a signal tells; `inference/signals.py` has it all."""

    @property
    def symbol(self) -> str:
        """Whose signal."""

    @property
    def as_of(self) -> datetime:
        """The decision moment (UTC)."""

    @property
    def status(self) -> str:
        """Ok, or why it says nothing."""

    @property
    def entry_from(self) -> datetime | None:
        """Open of the bar in which the trade is filled."""

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
    def position_size(self) -> float:
        """Units of the base position."""

    @property
    def equity_share(self) -> float:
        """What the position is worth, as a share of equity."""

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


class Plan(Protocol):
    """What a trade of a signal would look like: prices in the symbol's own currency."""

    @property
    def price(self) -> float:
        """The newest close at the decision."""

    @property
    def target(self) -> float:
        """Where the profit is taken."""

    @property
    def stop(self) -> float:
        """Where the loss is cut."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends if neither was met (UTC); None where the calendar does not say."""


def signal_message(signal: SignalFacts, plan: Plan | None = None) -> str:
    """The text of a signal.

    Example:
        SIMULATED GC=F: BUY
        1.42 units, 14.2 % of equity
        decided 2026-11-16 14:00 UTC
        price then 4,012.3
        entry: open of 2026-11-16 14:00 UTC
        target 4,040.1 (+0.69 %)
        stop 3,995 (-0.43 %)
        else out by 2026-11-16 19:00 UTC
        up 64 %, neither 24 %, down 12 %
        long pays +0.12 % net …
        bundle gc-3f2a91
    """
    head = f"{_label(simulated=signal.simulated)}{signal.symbol}: "
    if signal.status != "ok":
        why = _SILENT.get(signal.status, signal.status)
        return _text(f"{head}NO SIGNAL", why, f"due {_moment(signal.as_of)}", shortened(signal.reason), "no position is taken")
    size = [f"{signal.position_size:.2f} units, {100 * signal.equity_share:.1f} % of equity"] if signal.action else []
    lines = [f"{head}{_VERBS[signal.action]}", *size, f"decided {_moment(signal.as_of)}"]
    lines += [f"price then {_price(plan.price)}"] if plan else []
    lines += _trade(signal, plan) if signal.action else []
    lines += [*_chances(signal), shortened(signal.reason)]
    if signal.breakers:
        lines.append(f"circuit breakers: {', '.join(signal.breakers)}")
    if signal.fallback:
        lines.append(f"answered by {signal.fallback} alone, the ensemble failed")
    lines.append(f"bundle {signal.bundle_id}" if signal.bundle_id else "no bundle")
    return _text(*lines)


def failure_message(thing: str, job: str, run_id: str, reason: str) -> str:
    """The text of a failure: what failed, the reason of the failing step itself, and where to look."""
    return _text(f"FAILED {thing}", shortened(reason.strip() or "no message"), f"{job}, run {run_id[:8]}")


def outage_message(thing: str, problems: Sequence[str]) -> str:
    """The text of an outage: what did not come, with the first of its problems."""
    more = [f"and {len(problems) - 1} more"] if len(problems) > 1 else []
    return _text(f"OUTAGE {thing}", "not all data came", shortened(problems[0]), *more)


def drift_message(symbol: str, reason: str, *, retrain: bool, simulated: bool = False) -> str:
    """The text of a drift alarm: whether a retraining follows, and why."""
    follows = "a retraining is asked for" if retrain else "no retraining"
    return _text(f"{_label(simulated=simulated)}{symbol}: DRIFT", follows, shortened(reason))


def shortened(text: str) -> str:
    """The text without its middle where it is long: what happened comes first, and the mend last."""
    if len(text) <= LONGEST_REASON:
        return text
    tail = LONGEST_REASON // 3
    return f"{text[: LONGEST_REASON - tail - 3]} … {text[-tail:]}"


def _text(*lines: str) -> str:
    """The lines of a message, in which no per cent sign is parted from its number."""
    return "\n".join(lines).replace(" %", f"{NO_BREAK}%")


def _label(*, simulated: bool) -> str:
    return "SIMULATED " if simulated else ""


def _trade(signal: SignalFacts, plan: Plan | None) -> list[str]:
    """Entry and exits of a signal that acts."""
    lines = [f"entry: open of {_moment(signal.entry_from)}"] if signal.entry_from else []
    if plan is None:
        return lines
    target, stop = (f"{_price(price)} ({100 * (price / plan.price - 1):+.2f} %)" for price in (plan.target, plan.stop))
    expiry = [f"else out by {_moment(plan.expires_at)}"] if plan.expires_at else []
    return [*lines, f"target {target}", f"stop {stop}", *expiry]


def _chances(signal: SignalFacts) -> list[str]:
    parts = (("up", signal.p_long), ("neither", signal.p_neutral), ("down", signal.p_short))
    told = [f"{name} {100 * value:.0f} %" for name, value in parts if value is not None]
    return [", ".join(told)] if told else []


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _price(price: float) -> str:
    return f"{float(f'{price:.6g}'):,.10g}"
