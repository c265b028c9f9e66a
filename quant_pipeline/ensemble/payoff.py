"""Payoffs: what a class was worth on average, so that probabilities become expected returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from quant_pipeline.ensemble.oof import Outcomes
from quant_pipeline.models.contract import Floats
from quant_pipeline.models.probabilities import class_means, class_shares, expectation

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Payoffs:
    """Mean simple returns by class (short, neutral, long) over out-of-fold rows, 0 for a class without rows.

    Attributes:
        long, short: net of round-trip cost, of a long and a short entry, each left at its own barrier.
        forward: gross, from entry to the vertical barrier.
        shares: share of each class, none 0: the forecast when everything else fails.
        rows: rows behind the means.
    """

    long: Triple
    short: Triple
    forward: Triple
    shares: Triple
    rows: int

    @classmethod
    def fit(cls, happened: Outcomes, rows: np.ndarray | slice = slice(None)) -> Self:
        """Means over `rows` (positions or mask) of the outcomes."""
        label = happened.label[rows]
        short, neutral, long = class_shares(label).tolist()
        return cls(
            long=class_means(happened.long_return[rows], label),
            short=class_means(happened.short_return[rows], label),
            forward=class_means(happened.forward_return[rows], label),
            shares=(short, neutral, long),
            rows=len(label),
        )

    def expected(self, p: Floats) -> tuple[Floats, Floats, Floats]:
        """Expected forward, long and short return, (n,) each, of probabilities (n, 3)."""
        return expectation(p, self.forward), expectation(p, self.long), expectation(p, self.short)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Rebuild from the JSON form of its fields."""
        long, short, forward, shares = (tuple(value[key]) for key in ("long", "short", "forward", "shares"))
        return cls(long=long, short=short, forward=forward, shares=shares, rows=value["rows"])
