"""Which columns a fold's models may look at, chosen on the fold's training rows alone.

In this order: columns that say nothing, columns that say the same, columns whose worth shows in one part of the training
span only. What is left is ordered by the mean of three ranks: mutual information, impurity, log-loss out of sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.config.selection import SelectionSettings
from quant_pipeline.errors import DataError
from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.models.contract import Samples
from quant_pipeline.models.preparation.forest import Values
from quant_pipeline.models.preparation.importance import (
    Importance,
    clusters,
    importance,
    mutual_information,
    ranks,
    spearman,
)
from quant_pipeline.models.probabilities import CLASSES, class_index
from quant_pipeline.validation.purging import Windows
from quant_pipeline.views.feature_matrix import FeatureMatrix

LEAST_ROWS = 100
"""Rows of a block below which its log-loss says nothing: mutual information alone then orders the columns."""
LEAST_VALUES = 50
"""Values of a third below which its distribution says nothing."""
KEPT = "kept"
SCHEMA = {
    "feature": pl.String, "kept": pl.Boolean, "reason": pl.String, "mutual_information": pl.Float64,
    "mdi": pl.Float64, "mda": pl.Float64, "mda_std": pl.Float64, "stability": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen columns, and why each column was or was not.

    Attributes:
        columns: those kept, in the order of the view that was given.
        report: a row for each column given, in that order: feature, kept, reason; mutual_information (nats); mdi (mean
            share of the gain); mda and mda_std (mean and standard deviation over the blocks of the log-loss, in nats, that
            shuffling its cluster costs); stability (share of the blocks that chose it). Null where nothing was measured.
    """

    columns: tuple[str, ...]
    report: pl.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON; `from_dict` gives the same selection back."""
        return {"columns": list(self.columns), "report": self.report.to_dict(as_series=False)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        """The selection that `to_dict` wrote."""
        return cls(tuple(facts["columns"]), pl.DataFrame(facts["report"], schema=SCHEMA))


class _Report:
    """The report as it grows; a column is in the race until a reason takes it out."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.reason = np.full(len(columns), "", dtype=object)
        self.measures = {name: np.full(len(columns), np.nan) for name in SCHEMA if SCHEMA[name] == pl.Float64}

    @property
    def racing(self) -> NDArray[np.int64]:
        """Positions without a reason yet."""
        return np.flatnonzero(self.reason == "")

    def selection(self) -> Selection:
        """What the reasons add up to."""
        kept = np.array([reason.startswith(KEPT) for reason in self.reason], dtype=bool)
        report = pl.DataFrame({
            "feature": list(self.columns), "kept": kept, "reason": list(self.reason),
            **{name: pl.Series(values, nan_to_null=True) for name, values in self.measures.items()},
        }, schema=SCHEMA)  # fmt: skip
        return Selection(tuple(name for name, keep in zip(self.columns, kept, strict=True) if keep), report)


def select(samples: Samples[FeatureMatrix], label_end: pl.Series, settings: SelectionSettings, seed: int) -> Selection:
    """Choose columns on the training rows of one fold; nothing else is looked at.

    Args:
        samples: the training rows, in time order.
        label_end: (n,) when each row's label is known: blocks are purged by it.
        settings: thresholds, folds and sizes.
        seed: same samples and seed, same selection.

    Raises:
        DataError: `label_end` of another length, or no column that says anything.
    """
    if len(label_end) != len(samples):
        raise DataError("label_end of the selection", found=f"{len(label_end)} rows", wanted=f"{len(samples)}, one a sample",
                        mend="take both at the fold's training rows")  # fmt: skip
    report = _Report(samples.view.columns)
    if not settings.enabled:
        report.reason[:] = f"{KEPT}: selection is off"
        return report.selection()
    _drop_empty(report, samples.view.values)
    if not report.racing.size:
        raise DataError("features of the selection", found=f"{len(report.columns)} columns, each constant or empty",
                        wanted="one that changes", mend="use a longer history or other feature families")  # fmt: skip
    _drop_wandering(report, samples.view.values, settings)
    correlation = _drop_alike(report, samples, settings.correlation)
    _judge(report, samples, Windows(microseconds(samples.view.decision_at), microseconds(label_end)), correlation, settings, seed)
    return report.selection()


def _drop_empty(report: _Report, values: Values) -> None:
    """Columns without a value, with one value, and with the bytes of an earlier column."""
    present = ~np.isnan(values)
    lowest = np.where(present, values, np.inf).min(axis=0, initial=np.inf)
    highest = np.where(present, values, -np.inf).max(axis=0, initial=-np.inf)
    report.reason[lowest == highest] = "constant"
    report.reason[~present.any(axis=0)] = "empty"
    clean = np.where(present, values + np.float32(0), np.float32(np.nan)).T  # one zero, one NaN
    first: dict[bytes, int] = {}
    for place in report.racing:
        original = first.setdefault(clean[place].tobytes(), int(place))
        if original != place:
            report.reason[place] = f"duplicate of {report.columns[original]}"


