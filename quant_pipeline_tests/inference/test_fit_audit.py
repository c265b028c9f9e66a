"""The fold-truncation audit on a small training, honest and with one edit of the source at a time.

Each edit is one that a person makes by mistake and that other tests let pass. It is made before the training, so that what
the audit makes again is made by the edited code, too, as it would be in a checkout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import HOLDOUT, Experiment
from quant_pipeline.config.universe import Costs
from quant_pipeline.ensemble import meta
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.ensemble.oof import oof_frame
from quant_pipeline.errors import LeakageError
from quant_pipeline.inference import build, fit_audit, training
from quant_pipeline.inference.training import FoldFits, Training
from quant_pipeline.labels import triple_barrier, tuning, weights
from quant_pipeline.models import fold as fold_fits
from quant_pipeline.models.boosting.lightgbm import LightGBM
from quant_pipeline.models.scaling import Scaler
from quant_pipeline.validation import splits as splitting
from quant_pipeline.validation.splits import FoldRows, first_training_end

START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 84
COSTS = Costs(fee_bps=1)
EXPERIMENT = Experiment.parse({
    "name": "tiny", "features": {"families": ["returns"]}, "ladder": ["1m", "15m", "1h"], "regime_states": 2,
    "labels": {"tune_trials": 4, "max_bars": 4}, "splits": {"folds": 2, "embargo": "3h"},
    "selection": {"folds": 2, "permutations": 1, "min_features": 4, "max_features": 6, "embargo": "3h"},
    "models": [{"name": "lightgbm", "params": {"n_estimators": 12, "num_leaves": 5, "early_stopping_rounds": 3}},
               {"name": "logistic", "params": {"C": 0.1, "max_iter": 40}}],
}, "tiny")  # fmt: skip
MODELS = ("lightgbm", "logistic")


def quarters() -> pl.DataFrame:
    """15m RUNG BARS of a random walk that rests at weekends; volatility comes in waves."""
    rng = np.random.default_rng(5)
    opens = pl.datetime_range(START, START + timedelta(days=DAYS), "15m", closed="left", time_unit="us", eager=True)
    opens = opens.filter(opens.dt.weekday() < 6)
    count = len(opens)
    width = 1e-3 * (1.0 + 0.7 * np.sin(np.arange(count) / 150))
    close = 100 * np.exp(np.cumsum(width * rng.standard_normal(count)))
    opened = np.append(100.0, close[:-1])
    wick = 1 + 0.4 * width * rng.random(count)
    frame = pl.DataFrame({
        "timestamp": opens, "known_at": opens.dt.offset_by("15m"), "open": opened, "high": np.maximum(opened, close) * wick,
        "low": np.minimum(opened, close) / wick, "close": close,
    })  # fmt: skip
    return frame.with_columns(volume=pl.lit(1.0))


def hours(path: pl.DataFrame) -> pl.DataFrame:
    bars = path.group_by_dynamic("timestamp", every="1h").agg(
        pl.col("known_at").last(), pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    )
    return bars.with_columns(volume=pl.lit(1.0))


def features(primary: pl.DataFrame) -> pl.DataFrame:
    """A few columns that know the past only; one has holes."""
    rng, log = np.random.default_rng(6), pl.col("close").log()
    made = {f"log_return_{k}_1h": log.diff(k) for k in (1, 2, 5, 20)} | {"log_return_wide_1h": log.diff().rolling_std(20)}
    noise = {f"log_return_noise_{k}_1h": pl.Series(rng.standard_normal(primary.height)) for k in range(3)}
    frame = primary.select("timestamp", decision_at="known_at", **made).with_columns(**noise)
    holes = pl.Series(rng.random(primary.height) < 0.3)
    return frame.with_columns(pl.when(~holes).then(pl.col("log_return_2_1h")).alias("log_return_2_1h"))[21:]


@dataclass(frozen=True)
class Made:
    """A whole training, made by the functions that the assets call, as they call them."""

    tables: Training
    folds: dict[str, FoldFits]
    meta: MetaFit
    fit_meta: Callable[[pl.DataFrame], MetaFit]

    def faults(self, folds: tuple[str, ...] = (HOLDOUT,)) -> set[str]:
        told = [fit_audit.audit_tables(self.tables), fit_audit.audit_meta(self.tables, self.meta, self.fit_meta)]
        told += [fit_audit.audit_fold(self.tables, self.folds[fold], MODELS) for fold in folds]
        return set(pl.concat(told)["where"])


def tables(experiment: Experiment = EXPERIMENT) -> Training:
    path = quarters()
    primary = hours(path)
    known = features(primary)
    until = first_training_end(primary["known_at"], experiment.splits)
    barriers = tuning.tune_barriers(primary, path, experiment.labels, COSTS, until=until, seed=experiment.seed)
    labels = triple_barrier.label_bars(primary, path, barriers, COSTS)[0].join(known, on="decision_at", how="semi")
    weighed = weights.sample_weights(labels, experiment.weights, path)
    return Training(
        primary, path, known, COSTS, experiment, barriers, labels, weighed, splitting.make_splits(labels, experiment.splits)
    )


def train(made: Training) -> Made:
    experiment, read = made.experiment, fold_fits.FoldTables(made.features, made.primary, made.labels, made.weights)
    folds = {}
    for fold in experiment.splits.fold_names:
        rows = splitting.fold_rows(made.splits, fold, made.labels, experiment.splits)
        regimes = fold_fits.fit_regimes(made.primary, made.labels, rows.train, experiment)
        chosen = fold_fits.fit_selection(read, regimes, rows.train, experiment)
        models = {
            one.name: fold_fits.fit_model(read, chosen, rows.train, rows.valid, one, experiment)[0] for one in experiment.models
        }
        block = made.labels[rows.oof]
        told = fold_fits.predict_block(made.features, made.primary, block, chosen, models)
        frames = [oof_frame(said, timestamp=block["timestamp"], fold=fold, model=name) for name, said in told.items()]
        folds[fold] = FoldFits(fold, chosen, models, pl.concat(frames))
    rows_before = pl.concat(fits.predictions for fold, fits in folds.items() if fold != HOLDOUT)

    def fit(labels: pl.DataFrame) -> MetaFit:
        return meta.fit_meta(
            rows_before, labels, MODELS, experiment.ensemble, experiment.calibration, until=made.test_start
        )

    return Made(made, folds, fit(made.labels), fit)


@pytest.fixture(scope="module")
def honest() -> Made:
    return train(tables())


def test_an_honest_training_has_no_faults_in_any_fold(honest):
    assert honest.faults(EXPERIMENT.splits.fold_names) == set()
