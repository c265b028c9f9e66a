"""What a training read and made, and the poorer world of each of its fits: what that fit may know, and nothing else."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT, Experiment, LabelSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.errors import LeakageError
from quant_pipeline.files import frame_hash, sha256
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.labels.weights import sample_weights
from quant_pipeline.models.preparation.fold import FoldTables
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.validation.purging import Flags, Int64s, label_windows
from quant_pipeline.validation.splits import FoldRows, fold_rows
from quant_pipeline.validation.truncation import spoilt


@dataclass(frozen=True, eq=False)
class Training:
    """What a training read and made, as it is stored.

    Attributes:
        primary, path: RUNG BARS of the samples, and those that resolve the barriers.
        features: FEATURES.
        costs: of the symbol.
        experiment: its settings.
        barriers: what was tuned.
        labels, weights, splits: LABELS, WEIGHTS and SPLITS.
    """

    primary: pl.DataFrame
    path: pl.DataFrame
    features: pl.DataFrame
    costs: Costs
    experiment: Experiment
    barriers: LabelSettings
    labels: pl.DataFrame
    weights: pl.DataFrame
    splits: pl.DataFrame

    def rows(self, fold: str, labels: pl.DataFrame | None = None) -> FoldRows:
        """Rows of a fold in LABELS, or in other labels."""
        return fold_rows(self.splits, fold, self.labels if labels is None else labels, self.experiment.splits)

    def labels_at(self, moment: datetime) -> pl.DataFrame:
        """LABELS made of the bars that were known at `moment`."""
        known = pl.col("known_at") <= moment
        made = label_bars(self.primary.filter(known), self.path.filter(known), self.barriers, self.costs)[0]
        return made.join(self.features, on="decision_at", how="semi", maintain_order="left")

    def weights_of(self, labels: pl.DataFrame, moment: datetime) -> pl.DataFrame:
        """WEIGHTS of the labels that were there at `moment`."""
        return sample_weights(labels, self.experiment.weights, self.path.filter(pl.col("known_at") <= moment))

    @property
    def test_start(self) -> datetime:
        """First decision of the final test span."""
        return self.splits.filter(pl.col("fold") == HOLDOUT, pl.col("role") == "oof")["start"][0]  # type: ignore[no-any-return]

    @property
    def end(self) -> datetime:
        """When the newest bar was known."""
        return self.primary["known_at"][-1]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class FoldFits:
    """What one fold made, as it is stored: its preparation, models by name, and PREDICTIONS of its out-of-fold block."""

    fold: str
    preparation: Preparation
    models: Mapping[str, Any]
    predictions: pl.DataFrame


class World:
    """The tables without what a fit on the rows `learned` may not know: cut when the last of them was known, others spoilt."""

    def __init__(self, training: Training, learned: Int64s) -> None:
        self.training, self.learned = training, training.labels["decision_at"].gather(learned)
        ends = label_windows(training.labels).end[learned]
        self.moment: datetime = pl.Series([int(ends.max())]).cast(self.learned.dtype)[0]

    @cached_property
    def tables(self) -> FoldTables:
        """FEATURES, bars, LABELS and WEIGHTS of this world."""
        moment, seed = self.moment, self.training.experiment.seed
        labels = self.training.labels_at(moment)
        weights = self.training.weights_of(labels, moment)
        features = self.training.features.filter(pl.col("decision_at") <= moment)
        told = (spoilt(frame, self._learned_in(frame), seed=seed) for frame in (features, labels, weights))
        known, outcomes, raw = told
        return FoldTables(known, self.training.primary.filter(pl.col("known_at") <= moment), outcomes, raw)

    def places(self, rows: Int64s) -> Int64s:
        """Positions in this world's LABELS of rows of the training's; raises `LeakageError` for one that is not there yet."""
        wanted = self.training.labels[rows].select("decision_at")
        found = wanted.join(self.tables.labels.with_row_index(), on="decision_at", how="left", maintain_order="left")["index"]
        if found.null_count():
            raise LeakageError(
                "training rows", found=f"{found.null_count()} whose labels were not there at {self.moment}",
                wanted="rows that were known", mend="materialize labels and splits again, from one version of the bars",
            )  # fmt: skip
        return found.to_numpy().astype(np.int64)

    def _learned_in(self, frame: pl.DataFrame) -> Flags:
        return frame["decision_at"].is_in(self.learned.implode()).to_numpy()


def of_preparation(made: Preparation) -> dict[str, str]:
    """Digest of the regimes and of the selection with its report."""
    return {"regimes": _digest(made.regimes.to_dict()), "selection": _digest(made.selection.to_dict())}


def of_models(made: Mapping[str, Any]) -> dict[str, str]:
    """Digest of the saved bytes of each model."""
    with tempfile.TemporaryDirectory() as place:
        for name, model in made.items():
            model.save(Path(place) / name)
        return {
            f"models/{name}": _digest([(file.name, sha256(file)) for file in sorted((Path(place) / name).rglob("*"))])
            for name in made
        }


def of_meta(made: MetaFit) -> dict[str, str]:
    """Digest of the learner, of its nested forecasts and of its report."""
    return {"learner": _digest(made.learner.to_dict()), "nested": frame_hash(made.nested), "report": frame_hash(made.report)}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
