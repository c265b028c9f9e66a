"""Nested, time-ordered forecasts of the meta-learner, so that its own score is out-of-sample too.

Base models forecast each fold without having seen it; here the stack, the calibrator and even the choice of
calibrator are made again for each fold, from earlier folds only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.calibration import Calibrator
from quant_pipeline.ensemble.oof import BasePredictions, Outcomes
from quant_pipeline.ensemble.payoff import Payoffs
from quant_pipeline.ensemble.stacking import Stacker
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.models.contract import Floats
from quant_pipeline.models.probabilities import class_shares
from quant_pipeline.validation.skill import log_loss

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

MIN_ROWS = 100  # fewer known rows than this: the stack is the vote, and there is no calibrator


@dataclass(eq=False)
class NestedForecasts:
    """Forecasts (n, …) of rows by what was known when their fold began.

    Attributes:
        raw: (n, 3) stacked, not calibrated; the vote where `stack_rows` is 0.
        final: (n, 3) calibrated by the method that did best on earlier folds.
        prior: (n, 3) class shares of the rows known then.
        e_r: (n,) expected gross forward return.
        e_long, e_short: (n,) expected net returns of a long and a short; NaN where no payoffs were known.
        stack_rows: (n,) rows that the stack was fitted on.
        method: (n,) calibrator used.
        calibrated: (n, 3) for each method, NaN where none could be fitted.
        scored: (n,) whether calibrators could be fitted, so that methods compare on equal rows.
    """

    raw: Floats
    final: Floats
    prior: Floats
    e_r: Floats
    e_long: Floats
    e_short: Floats
    stack_rows: Rows
    method: NDArray[np.str_]
    calibrated: dict[str, Floats]
    scored: Mask

    @classmethod
    def blank(cls, rows: int, methods: tuple[str, ...]) -> NestedForecasts:
        """Nothing forecast yet."""
        empty = np.full((rows, 3), np.nan)
        calibrated = {method: empty.copy() for method in methods}
        counts, method = np.zeros(rows, dtype=np.int64), np.full(rows, "none", dtype="<U16")
        three, one = [empty.copy() for _ in range(3)], [np.full(rows, np.nan) for _ in range(3)]
        return cls(
            three[0], three[1], three[2], one[0], one[1], one[2], counts, method, calibrated, np.zeros(rows, dtype=np.bool_)
        )

    def best(self, label: NDArray[np.int8], rows: Mask) -> str:
        """The method with the smallest log-loss on `rows`; the first named wins ties, and when there are no rows."""
        if not rows.any():
            return next(iter(self.calibrated))
        return min(self.calibrated, key=lambda method: log_loss(self.calibrated[method][rows], label[rows]))


def nested_oof(
    base: BasePredictions, happened: Outcomes, ensemble: EnsembleSettings, calibration: CalibrationSettings
) -> NestedForecasts:
    """Forecast each fold with what was known when it began.

    For each fold in time order: the stack is fitted on rows of earlier folds whose label ended before the fold's first
    decision, calibrators on the nested forecasts of those rows, and the method is the one that did best on them.
    """
    nested = NestedForecasts.blank(len(base), calibration.methods)
    for rows in fold_blocks(base):
        known = happened.label_end < happened.decision_at[rows[0]]
        known[rows[0] :] = False
        label = happened.label[known]
        nested.prior[rows] = class_shares(label)
        if len(label) < MIN_ROWS:
            nested.raw[rows] = nested.final[rows] = vote(base.p[rows])
            nested.e_r[rows] = base.e_r[rows].mean(axis=1)
            continue
        nested.raw[rows] = Stacker.fit(ensemble.meta, base.p[known], label, ensemble.alpha).combine(base.p[rows])
        nested.stack_rows[rows] = len(label)
        nested.final[rows] = _calibrated(nested, happened, known, rows)
        nested.e_r[rows], nested.e_long[rows], nested.e_short[rows] = Payoffs.fit(happened, known).expected(nested.final[rows])
    return nested


def fold_blocks(base: BasePredictions) -> list[Rows]:
    """Row positions of each run of one fold, in time order."""
    starts = np.flatnonzero(np.append(True, base.fold[1:] != base.fold[:-1]))
    return [np.arange(start, end) for start, end in zip(starts, np.append(starts[1:], len(base)), strict=True)]


def _calibrated(nested: NestedForecasts, happened: Outcomes, known: Mask, rows: Rows) -> Floats:
    stacked = known & (nested.stack_rows > 0)
    if int(stacked.sum()) < MIN_ROWS:
        return nested.raw[rows]
    for method, forecasts in nested.calibrated.items():
        forecasts[rows] = Calibrator.fit(method, nested.raw[stacked], happened.label[stacked]).apply(nested.raw[rows])
    chosen = nested.best(happened.label, known & nested.scored)
    nested.method[rows], nested.scored[rows] = chosen, True
    return nested.calibrated[chosen][rows]
