"""Drift of live features against the rows a bundle was trained on, and the decision to train again.

Two distances per feature: the population stability index (PSI) sees a changed shape, the 1-Wasserstein distance in
training standard deviations sees how far the mass moved. Nulls and infinities take no part, but a feature that has a
value in less than half as many rows as in training has drifted; one that was as sparse then has not.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.config.experiment import DriftSettings
from quant_pipeline.errors import DataError
from quant_pipeline.features.registry import DECISION, MACRO, specs

Floats = NDArray[np.float64]

FADED = 0.5  # of the share of rows that had a value in training: below it, less than half of the feature is left
BINS = 10  # deciles: the usual choice for PSI, and what its 0.1 and 0.25 rules of thumb were made for
MIN_ROWS = 30  # fewer recent values tell nothing about ten bins
NULL_Z = 3.09  # one false alarm in a thousand features from sampling alone, of the distances and of the counts
KEYS = ("timestamp", "decision_at")


@dataclass(frozen=True)
class DriftSummary:
    """What one drift table says in short: how many features were `measured`, which `drifted`, their `share`."""

    measured: int
    drifted: tuple[str, ...]

    @property
    def share(self) -> float:
        """Drifted features over measured ones, 0 when nothing was measured."""
        return len(self.drifted) / self.measured if self.measured else 0.0


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train again, with the reason in words."""

    retrain: bool
    reason: str


def drift_table(
    reference: pl.DataFrame, recent: pl.DataFrame, settings: DriftSettings, *, exclude: Collection[str] = ()
) -> pl.DataFrame:
    """Compare every feature of `reference` with its recent values.

    Args:
        reference: training rows, one Float64 column per feature; null = not computable. `timestamp` and
            `decision_at` may stand in it and are not features.
        recent: live rows with at least the same features.
        settings: the alarm levels; `recent_bars` is applied by the caller, who chooses the rows.
        exclude: features that time moves by itself (the month, say), which are not measured.

    Returns:
        feature, psi, wasserstein (in training standard deviations), reference_rows, recent_rows (values that are
        not null), drifted, why (empty, or what crossed which level), the worst features first. psi and wasserstein
        are null where either side has fewer than 30 values, wasserstein also where a constant moved. PSI must also
        exceed what sampling alone makes of so few rows (see `psi_noise`), so short windows stay quiet.

    Raises:
        DataError: `recent` lacks a feature of the reference.
    """
    names = [name for name in reference.columns if name not in KEYS and name not in exclude]
    missing = sorted(set(names) - set(recent.columns))
    if missing:
        raise DataError(
            "recent features",
            found=f"no column {', '.join(missing)}",
            wanted="every feature of the training reference",
            mend="build the features with the experiment that trained the bundle",
        )
    heights = reference.height, recent.height
    rows = [_measure(name, _values(reference, name), _values(recent, name), *heights, settings) for name in names]
    schema = {
        "feature": pl.String, "psi": pl.Float64, "wasserstein": pl.Float64, "reference_rows": pl.Int64,
        "recent_rows": pl.Int64, "drifted": pl.Boolean, "why": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row").sort(
        ["drifted", "psi", "feature"], descending=[True, True, False], nulls_last=True
    )


def summarise(table: pl.DataFrame) -> DriftSummary:
    """The summary of a `drift_table`; features with too few values count as not measured."""
    measured = table.filter(pl.col("psi").is_not_null() | pl.col("drifted"))
    return DriftSummary(measured.height, tuple(measured.filter(pl.col("drifted"))["feature"]))


def decide_retrain(
    summary: DriftSummary, settings: DriftSettings, *, last_retrain_at: datetime | None, now: datetime
) -> RetrainDecision:
    """Retrain when the drifted share reaches `settings.share`, at most once per `settings.cooldown`.

    `last_retrain_at` is the moment the last retraining began (UTC), None when there was none.

    Example:
        >>> decide_retrain(DriftSummary(4, ("a", "b")), DriftSettings(), last_retrain_at=None, now=now).reason
        '2 of 4 features drifted (50 %, alarm at 30 %): a, b'
    """
    shares = f"{100 * summary.share:.0f} %, alarm at {100 * settings.share:.0f} %"
    counted = f"{len(summary.drifted)} of {summary.measured} features drifted ({shares})"
    if summary.share < settings.share or not summary.drifted:
        return RetrainDecision(False, f"{counted}: no retraining")
    named = f"{counted}: {_listed(summary.drifted)}"
    if last_retrain_at is not None and now < last_retrain_at + settings.cooldown:
        until = last_retrain_at + settings.cooldown
        wait = f"the last retraining began {last_retrain_at:%Y-%m-%d %H:%M}, the next may begin {until:%Y-%m-%d %H:%M} UTC"
        return RetrainDecision(False, f"{named}; but {wait}")
    return RetrainDecision(True, named)


