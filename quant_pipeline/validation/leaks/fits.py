"""Planted leaks in learning: fits, splits and out-of-fold predictions that know rows which they must not know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.validation.audit import oof_audit, scaler_audit, split_audit
from quant_pipeline.validation.leaks.bench import HALF, ROWS, SETTINGS, Planted, Values, labels, walk
from quant_pipeline.validation.leaks.series import regime_model
from quant_pipeline.validation.splits import FoldRows, fold_rows, make_splits

FOLD = "fold_01"


def fitted(fit: Callable[[Values], Values]) -> Planted:
    """`fit` on a feature and a target (rows, 2), of all rows or of the training rows only, under the scaler audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        seen = slice(None) if leak else slice(HALF)
        values = np.column_stack([walk(1), walk(2)])
        return scaler_audit(lambda given: fit(given[seen]), values, np.arange(HALF), seed=3)

    return find


def learned(choose: Callable[[FoldRows], FoldRows]) -> Planted:
    """Fold rows that `choose` spoils, under the split audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        honest = fold_rows(make_splits(labels(), SETTINGS), FOLD, labels(), SETTINGS)
        return split_audit(choose(honest) if leak else honest, labels(), SETTINGS.embargo)

    return find


def predicted(choose: Callable[[FoldRows], npt.NDArray[np.int64]]) -> Planted:
    """Out-of-fold predictions for the rows that `choose` picks, under the OOF audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        rows = fold_rows(make_splits(labels(), SETTINGS), FOLD, labels(), SETTINGS)
        made = pl.DataFrame(labels()["decision_at"].gather(choose(rows) if leak else rows.oof))
        return oof_audit(made.with_columns(fold=pl.lit(FOLD), model=pl.lit("planted")), labels(), {FOLD: rows})

    return find


def early_stopping(*, leak: bool) -> pl.DataFrame:
    """The round with the smallest error on the block to be predicted, instead of on the tail of the training rows."""
    judge = slice(HALF, None) if leak else slice(HALF - 50, HALF)

    def fit(values: Values) -> Values:
        rounds = np.linspace(0.0, 2.0, 200)  # shrunken fits, as a booster's rounds are
        errors = ((values[judge, 1:] - rounds * values[judge, :1]) ** 2).sum(axis=0)
        return np.array([rounds[errors.argmin()]])

    return scaler_audit(fit, np.column_stack([walk(1), walk(2)]), np.arange(HALF), seed=3)


def scaling(values: Values) -> Values:
    """Mean and deviation."""
    return np.array([values[:, 0].mean(), values[:, 0].std()])


def encoding(values: Values) -> Values:
    """Mean target of a category (feature above or below 100)."""
    above = values[:, 0] > 100  # noqa: PLR2004 - where the walk starts
    return np.array([values[above, 1].mean(), values[~above, 1].mean()])


def selection(values: Values) -> Values:
    """Correlation of the feature with the target, by which features are kept."""
    return np.array([np.corrcoef(values[:, 0], values[:, 1])[0, 1]])


def regimes(values: Values) -> Values:
    """Chances of moving between two regimes of the feature's moves, and their widths, after one step of Baum-Welch."""
    model = regime_model()
    model.init_params, model.n_iter = "", 1
    model.fit(np.diff(values[:, :1], axis=0))
    return np.concatenate([model.transmat_.ravel(), model.covars_.ravel()])


def shuffled(rows: FoldRows) -> FoldRows:
    """Rows dealt at random, as an ordinary k-fold does."""
    deal = np.random.default_rng(4).permutation(ROWS)
    return FoldRows(np.sort(deal[100:]), rows.valid[:0], np.sort(deal[:100]))


def purged_only(_: FoldRows) -> FoldRows:
    """The same fold without its embargo."""
    settings = SETTINGS.model_copy(update={"embargo": timedelta(0)})
    return fold_rows(make_splits(labels(), settings), FOLD, labels(), settings)
