"""What a model is: its specification, the samples that it learns from, the prediction that it returns."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.config.model import Settings
from quant_pipeline.errors import DataError, ModelError
from quant_pipeline.labels.weights import mean_one
from quant_pipeline.models.probabilities import CLASSES
from quant_pipeline.views.feature_matrix import FeatureMatrix, from_frame
from quant_pipeline.views.view import View

Floats = NDArray[np.float64]
V = TypeVar("V", bound=View)
V_contra = TypeVar("V_contra", bound=View, contravariant=True)

PROBABILITIES = ("p_short", "p_neutral", "p_long")
CLASSIFIER_OUTPUTS = (*PROBABILITIES, "p_up", "e_r")
QUANTILES = ("q05", "q50", "q95")
TOLERANCE = 1e-9  # float64 rows normalised once sum to 1 within a few 1e-16


@dataclass(frozen=True)
class ModelSpec:
    """What the registry knows of a model before its library is imported.

    Attributes:
        view: kind of view that it eats, such as `feature_matrix`.
        outputs: columns of `Prediction` that it fills.
        needs_scaling: it scales its inputs, with statistics of its own training rows only.
        zero_shot: it answers without being fitted.
        causal: no output looks at a later row of the view.
        params: frozen settings class, validated before any training.
    """

    name: str
    family: str
    view: str
    params: type[Settings]
    outputs: tuple[str, ...] = CLASSIFIER_OUTPUTS
    needs_scaling: bool = False
    zero_shot: bool = False
    causal: bool = True


@dataclass(frozen=True, eq=False)
class Samples(Generic[V]):
    """Rows to learn from, in time order.

    Attributes:
        view: the inputs, (n, …).
        label: (n,) Int8 of -1, 0, 1; known only at each row's `label_end`.
        weight: (n,) finite, >= 0, not all 0; of any scale, `to_fit` sets it.
        returns: (n,) gross simple forward returns, what `e_r` is learned from.
    """

    view: V
    label: NDArray[np.int8]
    weight: Floats
    returns: Floats

    def __post_init__(self) -> None:
        lengths = {"view": len(self.view), "label": len(self.label), "weight": len(self.weight), "returns": len(self.returns)}
        if len(set(lengths.values())) != 1:
            raise DataError(
                "samples", found=lengths, wanted="one length", mend="align features, labels and weights on decision_at"
            )
        if not np.isin(self.label, CLASSES).all():
            raise DataError(
                "label", found=np.unique(self.label).tolist(), wanted="-1, 0 or 1", mend="pass the column `label` of the labels"
            )
        if not (np.isfinite(self.weight).all() and (self.weight >= 0).all()) or (len(self.weight) and not self.weight.any()):
            raise DataError(
                "weight",
                found="a negative, non-finite or all-zero column",
                wanted="finite weights >= 0",
                mend="rebuild sample_weights",
            )
        if not np.isfinite(self.returns).all():
            raise DataError("forward_return", found="NaN or infinity", wanted="finite returns", mend="rebuild the labels")

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.int64]) -> Samples[V]:
        """The samples of `rows` (positions), in that order."""
        return Samples(self.view.take(rows), self.label[rows], self.weight[rows], self.returns[rows])

    def to_fit(self) -> Samples[V]:
        """The same rows with weights of mean 1 among them: what a model or a forest is fitted on."""
        return replace(self, weight=mean_one(self.weight))


def make_samples(
    features: pl.DataFrame, labels: pl.DataFrame, weights: pl.DataFrame | None = None, columns: tuple[str, ...] | None = None
) -> Samples[FeatureMatrix]:
    """Samples in the rows and order of LABELS; FEATURES and WEIGHTS are matched on equal `decision_at`.

    Args:
        features: FEATURES; rows without a label are left out, a label without its row is refused.
        labels: LABELS, whose positions `fold_rows` counts in.
        weights: WEIGHTS (`weight`); None gives every row 1.
        columns: the features wanted; None takes all.

    Raises:
        DataError: a label without a feature row or a weight, or a column that is absent.
    """
    matched = _matched(features, labels, "features")
    weight = np.ones(len(labels)) if weights is None else _matched(weights, labels, "sample weights")["weight"].to_numpy()
    label = labels["label"].to_numpy().astype(np.int8)
    return Samples(
        from_frame(matched, columns), label, weight.astype(np.float64), labels["forward_return"].to_numpy().astype(np.float64)
    )


def _matched(frame: pl.DataFrame, labels: pl.DataFrame, name: str) -> pl.DataFrame:
    place = frame.select("decision_at").with_row_index("place")
    found = labels.select("decision_at").join(place, on="decision_at", how="left", maintain_order="left", validate="1:1")["place"]
    if found.null_count():
        first = labels["decision_at"].filter(found.is_null())[0]
        raise DataError(
            name,
            found=f"no row for {found.null_count()} labels, first at {first}",
            wanted="a row for each label",
            mend=f"rebuild {name}",
        )
    return frame[found]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Forecasts of n decisions; nothing that is not finite, and no row that is not a distribution, gets out.

    `p_up` is p_long + p_neutral / 2. `e_r` is the probability-weighted mean forward return (gross, simple) of the
    classes in the training rows. Quantiles are of the forward return; None where the model gives none.
    """

    decision_at: pl.Series
    p_short: Floats
    p_neutral: Floats
    p_long: Floats
    p_up: Floats
    e_r: Floats
    q05: Floats | None = None
    q50: Floats | None = None
    q95: Floats | None = None

    def __post_init__(self) -> None:
        for name, values in self._given().items():
            if values.shape != (len(self.decision_at),):
                _broken(name, f"shape {values.shape}", f"({len(self.decision_at)},)")
            _demand(np.isfinite(values), name, values, "a finite number")
        for name in (*PROBABILITIES, "p_up"):
            values = getattr(self, name)
            _demand((values >= 0) & (values <= 1), name, values, "a probability")
        total = self.probabilities.sum(axis=1)
        _demand(np.abs(total - 1) < TOLERANCE, "p_short + p_neutral + p_long", total, "1")
        self._check_quantiles()

    def _check_quantiles(self) -> None:
        given = [values for name in QUANTILES if (values := getattr(self, name)) is not None]
        for low, high in itertools.pairwise(given):
            _demand(low <= high, "quantiles", high, "q05 <= q50 <= q95")

    def _given(self) -> dict[str, Floats]:
        return {field.name: getattr(self, field.name) for field in fields(self)[1:] if getattr(self, field.name) is not None}

    def __len__(self) -> int:
        return len(self.decision_at)

    @property
    def probabilities(self) -> Floats:
        """(n, 3) in the order short, neutral, long."""
        return np.column_stack([self.p_short, self.p_neutral, self.p_long])

    def to_frame(self) -> pl.DataFrame:
        """`decision_at` and one Float64 column for each output given."""
        return pl.DataFrame({"decision_at": self.decision_at, **self._given()})