def clock_features() -> frozenset[str]:
    """Features that drift because time passes: of the decision time, and of macro series, whose levels wander and age."""
    return frozenset(spec.name for spec in specs() if spec.marker in {DECISION, MACRO})


def psi(reference: Floats, recent: Floats) -> float:
    """Population stability index over the reference's deciles (repeated deciles are merged); finite values only.

    Empty bins are counted as half a row, so the index stays finite. Source: Siddiqi, Credit Risk Scorecards (2006), ch. 8.
    """
    edges = _edges(reference)
    expected, observed = _shares(reference, edges), _shares(recent, edges)
    return float(((observed - expected) * np.log(observed / expected)).sum())


def psi_noise(reference: Floats, recent: Floats) -> float:
    """The PSI that one in a thousand pairs of equal distributions exceeds, for samples of these sizes.

    Under equality PSI is close to (1/n + 1/m) times a chi-square with bins - 1 degrees of freedom (Yurdakul and
    Naranjo, 2020); its quantile is taken by Wilson and Hilferty's approximation.
    """
    freedom = max(_edges(reference).size, 1)
    spread = 2 / (9 * freedom)
    chi_square = freedom * (1 - spread + NULL_Z * math.sqrt(spread)) ** 3
    return chi_square * (1 / reference.size + 1 / recent.size)


def wasserstein(reference: Floats, recent: Floats) -> float:
    """1-Wasserstein distance in standard deviations of `reference`; infinite when a constant moved.

    Equals `scipy.stats.wasserstein_distance(reference, recent) / reference.std()`.
    """
    merged = np.sort(np.concatenate([reference, recent]))
    steps = np.diff(merged)
    below = np.searchsorted(np.sort(reference), merged[:-1], "right") / reference.size
    observed = np.searchsorted(np.sort(recent), merged[:-1], "right") / recent.size
    distance = float((np.abs(below - observed) * steps).sum())
    if np.ptp(reference) > 0:
        return distance / float(reference.std())
    return math.inf if distance > 0 else 0.0


def _measure(
    name: str, reference: Floats, recent: Floats, trained: int, rows: int, settings: DriftSettings
) -> tuple[object, ...]:
    faded = _faded(reference.size / trained, recent.size, rows) if trained else ""
    if min(reference.size, recent.size) < MIN_ROWS:
        return name, None, None, reference.size, recent.size, bool(faded), faded
    stability, distance = psi(reference, recent), wasserstein(reference, recent)
    shown = distance if math.isfinite(distance) else None
    level = max(settings.psi, psi_noise(reference, recent))
    crossed = [faded] * bool(faded) + [
        text
        for text, over in (
            (f"psi {stability:.3g} > {level:.3g}", stability > level),
            (f"wasserstein {distance:.3g} > {settings.wasserstein:.3g}", distance > settings.wasserstein),
        )
        if over
    ]
    return name, stability, shown, reference.size, recent.size, bool(crossed), ", ".join(crossed)


def _faded(share: float, found: int, rows: int) -> str:
    """Why `found` values in `rows` recent rows are too few where `share` of the training rows had one; empty when not."""
    expected, spread = rows * share, math.sqrt(rows * share * (1 - share))
    if rows < MIN_ROWS or found >= FADED * expected or found >= expected - NULL_Z * spread:
        return ""
    return f"only {found} of {rows} recent rows have a finite value, {100 * share:.0f} % of the training rows had"


def _values(frame: pl.DataFrame, name: str) -> Floats:
    # float32, as models see them and bundles keep them: else equal values of a stepped feature could fall beside a bin's edge
    values = frame[name].cast(pl.Float32).cast(pl.Float64).drop_nulls().to_numpy()
    finite: Floats = values[np.isfinite(values)]
    return finite


def _edges(reference: Floats) -> Floats:
    # values of the sample itself: an interpolated edge can fall a rounding error beside a repeated value
    return np.unique(np.quantile(reference, np.arange(1, BINS) / BINS, method="inverted_cdf"))


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values, "left"), minlength=edges.size + 1)
    return np.maximum(counts, 0.5) / values.size


def _listed(names: tuple[str, ...], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
