"""Nested forecasts of the meta-learner, so that its own score is out-of-sample too.

Base models forecast each fold without having seen it; here the stack, the calibrator and even the choice of
calibrator are made again for each fold, from what `known.Gate` lets be known there:

* walk-forward schemes: earlier folds only, by what was known when the fold began. The score is one in time.
* `purged_kfold` and `combinatorial`: all other folds, purged. The score compares models and methods; it is no record of
  what could have been known, for base models of other folds learned from this fold's labels, and so did the stacks
  whose forecasts the calibrator is fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.calibration import Calibrator
from quant_pipeline.ensemble.known import Gate, Known, Mask, Rows, by_time
from quant_pipeline.ensemble.oof import BasePredictions, Outcomes
from quant_pipeline.ensemble.payoff import Payoffs
from quant_pipeline.ensemble.stacking import Stacker
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.models.contract import Floats
from quant_pipeline.models.probabilities import class_shares
from quant_pipeline.validation.skill import log_loss

MIN_ROWS = 100  # fewer known rows than this: the stack is the vote, there is no calibrator, or there are no payoffs


@dataclass(eq=False)
class FoldLearner:
    """The meta-learner of one fold: vote, no calibration and no payoffs where too few rows were known.

    Attributes:
        rows: positions of the fold's rows.
        known: what it may learn from.
        stacker: over base models.
        calibrators: by method, fitted on nested forecasts.
        method: of the calibrators, the one in use.
        payoffs: by which probabilities become expected returns.
    """

    rows: Rows
    known: Known
    stacker: Stacker | None = None
    calibrators: dict[str, Calibrator] = field(default_factory=dict)
    method: str = "none"
    payoffs: Payoffs | None = None

    def stacked(self, p: Floats) -> Floats:
        """Probabilities (k, 3), not calibrated, of base probabilities (k, M, 3)."""
        return vote(p) if self.stacker is None else self.stacker.combine(p)

    def combine(self, p: Floats) -> Floats:
        """Calibrated probabilities (k, 3) of base probabilities (k, M, 3)."""
        raw = self.stacked(p)
        return self.calibrators[self.method].apply(raw) if self.calibrators else raw

    def expected(self, p: Floats, base_e_r: Floats) -> tuple[Floats, Floats, Floats]:
        """Expected gross forward return and net returns of a long and a short, (k,) each, of `combine`d probabilities.

        Without payoffs: the mean of what the base models expect (k, M), and NaN.
        """
        if self.payoffs is None:
            unknown = np.full(len(p), np.nan)
            return base_e_r.mean(axis=1), unknown, unknown
        return self.payoffs.expected(p)


@dataclass(eq=False)
class NestedForecasts:
    """Forecasts (n, …) of rows by what may be known where their fold is forecast.

    Attributes:
        raw: (n, 3) stacked, not calibrated; the vote where `stack_rows` is 0.
        final: (n, 3) calibrated by the method that did best on known nested forecasts.
        prior: (n, 3) class shares of the known rows.
        e_r: (n,) expected gross forward return.
        e_long, e_short: (n,) expected net returns of a long and a short; NaN where no payoffs were known.
        stack_rows: (n,) rows that the stack was fitted on.
        method: (n,) calibrator used.
        calibrated: (n, 3) for each method, NaN where none could be fitted.
        scored: (n,) whether calibrators could be fitted, so that methods compare on equal rows.
        folds: the learner of each fold, in time order.
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
    folds: list[FoldLearner]

    @classmethod
    def blank(cls, folds: list[FoldLearner], methods: tuple[str, ...]) -> NestedForecasts:
        """Nothing forecast yet."""
        rows = sum(len(fold.rows) for fold in folds)
        empty = np.full((rows, 3), np.nan)
        calibrated = {method: empty.copy() for method in methods}
        counts, method = np.zeros(rows, dtype=np.int64), np.full(rows, "none", dtype="<U16")
        raw, final, prior = (empty.copy() for _ in range(3))
        e_r, e_long, e_short = (np.full(rows, np.nan) for _ in range(3))
        scored = np.zeros(rows, dtype=np.bool_)
        return cls(raw, final, prior, e_r, e_long, e_short, counts, method, calibrated, scored, folds)

    def best(self, label: NDArray[np.int8], rows: Mask) -> str:
        """The method with the smallest log-loss on `rows`; the first named wins ties, and when there are no rows."""
        if not rows.any():
            return next(iter(self.calibrated))
        return min(self.calibrated, key=lambda method: log_loss(self.calibrated[method][rows], label[rows]))

    def along(self, base: BasePredictions) -> tuple[Floats, Floats]:
        """Probabilities (n, 3) and e_r (n,) by the same learners of other base predictions of the same rows."""
        p = np.concatenate([fold.combine(base.p[fold.rows]) for fold in self.folds])
        e_r = [fold.expected(p[fold.rows], base.e_r[fold.rows])[0] for fold in self.folds]
        return p, np.concatenate(e_r)


