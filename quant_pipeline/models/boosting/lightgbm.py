"""LightGBM (Ke et al. 2017): leaf-wise boosted trees on binned features, saved as the library's own text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from quant_pipeline.config.model import Settings
from quant_pipeline.models.base import ThreeClassModel
from quant_pipeline.models.contract import Floats, Samples
from quant_pipeline.models.probabilities import class_index
from quant_pipeline.models.registry import model
from quant_pipeline.views.feature_matrix import FeatureMatrix

if TYPE_CHECKING:
    import lightgbm


FILE = "trees.txt"
# Part of the result: sums of histograms round by thread. And OpenMP threads spin while they wait: two of them take 0.8 s
# for 3,600 rows x 150 on two idle cores, one takes 1.3 s; with three fits on those cores two take 14 to 90 s, one takes 4 s.
THREADS = 1


class LightGBMParams(Settings):
    """Parameters of document 003 under their scikit-learn names."""

    n_estimators: int = pydantic.Field(default=500, ge=1, le=20_000)
    learning_rate: float = pydantic.Field(default=0.05, gt=0, le=1)
    max_depth: int = pydantic.Field(default=6, ge=1, le=32)
    num_leaves: int = pydantic.Field(default=31, ge=2, le=4_096)
    min_child_samples: int = pydantic.Field(default=20, ge=1)
    subsample: float = pydantic.Field(default=0.8, gt=0, le=1)
    colsample_bytree: float = pydantic.Field(default=0.8, gt=0, le=1)
    reg_alpha: float = pydantic.Field(default=0.1, ge=0)
    reg_lambda: float = pydantic.Field(default=1.0, ge=0)
    early_stopping_rounds: int = pydantic.Field(default=50, ge=1)
    # the library's 255 costs three times the time for no better loss on a few thousand noisy rows
    max_bin: int = pydantic.Field(default=63, ge=2, le=255)


@model("lightgbm", family="boosting", view="feature_matrix", params=LightGBMParams)
class LightGBM(ThreeClassModel[FeatureMatrix]):
    """Boosted trees; the trees up to the best iteration on `valid` are kept."""

    params: LightGBMParams

    def _learn(self, train: Samples[FeatureMatrix], valid: Samples[FeatureMatrix], seed: int) -> int:
        import lightgbm

        settings = self._settings(seed)
        data = lightgbm.Dataset(train.view.values, class_index(train.label), weight=train.weight, params=settings)
        check = data.create_valid(valid.view.values, class_index(valid.label), weight=valid.weight)
        stop = lightgbm.early_stopping(self.params.early_stopping_rounds, verbose=False)
        booster = lightgbm.train(settings, data, self.params.n_estimators, valid_sets=[check], callbacks=[stop])
        # what answers is what was written, so a fitted and a loaded model cannot differ
        self._open(booster.model_to_string(num_iteration=booster.best_iteration))
        return int(self._booster.current_iteration())

    def _settings(self, seed: int) -> dict[str, Any]:
        p = self.params
        return {
            "objective": "multiclass", "num_class": 3, "metric": "multi_logloss", "verbosity": -1,
            "learning_rate": p.learning_rate, "max_bin": p.max_bin,
            "max_depth": p.max_depth, "num_leaves": p.num_leaves, "min_data_in_leaf": p.min_child_samples,
            # the native library ignores a bagging fraction unless it is told how often to bag
            "bagging_fraction": p.subsample, "bagging_freq": 1 if p.subsample < 1 else 0,
            "feature_fraction": p.colsample_bytree, "lambda_l1": p.reg_alpha, "lambda_l2": p.reg_lambda,
            "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": THREADS,
        }  # fmt: skip

    def _open(self, text: str) -> None:
        import lightgbm

        self._text = text
        self._booster: lightgbm.Booster = lightgbm.Booster(model_str=text)

    def _scores(self, view: FeatureMatrix) -> Floats:
        return np.asarray(self._booster.predict(view.values, num_threads=THREADS), dtype=np.float64)

    def _write(self, folder: Path) -> None:
        (folder / FILE).write_text(self._text, encoding="utf-8")

    def _read(self, folder: Path) -> None:
        self._open((folder / FILE).read_text(encoding="utf-8"))

    def _gains(self) -> Floats:
        return np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
