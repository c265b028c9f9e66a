"""From a calibrated forecast to an action, its confidence and its size. Every action of 0 says why.

Confidence is P(side), the calibrated probability that the chosen side's barrier is reached first, as document 000 has
it: the chance of being right, with "nothing happens" among the ways of being wrong. It decides both whether to act and
how much. P(side given a move), which leaves those hours out, is larger wherever hours are calm: it doubled the size.
The price is that three classes share one whole: P(side) of `signal.min_confidence` 0.55 asks that nothing and the
other side together be less likely than the side itself. Where nothing is the usual outcome, few hours reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from quant_pipeline.config.experiment import SignalSettings
from quant_pipeline.config.universe import RiskProfile
from quant_pipeline.errors import ModelError
from quant_pipeline.risk import breakers
from quant_pipeline.risk.portfolio import PortfolioState
from quant_pipeline.risk.sizing import notional_share

_SIDES = {1: "long", -1: "short"}


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        action: 1 long, -1 short, 0 nothing.
        confidence: probability of the better side, P(long) or P(short), whether or not it is acted on.
        size: units, 0 with action 0.
        share: notional as a share of equity.
        breakers: circuit breakers that had triggered.
        reason: why, in words.
    """

    action: int
    confidence: float
    size: float
    share: float
    breakers: tuple[str, ...]
    reason: str


def decide(
    forecast: Mapping[str, float], settings: SignalSettings, risk: RiskProfile, state: PortfolioState | None = None
) -> Decision:
    """The side with the larger expected net return, if that is positive, likely enough and allowed.

    Args:
        forecast: p_short and p_long (calibrated), e_long and e_short: expected net return of each side, the class
            probabilities times the bundle's payoffs (fractions; costs are in them).
        settings: `min_confidence`, the least probability of the side; `confidence_to_size` starts from it.
        risk: the symbol's limits; they cap the size.
        state: portfolio as known at the decision, for the circuit breakers; None is a new account.

    Raises:
        ModelError: a probability or an expected return is absent or not a number.

    Example:
        >>> decide({"p_short": 0.2, "p_long": 0.6, "e_long": 0.0012, "e_short": -0.002}, SignalSettings(), risk).reason
        'long pays +0.120 % net, short -0.200 %; confidence 60.0 %'
    """
    p_short, p_long, e_long, e_short = _figures(forecast)
    side = 1 if e_long >= e_short else -1
    confidence = p_long if side == 1 else p_short
    returns = f"long pays {100 * e_long:+.3f} % net, short {100 * e_short:+.3f} %"
    if max(e_long, e_short) <= 0:
        return _nothing(confidence, f"neither side is expected to earn its costs: {returns}")
    told = f"{returns}; confidence {100 * confidence:.1f} %"
    if confidence < settings.min_confidence:
        return _nothing(confidence, f"{told} for {_SIDES[side]} is below {100 * settings.min_confidence:g} %")
    position = breakers.adjust_position(side, confidence, state or PortfolioState(), risk, min_confidence=settings.min_confidence)
    if not position.action:
        return _nothing(
            confidence, f"{told}, but stopped by the circuit breaker {', '.join(position.breakers)}", position.breakers
        )
    limited = f"; size limited by {', '.join(position.breakers)}" if position.breakers else ""
    share = notional_share(position.size, risk)
    return Decision(position.action, confidence, position.size, share, position.breakers, f"{told}{limited}")


def decide_all(forecasts: pl.DataFrame, settings: SignalSettings, risk: RiskProfile) -> pl.DataFrame:
    """`decide` for every row, each as a new account: decision_at, action, size (share of equity), confidence, reason.

    That is what `run_backtest` takes; breakers are left to the live account, whose state no single row knows.
    """
    made = [
        decide(row, settings, risk) for row in forecasts.select("p_short", "p_long", "e_long", "e_short").iter_rows(named=True)
    ]
    rows = [(one.action, one.share, one.confidence, one.reason) for one in made]
    schema = {"action": pl.Int64, "size": pl.Float64, "confidence": pl.Float64, "reason": pl.String}
    return forecasts.select("decision_at").hstack(pl.DataFrame(rows, schema=schema, orient="row"))


def _figures(forecast: Mapping[str, float]) -> tuple[float, float, float, float]:
    p_short, p_long, e_long, e_short = (forecast[name] for name in ("p_short", "p_long", "e_long", "e_short"))
    sound = 0 <= p_short <= 1 and 0 <= p_long <= 1 and abs(e_long) < float("inf") and abs(e_short) < float("inf")
    if not sound:
        raise ModelError(
            "forecast", found=f"p_short {p_short}, p_long {p_long}, e_long {e_long}, e_short {e_short}",
            wanted="probabilities and finite expected returns", mend="look at the bundle's calibration and payoffs",
        )  # fmt: skip
    return p_short, p_long, e_long, e_short


def _nothing(confidence: float, reason: str, triggered: tuple[str, ...] = ()) -> Decision:
    return Decision(0, confidence, 0.0, 0.0, triggered, reason)
