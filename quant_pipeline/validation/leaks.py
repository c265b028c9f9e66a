"""Planted leaks: small functions that look into the future as people do by mistake, each with its honest twin.

`leak=True` makes the mistake, `leak=False` does the same thing rightly. Every leak names the audit that must catch it;
`uncaught()` runs them all, in tests and in `quant doctor`. An audit that catches nothing proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.bars.asof import asof_join
from quant_pipeline.config.experiment import SplitSettings
from quant_pipeline.validation.audit import asof_audit, oof_audit, prefix_audit, random_cuts, scaler_audit, split_audit
from quant_pipeline.validation.splits import FoldRows, fold_rows, make_splits

if TYPE_CHECKING:
    from collections.abc import Callable

Values = npt.NDArray[np.float64]
ROWS, HALF, HOLES = 400, 200, 7
START, HOUR = datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1)
SETTINGS = SplitSettings(folds=3, embargo=6 * HOUR)
FOLD = "fold_01"
CLOSE, FOUR_HOURS = pl.col("close"), pl.col("timestamp").dt.truncate("4h")


class Planted(Protocol):
    """Makes the mistake, or does it rightly, and returns the faults that its audit finds."""

    def __call__(self, *, leak: bool) -> pl.DataFrame: ...


@dataclass(frozen=True)
class Leak:
    """A planted leak: `find(leak=True)` must give faults of `audit`, `find(leak=False)` none."""

    name: str
    audit: str
    mistake: str
    find: Planted


def uncaught() -> list[str]:
    """Names of the leaks that their audit misses, or whose honest twin it accuses; empty when all audits work."""
    return [leak.name for leak in LEAKS if not _caught(leak)]


def _caught(leak: Leak) -> bool:
    return leak.audit in leak.find(leak=True)["audit"] and leak.find(leak=False).is_empty()


def hours(count: int, first: datetime) -> pl.Series:
    """`count` hourly UTC moments."""
    return pl.datetime_range(first, first + (count - 1) * HOUR, HOUR, time_unit="us", eager=True)


def walk(seed: int) -> Values:
    """A random walk of prices, (ROWS,)."""
    return np.asarray(100.0 + np.random.default_rng(seed).normal(size=ROWS).cumsum())


def bars() -> pl.DataFrame:
    """Hourly bars: timestamp, decision_at (their close), close; every seventh close is missing."""
    close = pl.Series("close", walk(0)).set(pl.Series(np.arange(ROWS) % HOLES == 1), None)
    return pl.DataFrame({"timestamp": hours(ROWS, START), "decision_at": hours(ROWS, START + HOUR), "close": close})


def labels() -> pl.DataFrame:
    """One label an hour, each known five hours after its decision."""
    return pl.DataFrame({"decision_at": hours(ROWS, START), "label_end": hours(ROWS, START + 5 * HOUR)})


def under_prefix_audit(compute: Callable[[datetime], pl.DataFrame]) -> pl.DataFrame:
    """Faults of `compute` at twelve cuts."""
    full = compute(datetime(2100, 1, 1, tzinfo=UTC))
    return prefix_audit(compute, full, random_cuts(full["decision_at"], 12, seed=1))


def feature(wrong: pl.Expr, right: pl.Expr) -> Planted:
    """A feature of `close`, made the wrong or the right way, under the prefix audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        made = (wrong if leak else right).alias("feature")
        return under_prefix_audit(lambda cut: bars().filter(pl.col("decision_at") <= cut).with_columns(made))

    return find


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


def revised_macro(*, leak: bool) -> pl.DataFrame:
    """A daily release that is revised two days later; the leak puts the last revision at the first release."""
    released = START + timedelta(days=1) * pl.int_range(16).cast(pl.Int64)
    days = pl.select(pl.int_range(16).alias("period"), released.dt.cast_time_unit("us").alias("known_at"))
    vintages = pl.concat([
        days.with_columns(value=pl.col("period") * 1.0),
        days.with_columns(value=pl.col("period") + 0.5, known_at=pl.col("known_at") + timedelta(days=2)),
    ]).sort("known_at", "period")  # fmt: skip

    def compute(cut: datetime) -> pl.DataFrame:
        known = vintages.filter(pl.col("known_at") <= cut)
        latest = known.group_by("period").agg(pl.col("value").last(), pl.col("known_at").first()).sort("known_at")
        return asof_join(bars().filter(pl.col("decision_at") <= cut), latest if leak else known)

    return under_prefix_audit(compute)


def bar_known_at_its_open(*, leak: bool) -> pl.DataFrame:
    """Four-hour bars stamped by their open (`label="left"`); the leak takes that stamp for the time they are known."""
    wide = bars().group_by_dynamic("timestamp", every="4h").agg(CLOSE.last().alias("wide_close"))
    wide = wide.with_columns(closed_at=pl.col("timestamp") + 4 * HOUR)
    right = wide.select("wide_close", "closed_at", known_at=pl.col("timestamp" if leak else "closed_at"))
    return asof_audit(asof_join(bars(), right), known=("closed_at",))