def _demand(holds: NDArray[np.bool_], thing: str, values: Floats, wanted: str) -> None:
    if not holds.all():
        row = int(np.flatnonzero(~holds)[0])
        _broken(f"{thing} of row {row}", values[row], wanted)


def _broken(thing: str, found: Any, wanted: str) -> None:
    raise ModelError(f"prediction: {thing}", found=found, wanted=wanted, mend="mend the model's predict")


@dataclass(frozen=True)
class TrainingMetrics:
    """What one fit did. Losses are unweighted log-losses in nats; `prior` is that of the training class shares.

    `valid` is the inner validation part of the training span: it chose when to stop, so it flatters.
    """

    rows_train: int
    rows_valid: int
    iterations: int
    train_log_loss: float
    valid_log_loss: float
    prior_log_loss: float
    class_counts: tuple[int, int, int]


class Model(Protocol[V_contra]):
    """A model of the registry.

    Same data and seed give the same saved bytes on one machine; a batch of one equals its row in any batch.
    """

    spec: ClassVar[ModelSpec]

    def fit(self, train: Samples[Any], valid: Samples[Any], seed: int) -> TrainingMetrics:
        """Learn from `train`; `valid` may only decide when to stop. Raises `ModelError` for too few rows."""

    def predict(self, view: V_contra) -> Prediction:
        """Forecast every row of the view; raises `ModelError` when unfitted, `DataError` when columns are absent."""

    def save(self, folder: Path) -> None:
        """Write a sealed folder, whole or not at all; an older one is replaced."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; raises `BundleError` for a damaged folder, `ModelError` for another model's."""

    def feature_importance(self) -> pl.DataFrame:
        """Columns `feature` and `importance` (>= 0, summing to 1), largest first."""