def _drop_wandering(report: _Report, values: Values, settings: SelectionSettings) -> None:
    """Columns whose oldest and newest third are too far apart, but never so many that fewer than `min_features` stay.

    A price level or a yield takes each value once in a training span, so that trees learn dates from it.
    """
    racing, third = report.racing, len(values) // 3
    apart = np.array([_distance(values[:third, place], values[-third:, place]) for place in racing])
    for rank, order in enumerate(np.argsort(-apart, kind="stable")):
        if apart[order] <= settings.shift or racing.size - rank <= settings.min_features:
            return
        report.reason[racing[order]] = f"wanders: Kolmogorov-Smirnov {apart[order]:.2f} from the oldest to the newest third"


def _distance(older: Values, newer: Values) -> float:
    """Largest difference of the two distribution functions (Kolmogorov-Smirnov); 0 where either has too few values."""
    older, newer = (np.sort(part[~np.isnan(part)]) for part in (older, newer))
    if min(older.size, newer.size) < LEAST_VALUES:
        return 0.0
    both = np.concatenate([older, newer])
    shares = [np.searchsorted(part, both, side="right") / part.size for part in (older, newer)]
    return float(np.abs(shares[0] - shares[1]).max())


def _drop_alike(report: _Report, samples: Samples[FeatureMatrix], most: float) -> FloatArray:
    """Take out what a more informative column already says; correlations (F', F') of the columns that stay in the race."""
    racing = report.racing
    ranked = ranks(samples.view.values[:, racing])
    told = mutual_information(ranked, class_index(samples.label), len(CLASSES))
    report.measures["mutual_information"][racing] = told
    correlation = spearman(ranked)
    gone = np.zeros(racing.size, dtype=bool)
    for place in np.argsort(-told, kind="stable"):
        if gone[place]:
            continue
        alike = (np.abs(correlation[place]) > most) & ~gone
        alike[place] = False
        for other in np.flatnonzero(alike):
            shared = f"{correlation[place, other]:+.3f} with {report.columns[racing[place]]}"
            report.reason[racing[other]] = f"correlation {shared}"
        gone |= alike
    left: FloatArray = correlation[np.ix_(~gone, ~gone)]
    return left


def _judge(
    report: _Report, samples: Samples[FeatureMatrix], windows: Windows, correlation: FloatArray,
    settings: SelectionSettings, seed: int,
) -> None:  # fmt: skip
    """Order the columns left, and keep those that enough blocks choose."""
    racing = report.racing
    told = report.measures["mutual_information"][racing]
    if len(samples) < LEAST_ROWS * settings.folds or np.unique(samples.label).size == 1:
        everything = np.ones(racing.size, dtype=bool)
        _keep(report, racing, told, everything, settings, "by mutual information alone, too few rows or classes")
        return
    index = class_index(samples.label)
    values = np.ascontiguousarray(samples.view.values[:, racing])
    measured = importance(values, index, samples.weight, windows, clusters(correlation), settings, seed)
    stability = _chosen(measured, told, settings.max_features).mean(axis=0)
    for name, values in (
        ("mdi", measured.mdi.mean(axis=0)), ("mda", measured.mda.mean(axis=0)),
        ("mda_std", measured.mda.std(axis=0)), ("stability", stability),
    ):  # fmt: skip
        report.measures[name][racing] = values
    score = _score(measured.mdi.mean(axis=0), measured.mda.mean(axis=0), told)
    _keep(report, racing, score, stability >= settings.stability, settings, "chosen in enough blocks")


def _chosen(measured: Importance, told: FloatArray, most: int) -> NDArray[np.bool_]:
    """(folds, F) whether a block chooses a column: its cluster is missed there, and it is among the `most` best."""
    out = np.zeros(measured.mda.shape, dtype=bool)
    for fold, (mdi, mda) in enumerate(zip(measured.mdi, measured.mda, strict=True)):
        best = np.argsort(-_score(mdi, mda, told), kind="stable")[:most]
        out[fold, best] = (mda > 0)[best]
    return out


def _score(*measures: FloatArray) -> FloatArray:
    """Mean rank of each column, larger is better; columns that measure the same share their rank."""
    ranked: FloatArray = np.mean([np.searchsorted(np.sort(values), values) for values in measures], axis=0)
    return ranked


def _keep(
    report: _Report, racing: NDArray[np.int64], score: FloatArray, stable: NDArray[np.bool_],
    settings: SelectionSettings, why: str,
) -> None:  # fmt: skip
    """Give every column left its reason: the stable ones first, each group by its score."""
    order = np.lexsort((np.arange(racing.size), -score, ~stable))
    for place, column in enumerate(order):
        if stable[column]:
            told = f"{KEPT}: {why}" if place < settings.max_features else f"past the best {settings.max_features}"
        else:
            told = f"{KEPT}: among the best {settings.min_features}" if place < settings.min_features else "in too few blocks"
        report.reason[racing[column]] = told
