"""What every three-class model shares: validated parameters, class payoffs, the probability floor, sealed folders.

A new model gives `_learn`, `_scores`, `_write`, `_read` and `_gains`; everything else is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.config.model import Settings
from quant_pipeline.errors import ModelError
from quant_pipeline.files import replacing
from quant_pipeline.models.contract import Floats, ModelSpec, Prediction, Samples, TrainingMetrics, V
from quant_pipeline.models.folder import seal, unseal
from quant_pipeline.models.probabilities import class_index, class_means, class_shares, expectation, floored, up_probability
from quant_pipeline.validation.skill import log_loss

FACTS = "model.json"
FORMAT = 1
MIN_TRAIN = 50  # below this no class mean nor split means anything
MIN_VALID = 10


class ThreeClassModel(ABC, Generic[V]):
    """Base of models that answer with p_short, p_neutral, p_long; `e_r` follows from the training rows' class means.

    A training span of one class only gives a constant forecast: that class, floored.
    """

    spec: ClassVar[ModelSpec]

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params: Settings = self.spec.params.parse(dict(params or {}), f"models.{self.spec.name}.params")
        self.columns: tuple[str, ...] = ()
        self.class_returns = (0.0, 0.0, 0.0)
        self.shares: tuple[float, ...] = ()
        self.constant = False
        self.seed = 0
        self.metrics: TrainingMetrics | None = None

    @abstractmethod
    def _learn(self, train: Samples[V], valid: Samples[V], seed: int) -> int:
        """Fit; return the number of iterations kept. At least two classes are present in `train`."""

    @abstractmethod
    def _scores(self, view: V) -> Floats:
        """Non-negative scores (n, 3), n >= 1, proportional to the probabilities."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the fitted state in the library's own format, deterministic bytes."""

    @abstractmethod
    def _read(self, folder: Path) -> None:
        """Read what `_write` wrote."""

    @abstractmethod
    def _gains(self) -> Floats:
        """Unnormalised importance (F,) >= 0 of each column."""

    def fit(self, train: Samples[V], valid: Samples[V], seed: int) -> TrainingMetrics:
        """Learn from `train`; `valid`, the inner validation part, only decides when to stop.

        Raises:
            ModelError: another kind of view, too few rows, or columns of `valid` that are not those of `train`.
        """
        self._accept(train, valid)
        train, valid = train.to_fit(), valid.to_fit()
        shares = class_shares(train.label)
        self.columns, self.seed = train.view.columns, seed
        self.shares, self.class_returns = tuple(shares.tolist()), class_means(train.returns, train.label)
        self.constant = len(np.unique(train.label)) == 1
        iterations = 0 if self.constant else self._learn(train, valid, seed)
        self.metrics = TrainingMetrics(
            rows_train=len(train), rows_valid=len(valid), iterations=iterations,
            train_log_loss=log_loss(self.predict(train.view).probabilities, train.label),
            valid_log_loss=log_loss(self.predict(valid.view).probabilities, valid.label),
            prior_log_loss=log_loss(np.tile(shares, (len(valid), 1)), valid.label),
            class_counts=_counts(train.label),
        )  # fmt: skip
        return self.metrics

    def predict(self, view: V) -> Prediction:
        """Forecast every row of `view`; columns are taken by name, extra ones ignored.

        Raises:
            ModelError: not fitted, or another kind of view.
            DataError: a column that it was trained on is absent.
        """
        if not self.columns:
            raise ModelError(
                f"model {self.spec.name}",
                found="an unfitted model",
                wanted="a fitted one",
                mend="call fit, or load a saved model",
            )
        self._demand_kind(view)
        p = self._probabilities(view.select(self.columns))
        return Prediction(
            view.decision_at,
            p[:, 0].copy(),
            p[:, 1].copy(),
            p[:, 2].copy(),
            up_probability(p),
            expectation(p, self.class_returns),
        )

    def _probabilities(self, view: V) -> Floats:
        if not len(view):
            return np.zeros((0, 3))
        if self.constant:
            return np.tile(floored(np.array([self.shares])), (len(view), 1))
        return floored(self._scores(view))

    def save(self, folder: Path) -> None:
        """Write a sealed folder, whole or not at all; an older one is replaced."""
        if self.metrics is None:
            raise ModelError(
                f"model {self.spec.name}", found="an unfitted model", wanted="a fitted one", mend="call fit before save"
            )
        with replacing(folder) as temporary:
            temporary.mkdir(parents=True)
            if not self.constant:
                self._write(temporary)
            seal(temporary, FACTS, self._facts())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: a damaged or foreign folder; the message names the file.
            ModelError: the folder of another model, or of a newer format.
        """
        facts = unseal(folder, FACTS)
        kind = (facts.get("format"), facts.get("model"))
        if kind != (FORMAT, cls.spec.name):
            raise ModelError(
                str(folder),
                found=f"format {kind[0]} of model {kind[1]!r}",
                wanted=f"format {FORMAT} of model {cls.spec.name!r}",
                mend="load it with registry.load_model, or train it again",
            )
        model = cls(facts["params"])
        model._restore(facts)
        if not model.constant:
            model._read(folder)
        return model

    def feature_importance(self) -> pl.DataFrame:
        """Columns `feature` and `importance` (>= 0, summing to 1), largest first; equal shares when nothing was learned."""
        gains = np.zeros(len(self.columns)) if self.constant else self._gains()
        shares = gains / gains.sum() if gains.sum() > 0 else np.full(len(gains), 1 / max(len(gains), 1))
        return pl.DataFrame({"feature": self.columns, "importance": shares}).sort(
            "importance", "feature", descending=[True, False]
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": self.spec.name,
            "params": self.params.model_dump(mode="json"),
            "seed": self.seed,
            "columns": list(self.columns),
            "class_returns": list(self.class_returns),
            "shares": list(self.shares),
            "constant": self.constant,
            "metrics": asdict(self.metrics) if self.metrics else None,
        }

    def _restore(self, facts: dict[str, Any]) -> None:
        self.columns, self.seed, self.constant = tuple(facts["columns"]), facts["seed"], facts["constant"]
        short, neutral, long = facts["class_returns"]
        self.class_returns, self.shares = (short, neutral, long), tuple(facts["shares"])
        metrics = facts["metrics"]
        self.metrics = TrainingMetrics(**{**metrics, "class_counts": tuple(metrics["class_counts"])})

    def _accept(self, train: Samples[V], valid: Samples[V]) -> None:
        self._demand_kind(train.view)
        rows = {"train": (len(train), MIN_TRAIN), "valid": (len(valid), MIN_VALID)}
        for part, (found, least) in rows.items():
            if found < least:
                mend = "use a longer history, fewer folds or a larger splits.first_train"
                raise ModelError(f"{part} rows of model {self.spec.name}", found=found, wanted=f"at least {least}", mend=mend)
        if train.view.columns != valid.view.columns or not train.view.columns:
            differ = "columns of train and valid that differ, or none"
            raise ModelError(f"model {self.spec.name}", found=differ, wanted="one set", mend="cut both from one view with take")

    def _demand_kind(self, view: V) -> None:
        if view.kind != self.spec.view:
            raise ModelError(
                f"view of model {self.spec.name}",
                found=view.kind,
                wanted=self.spec.view,
                mend="build the view that the spec names",
            )


def _counts(label: NDArray[np.int8]) -> tuple[int, int, int]:
    short, neutral, long = np.bincount(class_index(label), minlength=3).tolist()
    return short, neutral, long
