"""Position size from confidence, and the share of the portfolio that a size may take (document 000, sections 4.1 and 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from quant_pipeline.config.universe import RiskProfile


def confidence_to_size(
    confidence: float, *, base_size: float = 1.0, max_leverage: float = 3.0, min_confidence: float = 0.55
) -> float:
    """Size as a multiple of one unit: a straight ramp from `base_size` at `min_confidence` to `max_leverage` at certainty.

    Args:
        confidence: P(side), the probability of the chosen side among all three classes, 0 to 1.
        base_size: Size at `min_confidence`; never above `max_leverage`.
        max_leverage: Size at confidence 1.
        min_confidence: Below it there is no trade (size 0); at it there is.

    Raises:
        DataError: confidence is not a probability.
        ConfigError: `min_confidence` outside [0, 1), or a negative size.

    Example:
        >>> [round(confidence_to_size(c), 12) for c in (0.549, 0.55, 0.775, 1.0)]
        [0.0, 1.0, 2.0, 3.0]
    """
    if not 0 <= confidence <= 1:
        raise DataError("confidence", found=confidence, wanted="a probability, 0 to 1", mend="look at the model's calibration")
    if not 0 <= min_confidence < 1 or base_size < 0 or max_leverage < 0:
        raise ConfigError(
            "position sizing", found=f"min_confidence {min_confidence}, base_size {base_size}, max_leverage {max_leverage}",
            wanted="0 <= min_confidence < 1 and sizes >= 0", mend="edit signal.min_confidence or the symbol's risk profile",
        )  # fmt: skip
    if confidence < min_confidence:
        return 0.0
    base = min(base_size, max_leverage)
    return base + (confidence - min_confidence) / (1 - min_confidence) * (max_leverage - base)


def notional_share(size: float, risk: RiskProfile) -> float:
    """Notional of a position of `size` units as a share of equity, never above `max_position_pct`.

    One unit is max_position_pct / max_leverage of the equity, so that the largest size takes exactly the largest share
    and smaller ones keep their proportion: the document names both limits but not the unit.

    Example:
        >>> gold = RiskProfile(max_leverage=3, max_drawdown_pct=15, max_position_pct=25)
        >>> [round(notional_share(size, gold), 4) for size in (0, 1, 3, 10)]
        [0.0, 0.0833, 0.25, 0.25]
    """
    if not 0 <= size < float("inf"):
        raise DataError("position size", found=size, wanted="a finite multiple >= 0", mend="take it from confidence_to_size")
    return min(size / risk.max_leverage, 1.0) * risk.max_position_pct / 100
