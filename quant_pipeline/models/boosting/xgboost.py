"""XGBoost (Chen & Guestrin 2016): depth-wise boosted trees on histograms, saved as the library's own UBJSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from quant_pipeline.config.model import Settings
from quant_pipeline.models.base import ThreeClassModel
from quant_pipeline.models.contract import Floats, Samples
from quant_pipeline.models.probabilities import class_index
from quant_pipeline.models.registry import model
from quant_pipeline.views.feature_matrix import FeatureMatrix

FILE = "trees.ubj"
THREADS = 1  # as in lightgbm.py: rounding, and spinning on shared cores (0.7 s to 1.2 s idle, 7 s to 4 s when shared)


class XGBoostParams(Settings):
    """Parameters of document 003 under their scikit-learn names."""

    n_estimators: int = pydantic.Field(default=500, ge=1, le=20_000)
    learning_rate: float = pydantic.Field(default=0.05, gt=0, le=1)
    max_depth: int = pydantic.Field(default=6, ge=1, le=32)
    min_child_weight: float = pydantic.Field(default=10, ge=0)
    gamma: float = pydantic.Field(default=0.1, ge=0)
    subsample: float = pydantic.Field(default=0.8, gt=0, le=1)
    colsample_bytree: float = pydantic.Field(default=0.8, gt=0, le=1)
    reg_alpha: float = pydantic.Field(default=0.1, ge=0)
    reg_lambda: float = pydantic.Field(default=1.0, ge=0)
    early_stopping_rounds: int = pydantic.Field(default=50, ge=1)
    # the library's 256 costs three times the time for no better loss on a few thousand noisy rows
    max_bin: int = pydantic.Field(default=63, ge=2, le=1_024)


@model("xgboost", family="boosting", view="feature_matrix", params=XGBoostParams)
class XGBoost(ThreeClassModel[FeatureMatrix]):
    """Boosted trees; the trees up to the best iteration on `valid` are kept."""

    params: XGBoostParams

    def _learn(self, train: Samples[FeatureMatrix], valid: Samples[FeatureMatrix], seed: int) -> int:
        import xgboost

        data = xgboost.DMatrix(train.view.values, class_index(train.label), weight=train.weight, nthread=THREADS)
        check = xgboost.DMatrix(valid.view.values, class_index(valid.label), weight=valid.weight, nthread=THREADS)
        booster = xgboost.train(
            self._settings(seed), data, self.params.n_estimators, evals=[(check, "valid")],
            early_stopping_rounds=self.params.early_stopping_rounds, verbose_eval=False,
        )  # fmt: skip
        # what answers is what was written, so a fitted and a loaded model cannot differ
        self._open(bytes(booster[: booster.best_iteration + 1].save_raw("ubj")))
        return int(self._booster.num_boosted_rounds())

    def _settings(self, seed: int) -> dict[str, Any]:
        p = self.params
        return {
            "objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss", "verbosity": 0,
            "eta": p.learning_rate, "max_bin": p.max_bin,
            "max_depth": p.max_depth, "min_child_weight": p.min_child_weight, "gamma": p.gamma,
            "subsample": p.subsample, "colsample_bytree": p.colsample_bytree, "alpha": p.reg_alpha, "lambda": p.reg_lambda,
            "seed": seed, "tree_method": "hist", "device": "cpu", "nthread": THREADS,
        }  # fmt: skip

    def _open(self, raw: bytes) -> None:
        import xgboost

        self._raw = raw
        self._booster = xgboost.Booster({"nthread": THREADS}, model_file=bytearray(raw))

    def _scores(self, view: FeatureMatrix) -> Floats:
        import xgboost

        data = xgboost.DMatrix(view.values, nthread=THREADS)
        return np.asarray(self._booster.predict(data), dtype=np.float64)

    def _write(self, folder: Path) -> None:
        (folder / FILE).write_bytes(self._raw)

    def _read(self, folder: Path) -> None:
        self._open((folder / FILE).read_bytes())

    def _gains(self) -> Floats:
        gains = np.zeros(len(self.columns))
        for name, gain in self._booster.get_score(importance_type="total_gain").items():
            gains[int(name.removeprefix("f"))] = gain
        return gains