def nested_oof(
    base: BasePredictions, happened: Outcomes, ensemble: EnsembleSettings, calibration: CalibrationSettings, gate: Gate = by_time
) -> NestedForecasts:
    """Forecast each fold by a meta-learner made from the rows that `gate` lets be known there.

    For each fold: the stack is fitted on known labels, calibrators on the nested forecasts of those rows, the method is
    the one that did best on them, and payoffs are means of known returns.
    """
    folds = [FoldLearner(rows, gate(happened, rows)) for rows in fold_blocks(base)]
    nested = NestedForecasts.blank(folds, calibration.methods)
    # one pass after the other, for each looks at what the one before made of the known folds
    for fold in folds:
        _stack(nested, fold, base, happened, ensemble)
    for fold in folds:
        _calibrate(nested, fold, happened)
    for fold in folds:
        _finish(nested, fold, base, happened)
    return nested


def fold_blocks(base: BasePredictions) -> list[Rows]:
    """Row positions of each run of one fold, in time order."""
    starts = np.flatnonzero(np.append(True, base.fold[1:] != base.fold[:-1]))
    return [np.arange(start, end) for start, end in zip(starts, np.append(starts[1:], len(base)), strict=True)]


def _stack(
    nested: NestedForecasts, fold: FoldLearner, base: BasePredictions, happened: Outcomes, ensemble: EnsembleSettings
) -> None:
    known, rows = fold.known.labels, fold.rows
    label = happened.label[known]
    nested.prior[rows] = class_shares(label)
    if len(label) >= MIN_ROWS:
        fold.stacker = Stacker.fit(ensemble.meta, base.p[known], label, ensemble.alpha)
        nested.stack_rows[rows] = len(label)
    nested.raw[rows] = fold.stacked(base.p[rows])


def _calibrate(nested: NestedForecasts, fold: FoldLearner, happened: Outcomes) -> None:
    stacked = fold.known.labels & (nested.stack_rows > 0)
    if int(stacked.sum()) < MIN_ROWS:
        return
    nested.scored[fold.rows] = True
    for method, forecasts in nested.calibrated.items():
        fold.calibrators[method] = Calibrator.fit(method, nested.raw[stacked], happened.label[stacked])
        forecasts[fold.rows] = fold.calibrators[method].apply(nested.raw[fold.rows])


def _finish(nested: NestedForecasts, fold: FoldLearner, base: BasePredictions, happened: Outcomes) -> None:
    rows, returns = fold.rows, fold.known.returns
    if fold.calibrators:
        fold.method = nested.best(happened.label, fold.known.labels & nested.scored)
        nested.method[rows] = fold.method
    if fold.stacker is not None and int(returns.sum()) >= MIN_ROWS:
        fold.payoffs = Payoffs.fit(happened, returns)
    nested.final[rows] = fold.combine(base.p[rows])
    nested.e_r[rows], nested.e_long[rows], nested.e_short[rows] = fold.expected(nested.final[rows], base.e_r[rows])
