"""Multinomial logistic regression with an L2 penalty, fitted by scikit-learn's L-BFGS, answered in plain NumPy."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydantic

from quant_pipeline.config.model import Settings
from quant_pipeline.models.base import ThreeClassModel
from quant_pipeline.models.contract import Floats, Samples
from quant_pipeline.models.probabilities import class_index, softmax
from quant_pipeline.models.registry import model
from quant_pipeline.models.scaling import Scaler
from quant_pipeline.validation.skill import log_loss
from quant_pipeline.views.feature_matrix import FeatureMatrix

FILE = "weights.safetensors"
ABSENT = -30.0  # logit of a class without training rows: e^-30, lifted by the probability floor


class LogisticParams(Settings):
    """Parameters of document 003. `C` is the inverse penalty on the summed loss, as scikit-learn counts it.

    `C_grid`, when not empty, replaces `C` by whichever of its values has the smallest log-loss on the inner validation
    part. `clip` bounds the standardised features, so that one wild bar cannot decide alone.
    """

    C: float = pydantic.Field(default=1.0, gt=0)
    C_grid: tuple[pydantic.PositiveFloat, ...] = ()
    max_iter: int = pydantic.Field(default=500, ge=1, le=100_000)
    clip: float = pydantic.Field(default=5.0, gt=0)


@model("logistic", family="classical", view="feature_matrix", params=LogisticParams, needs_scaling=True)
class Logistic(ThreeClassModel[FeatureMatrix]):
    """Coefficients (3, F) and intercepts (3,) on features scaled by the training rows."""

    params: LogisticParams
    scaler: Scaler
    coef: Floats
    intercept: Floats

    def _learn(self, train: Samples[FeatureMatrix], valid: Samples[FeatureMatrix], seed: int) -> int:  # noqa: ARG002 - L-BFGS draws nothing
        self.scaler = Scaler.fit(train.view.values, self.params.clip)
        x = self.scaler.transform(train.view.values)
        tried: list[tuple[float, int, Floats, Floats, int]] = []
        # strongest penalty first: on equal losses the simpler fit stays
        for strength in sorted(self.params.C_grid or (self.params.C,)):
            coef, intercept, iterations = self._solve(x, train, strength)
            self.coef, self.intercept = coef, intercept
            loss = log_loss(softmax(self._logits(self.scaler.transform(valid.view.values))), valid.label)
            tried.append((loss, len(tried), coef, intercept, iterations))
        _, _, self.coef, self.intercept, iterations = min(tried, key=lambda one: one[:2])
        return iterations

    def _solve(self, x: Floats, train: Samples[FeatureMatrix], strength: float) -> tuple[Floats, Floats, int]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # comes with scikit-learn

        # one BLAS thread: how many there are would show in the last bits of the weights
        with warnings.catch_warnings(), threadpool_limits(limits=1):
            # the iterations used are in the metrics, beside max_iter
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver = LogisticRegression(C=strength, max_iter=self.params.max_iter)
            solver.fit(x, class_index(train.label), sample_weight=train.weight)
        coef, intercept = _three_rows(solver.classes_, solver.coef_, solver.intercept_)
        return coef, intercept, int(solver.n_iter_[0])

    def _logits(self, x: Floats) -> Floats:
        # no matrix product: BLAS rounds a row differently in batches of another size
        return np.column_stack([(x * self.coef[k]).sum(axis=1) + self.intercept[k] for k in range(3)])

    def _scores(self, view: FeatureMatrix) -> Floats:
        return softmax(self._logits(self.scaler.transform(view.values)))

    def _write(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        s = self.scaler
        arrays = {"coef": self.coef, "intercept": self.intercept, "median": s.median, "mean": s.mean, "std": s.std}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / FILE)

    def _read(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        arrays = load_file(folder / FILE)
        self.coef, self.intercept = arrays["coef"], arrays["intercept"]
        self.scaler = Scaler(arrays["median"], arrays["mean"], arrays["std"], self.params.clip)

    def _gains(self) -> Floats:
        # a shift of all three rows changes no probability, so importance is the spread between classes
        spread: Floats = self.coef.max(axis=0) - self.coef.min(axis=0)
        return spread


def _three_rows(classes: np.ndarray, coef: Floats, intercept: Floats) -> tuple[Floats, Floats]:
    """Weights for all three classes, from scikit-learn's, which has one row for two classes and none for an absent one."""
    if len(classes) == 2:  # noqa: PLR2004 - sigmoid(z) is the softmax of (0, z)
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    rows, offsets = np.zeros((3, coef.shape[1])), np.full(3, ABSENT)
    rows[classes], offsets[classes] = coef, intercept
    return rows, offsets
