"""The score of a forecast whose probabilities are known: what the oracle itself reached on given rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from quant_pipeline.sources.simulated.noise import Floats


@dataclass(frozen=True)
class Reachable:
    """The oracle's own score on `rows` decisions: what a perfect pipeline would have reached on just these rows.

    `log_loss` and `auc` are of the probability that the forward return is positive, `information_coefficient` is the
    rank correlation (Spearman) of forecast and return. Without a signal they are ln 2, 0.5 and 0.
    """

    log_loss: float
    auc: float
    information_coefficient: float
    rows: int


def score(expected: Floats, p_up: Floats, forward: Floats) -> Reachable:
    """Score forecasts (n,) against forward returns (n,)."""
    up = forward > 0
    chance = np.where(up, p_up, 1 - p_up)
    ranks = pl.Series(p_up).rank("average").to_numpy()
    wins = ranks[up].sum() - up.sum() * (up.sum() + 1) / 2
    pairs = up.sum() * (~up).sum()
    return Reachable(
        log_loss=float(-np.mean(np.log(chance))),
        auc=float(wins / pairs) if pairs else 0.5,
        information_coefficient=_rank_correlation(expected, forward),
        rows=len(forward),
    )


def _rank_correlation(first: Floats, second: Floats) -> float:
    ranks = [pl.Series(values).rank("average").to_numpy() for values in (first, second)]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