def label_as_a_feature(*, leak: bool) -> pl.DataFrame:
    """The newest label as a feature; the leak joins it on its decision instead of the end of its window."""
    right = labels().select("label_end", known_at=pl.col("decision_at" if leak else "label_end"))
    return asof_audit(asof_join(labels().select("decision_at"), right), known=("label_end",))


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


def shuffled(rows: FoldRows) -> FoldRows:
    """Rows dealt at random, as an ordinary k-fold does."""
    deal = np.random.default_rng(4).permutation(ROWS)
    return FoldRows(np.sort(deal[100:]), rows.valid[:0], np.sort(deal[:100]))


def purged_only(_: FoldRows) -> FoldRows:
    """The same fold without its embargo."""
    settings = SETTINGS.model_copy(update={"embargo": timedelta(0)})
    return fold_rows(make_splits(labels(), settings), FOLD, labels(), settings)


SMOOTH = CLOSE.forward_fill().ewm_mean(alpha=0.2)
SPREAD = CLOSE.rolling_max(50, min_samples=1) - CLOSE.rolling_min(50, min_samples=1)
SWING = CLOSE.forward_fill() == CLOSE.forward_fill().rolling_max(5, center=True)

LEAKS = (
    Leak("future shift", "prefix", "a value shifted the wrong way", feature(CLOSE.shift(-1), CLOSE.shift(1))),
    Leak("centred window", "prefix", "a mean over both sides",
         feature(CLOSE.forward_fill().rolling_mean(5, center=True), CLOSE.forward_fill().rolling_mean(5))),
    Leak("unconfirmed swing", "prefix", "a swing high known at its extreme", feature(SWING, SWING.shift(2))),
    Leak("whole-series z-score", "prefix", "mean and deviation of all bars",
         feature((CLOSE - CLOSE.mean()) / CLOSE.std(), (CLOSE - CLOSE.rolling_mean(50)) / CLOSE.rolling_std(50))),
    Leak("whole-series rank", "prefix", "rank among all bars", feature(CLOSE.rank(), CLOSE.rolling_rank(50, min_samples=1))),
    Leak("global min-max", "prefix", "extremes of all bars", feature(CLOSE / (CLOSE.max() - CLOSE.min()), CLOSE / SPREAD)),
    Leak("backward fill", "prefix", "holes filled with the next value", feature(CLOSE.backward_fill(), CLOSE.forward_fill())),
    Leak("interpolation", "prefix", "holes filled between both sides", feature(CLOSE.interpolate(), CLOSE.forward_fill())),
    Leak("filtfilt", "prefix", "a filter run forward and backward",
         feature(SMOOTH.reverse().ewm_mean(alpha=0.2).reverse(), SMOOTH)),
    Leak("forming bar", "prefix", "the high of a four-hour bar before the bar has ended",
         feature(CLOSE.max().over(FOUR_HOURS), CLOSE.cum_max().over(FOUR_HOURS))),
    Leak("revised macro value", "prefix", "the last revision at the date of the first release", revised_macro),
    Leak("bar known at its open", "as-of", "label=left read as the time a bar is known", bar_known_at_its_open),
    Leak("label as a feature", "as-of", "a label used before its window has ended", label_as_a_feature),
    Leak("scaler on all rows", "scaler", "scaling fitted before the split", fitted(scaling)),
    Leak("target encoding on all rows", "scaler", "category means with the targets to be predicted", fitted(encoding)),
    Leak("selection on all rows", "scaler", "features chosen by their correlation with the whole target", fitted(selection)),
    Leak("early stopping on the OOF block", "scaler", "the block to be predicted chooses the round", early_stopping),
    Leak("unpurged label", "split", "training labels that end inside the block",
         learned(lambda rows: FoldRows(np.arange(rows.oof[0]), rows.valid[:0], rows.oof))),
    Leak("embargo ignored", "split", "training rows right beside the block", learned(purged_only)),
    Leak("shuffled k-fold", "split", "rows dealt at random", learned(shuffled)),
    Leak("unpurged inner validation", "split", "training labels that end inside the early-stopping rows",
         learned(lambda rows: FoldRows(np.arange(rows.valid[0]), rows.valid, rows.oof))),
    Leak("row from its own fold", "oof", "an in-sample prediction as an out-of-fold one", predicted(lambda rows: rows.train)),
    Leak("row predicted twice", "oof", "overlapping blocks", predicted(lambda rows: np.append(rows.oof, rows.oof[-1]))),
)  # fmt: skip
