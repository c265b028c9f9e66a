"""Skill of three-class forecasts: log-loss, Brier, AUC, F1, information coefficient, calibration, chance levels.

Every metric is written once, over row counts: a point estimate counts each row once, a bootstrap resample counts
some rows twice and others never. So an interval is of exactly the number that it stands beside, ranks and ties included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from quant_pipeline.errors import DataError
from quant_pipeline.validation import skill_kernels as kernels
from quant_pipeline.validation.skill_kernels import Counts, Floats, Ints, ones

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CLASSES = ("short", "neutral", "long")  # column order of probabilities; label -1, 0, 1
SMALLEST = 1e-15  # a forecast of zero for what then happens costs -log(1e-15) = 34.5 nats, not infinity
ROUNDING = 1e-12  # nats: two forecasts with one split of the move differ by this, not by skill
SUM_TOLERANCE = 1e-6  # float32 models sum to 1 only this closely


@dataclass(frozen=True)
class Forecasts:
    """Forecasts and what happened, one row per decision, in time order.

    Attributes:
        probabilities: (rows, 3) of short, neutral, long; each row sums to 1.
        label: (rows,) of -1, 0, 1; known at the row's `label_end`.
        forward_return: (rows,) gross simple return from entry to the vertical barrier.
        expected_return: (rows,) the model's own `e_r`; NaN where it gives none.
        reference: (rows, 3) the uninformed forecast that log-loss gain is measured against; None takes the
            class shares of these very rows.
        ranking: (rows,) the directional score; None takes p_long - p_short.
    """

    probabilities: Floats
    label: NDArray[np.int8]
    forward_return: Floats
    expected_return: Floats
    reference: Floats | None = None
    ranking: Floats | None = None

    def __post_init__(self) -> None:
        _check_probabilities(self.probabilities)
        if not np.isin(self.label, (-1, 0, 1)).all():
            found = np.unique(self.label).tolist()
            raise DataError("label", found=found, wanted="-1, 0 or 1", mend="pass the column `label` of the labels")

    @property
    def score(self) -> Floats:
        """Directional score, by default p_long - p_short, in (rows,)."""
        return self.probabilities[:, 2] - self.probabilities[:, 0] if self.ranking is None else self.ranking

    @property
    def outcome(self) -> Ints:
        """Column of `probabilities` that came true, 0, 1 or 2, in (rows,)."""
        return self.label.astype(np.int64) + 1

    @property
    def shares(self) -> Floats:
        """Share of each class among the labels, in (3,)."""
        shares: Floats = np.bincount(self.outcome, minlength=3) / max(len(self.label), 1)
        return shares


def _check_probabilities(p: Floats) -> None:
    if p.shape[1:] != (len(CLASSES),) or not len(p):
        raise DataError(
            "probabilities", found=f"shape {p.shape}", wanted="(rows >= 1, 3)", mend="stack p_short, p_neutral, p_long"
        )
    sound = np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) < SUM_TOLERANCE)
    if not sound.all():
        row = int(np.argmin(sound))
        wanted = "finite, >= 0, summing to 1"
        raise DataError(f"probabilities of row {row}", found=p[row].tolist(), wanted=wanted, mend="mend the model's predict")


def log_losses(probabilities: Floats, label: NDArray[Any]) -> Floats:
    """Loss of each row in nats, -log of the probability given to what happened, in (rows,)."""
    given = probabilities[np.arange(len(label)), np.asarray(label, dtype=np.int64) + 1]
    losses: Floats = -np.log(np.clip(given, SMALLEST, 1.0))
    return losses


def brier_losses(probabilities: Floats, label: NDArray[Any]) -> Floats:
    """Squared distance of each row to the truth, summed over classes (0 to 2), in (rows,) (Brier 1950)."""
    truth = np.eye(len(CLASSES))[np.asarray(label, dtype=np.int64) + 1]
    losses: Floats = ((probabilities - truth) ** 2).sum(axis=1)
    return losses


def log_loss(probabilities: Floats, label: NDArray[Any], weight: Floats | None = None) -> float:
    """Mean log-loss in nats; `probabilities` (rows, 3), `label` (rows,) of -1, 0, 1."""
    return float(np.average(log_losses(probabilities, label), weights=weight))


def brier(probabilities: Floats, label: NDArray[Any], weight: Floats | None = None) -> float:
    """Mean multiclass Brier score, 0 (perfect) to 2; arguments as `log_loss`."""
    return float(np.average(brier_losses(probabilities, label), weights=weight))


def auc(score: Floats, positive: NDArray[Any]) -> float:
    """Chance that a positive row scores above a negative one, ties half; NaN when one side is empty."""
    return float(kernels.auc(*kernels.groups(score), np.asarray(positive, dtype=np.bool_), ones(len(score)))[0])


def macro_f1(probabilities: Floats, label: NDArray[Any]) -> float:
    """Mean F1 of the most probable class, over classes that are forecast or happen."""
    return float(_macro_f1(kernels.confusion(_cells(probabilities, label), ones(len(label))))[0])


def information_coefficient(score: Floats, forward_return: Floats, *, ranks: bool = True) -> float:
    """Correlation of a score with the return that followed: Spearman (`ranks`) or Pearson; NaN when one is constant."""
    return float(_correlations(score, forward_return, ones(len(score)), ranks=ranks)[0])


def confusion_matrix(probabilities: Floats, label: NDArray[Any]) -> Ints:
    """Rows (3, 3): what happened by what was most probable, both in the order short, neutral, long."""
    confusion: Ints = kernels.confusion(_cells(probabilities, label), ones(len(label)))[0].astype(np.int64)
    return confusion


def calibration_curve(probability: Floats, hit: NDArray[Any], bins: int = 10) -> pl.DataFrame:
    """Forecast against observed frequency of one class in bins of equal row count.

    Returns columns forecast (mean), observed (share of hits) and rows; ties never split across bins.
    """
    rank = pl.Series(probability).rank("min").to_numpy() - 1
    which = (rank * bins // len(probability)).astype(np.int64)
    frame = pl.DataFrame({"bin": which, "forecast": probability, "observed": np.asarray(hit, dtype=np.float64)})
    grouped = frame.group_by("bin", maintain_order=True).agg(pl.col("forecast", "observed").mean(), rows=pl.len())
    return grouped.sort("bin").drop("bin")


def expected_calibration_error(probabilities: Floats, label: NDArray[Any]) -> float:
    """Row-weighted gap between confidence and accuracy of the most probable class, 10 equal bins (Guo et al. 2017)."""
    return float(kernels.ece(*_confidence(probabilities, label), ones(len(label)))[0])


@dataclass(frozen=True)
class Metric:
    """One number of skill.

    Attributes:
        evaluate: (forecasts, counts (resamples, rows)) to values (resamples,); NaN where undefined.
        chance: what a forecaster who knows nothing of the moment scores on these rows; None where there is no such level.
        better: whether skill lies above or below chance.
        directional: whether it looks only at up against down. The others may rightly beat chance on a market
            without direction, by telling calm hours from wild ones.
        two_sided: whether a forecaster who knows nothing falls below chance as readily as above. A loss does not have
            this: noise that a model fitted only ever costs.
    """

    name: str
    title: str
    better: Literal["high", "low"]
    directional: bool
    two_sided: bool
    evaluate: Callable[[Forecasts, Counts], Floats]
    chance: Callable[[Forecasts], float | None]


def point(metric: Metric, forecasts: Forecasts) -> float:
    """The metric of the rows as they are."""
    return float(metric.evaluate(forecasts, ones(len(forecasts.label)))[0])


def move_losses(probabilities: Floats, label: NDArray[Any]) -> Floats:
    """The part of each row's log-loss that is about whether it moves, in nats: -log of P(neutral) or of P(long or short).

    By the chain rule the rest, `log_losses` less this, is about the side: -log P(side given a move) where it moved, else 0.
    """
    given = np.where(np.asarray(label) == 0, probabilities[:, 1], probabilities[:, 0] + probabilities[:, 2])
    losses: Floats = -np.log(np.clip(given, SMALLEST, 1.0))
    return losses


def gains(f: Forecasts) -> tuple[Floats, Floats]:
    """Nats that each row saves against `reference`, on whether it moves and on which way, each (rows,).

    Their sum is the row's gain in three-class log-loss. A forecast with the model's own P(neutral) and the
    reference's split of the move has the same first part, and none of the second.
    """
    reference = np.tile(f.shares, (len(f.label), 1)) if f.reference is None else f.reference
    whole = log_losses(reference, f.label) - log_losses(f.probabilities, f.label)
    activity = move_losses(reference, f.label) - move_losses(f.probabilities, f.label)
    rest = whole - activity
    return activity, np.where(np.abs(rest) < ROUNDING, 0.0, rest)


def _gain(f: Forecasts, counts: Counts) -> Floats:
    return kernels.means(np.add(*gains(f)), counts)


def _gain_activity(f: Forecasts, counts: Counts) -> Floats:
    return kernels.means(gains(f)[0], counts)


def _gain_direction(f: Forecasts, counts: Counts) -> Floats:
    return kernels.means(gains(f)[1], counts)


def _auc_macro(f: Forecasts, counts: Counts) -> Floats:
    each = [kernels.auc(*kernels.groups(f.probabilities[:, k]), f.outcome == k, counts) for k in range(3)]
    known = ~np.isnan(each)
    total = np.where(known, each, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, known.sum(axis=0), out=np.full(len(counts), np.nan), where=known.any(axis=0))
    return mean


def _auc_direction(f: Forecasts, counts: Counts) -> Floats:
    rows = np.flatnonzero(f.label != 0)
    return kernels.auc(*kernels.groups(f.score[rows]), f.label[rows] > 0, np.ascontiguousarray(counts[:, rows]))


def _ic_expected(f: Forecasts, counts: Counts) -> Floats:
    if np.isnan(f.expected_return).any():
        return np.full(len(counts), np.nan)
    return _correlations(f.expected_return, f.forward_return, counts, ranks=True)


def _correlations(score: Floats, forward_return: Floats, counts: Counts, *, ranks: bool) -> Floats:
    x, y = np.ascontiguousarray(score, dtype=np.float64), np.ascontiguousarray(forward_return, dtype=np.float64)
    return kernels.spearman(*kernels.groups(x), *kernels.groups(y), counts) if ranks else kernels.pearson(x, y, counts)


def _forecast_shares(f: Forecasts) -> Floats:
    shares: Floats = np.bincount(f.probabilities.argmax(axis=1), minlength=3) / len(f.label)
    return shares


def _chance_f1(f: Forecasts) -> float:
    # the same mix of forecasts, dealt at random: E[true positives] = rows x share x forecast share
    truth, forecast = f.shares, _forecast_shares(f)
    seen = (truth + forecast) > 0
    return float((2 * truth[seen] * forecast[seen] / (truth[seen] + forecast[seen])).mean())


def _chance_loss(f: Forecasts) -> float:
    return log_loss(np.tile(f.shares, (len(f.label), 1)), f.label)


def _mean_log_loss(f: Forecasts, counts: Counts) -> Floats:
    return kernels.means(log_losses(f.probabilities, f.label), counts)


def _mean_brier(f: Forecasts, counts: Counts) -> Floats:
    return kernels.means(brier_losses(f.probabilities, f.label), counts)


def _f1(f: Forecasts, counts: Counts) -> Floats:
    return _macro_f1(kernels.confusion(_cells(f.probabilities, f.label), counts))


def _hits(f: Forecasts, counts: Counts) -> Floats:
    return _accuracy(kernels.confusion(_cells(f.probabilities, f.label), counts))


def _ic_rank(f: Forecasts, counts: Counts) -> Floats:
    return _correlations(f.score, f.forward_return, counts, ranks=True)


def _ic_linear(f: Forecasts, counts: Counts) -> Floats:
    return _correlations(f.score, f.forward_return, counts, ranks=False)


def _calibration(f: Forecasts, counts: Counts) -> Floats:
    return kernels.ece(*_confidence(f.probabilities, f.label), counts)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("ic", "IC, rank", "high", True, True, _ic_rank, lambda _: 0.0),
        Metric("auc_direction", "AUC, long vs short", "high", True, True, _auc_direction, lambda _: 0.5),
        Metric("direction_gain", "Direction gain", "high", True, False, _gain_direction, lambda _: 0.0),
        Metric("ic_pearson", "IC, linear", "high", True, True, _ic_linear, lambda _: 0.0),
        Metric("ic_e_r", "IC of expected return", "high", True, True, _ic_expected, lambda _: 0.0),
        Metric("activity_gain", "Activity gain", "high", False, False, _gain_activity, lambda _: 0.0),
        Metric("log_loss_gain", "Log-loss gain", "high", False, False, _gain, lambda _: 0.0),
        Metric("log_loss", "Log-loss", "low", False, False, _mean_log_loss, _chance_loss),
        Metric("brier", "Brier score", "low", False, False, _mean_brier, lambda f: float(1 - (f.shares**2).sum())),
        Metric("auc", "AUC, one vs rest", "high", False, False, _auc_macro, lambda _: 0.5),
        Metric("macro_f1", "Macro F1", "high", False, False, _f1, _chance_f1),
        Metric("accuracy", "Accuracy", "high", False, False, _hits, lambda f: float(f.shares @ _forecast_shares(f))),
        Metric("ece", "Calibration error", "low", False, False, _calibration, lambda _: None),
    )
}


def _cells(probabilities: Floats, label: NDArray[Any]) -> Ints:
    cells: Ints = (np.asarray(label, dtype=np.int64) + 1) * 3 + probabilities.argmax(axis=1)
    return cells


def _confidence(probabilities: Floats, label: NDArray[Any]) -> tuple[Ints, Floats]:
    top = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == np.asarray(label, dtype=np.int64) + 1
    bins = np.clip(np.ceil(top * kernels.ECE_BINS).astype(np.int64) - 1, 0, kernels.ECE_BINS - 1)
    return bins, top - hit


def _macro_f1(confusion: Floats) -> Floats:
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    seen = confusion.sum(axis=1) + confusion.sum(axis=2)
    f1 = np.divide(2 * hits, seen, out=np.zeros_like(seen), where=seen > 0)
    return np.asarray(f1.sum(axis=1) / (seen > 0).sum(axis=1), dtype=np.float64)


def _accuracy(confusion: Floats) -> Floats:
    return np.asarray(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)), dtype=np.float64)
