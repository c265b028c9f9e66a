"""Circuit breakers: limits that override the model when the portfolio is in trouble (document 000, section 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quant_pipeline.errors import DataError
from quant_pipeline.risk.sizing import confidence_to_size

if TYPE_CHECKING:
    from quant_pipeline.config.universe import RiskProfile
    from quant_pipeline.risk.portfolio import PortfolioState

DAILY_LOSS, DRAWDOWN, CORRELATION = "daily_loss", "drawdown", "correlation"
# the figures of document 000, section 4.3; the drawdown limit is the symbol's own (section 4.2)
DAILY_LOSS_PCT = 3.0
MAX_CORRELATION = 0.9
LEVERAGE_IN_DRAWDOWN = 1.0
EXPOSURE_WHEN_CORRELATED = 0.5


class Position(NamedTuple):
    """What may be held: `action` -1, 0 or 1, `size` in units (0 with action 0), and the breakers that had triggered."""

    action: int
    size: float
    breakers: tuple[str, ...]


def check(state: PortfolioState, risk: RiskProfile) -> tuple[str, ...]:
    """Names of the breakers that `state` triggers; every limit is exceeded strictly, being at it is still allowed.

    daily_loss: equity more than 3 % below the day's start. drawdown: equity more than `risk.max_drawdown_pct` below its
    peak. correlation: two held positions whose returns correlate above 0.9.
    """
    facts = {
        # as a floor on equity, for 1 - 0.97 is a little more than 0.03
        DAILY_LOSS: state.equity < state.day_start_equity * (1 - DAILY_LOSS_PCT / 100),
        DRAWDOWN: state.equity < state.peak * (1 - risk.max_drawdown_pct / 100),
        CORRELATION: state.correlation is not None and state.correlation > MAX_CORRELATION,
    }
    return tuple(name for name, triggered in facts.items() if triggered)


def limit(action: int, size: float, state: PortfolioState, risk: RiskProfile) -> Position:
    """`action` and `size` as far as the breakers allow.

    daily_loss: nothing may be held (flat, for the rest of the UTC day, since a flat account does not recover).
    drawdown: at most one unit. correlation: half of what is left.

    Raises:
        DataError: an action other than -1, 0, 1 or a size that is negative or not finite.
    """
    if action not in {-1, 0, 1} or not 0 <= size < float("inf"):
        raise DataError(
            "position",
            found=f"action {action}, size {size}",
            wanted="-1, 0 or 1 and a finite size >= 0",
            mend="check the decision",
        )
    triggered = check(state, risk)
    if DAILY_LOSS in triggered:
        size = 0.0
    if DRAWDOWN in triggered:
        size = min(size, LEVERAGE_IN_DRAWDOWN)
    if CORRELATION in triggered:
        size *= EXPOSURE_WHEN_CORRELATED
    held = action != 0 and size > 0
    return Position(action if held else 0, size if held else 0.0, triggered)


def adjust_position(
    action: int, confidence: float, state: PortfolioState, risk: RiskProfile, *, min_confidence: float = 0.55
) -> Position:
    """The position for a decision: size from confidence up to the profile's leverage, then the breakers.

    Args:
        action: -1 short, 0 nothing, 1 long.
        confidence: Probability of that side among all three classes, 0 to 1; below `min_confidence` nothing is held.
        state: Portfolio as known at the decision.
        risk: The symbol's limits.
        min_confidence: Where the ramp of `confidence_to_size` starts.
    """
    size = confidence_to_size(confidence, max_leverage=risk.max_leverage, min_confidence=min_confidence)
    return limit(action, size, state, risk)
