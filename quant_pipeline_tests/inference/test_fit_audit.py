"""The fold-truncation audit on a small training, honest and with one edit of the source at a time.

Each edit is one that a person makes by mistake and that other tests let pass. It is made before the training, so that what
the audit makes again is made by the edited code, too, as it would be in a checkout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import HOLDOUT, Experiment
from quant_pipeline.config.universe import Costs
from quant_pipeline.ensemble import meta
from quant_pipeline.ensemble.fit import fit_ensemble
from quant_pipeline.ensemble.oof import oof_frame
from quant_pipeline.errors import LeakageError
from quant_pipeline.inference import build, fit_audit, training
from quant_pipeline.inference.training import FoldFits, Training
from quant_pipeline.labels import triple_barrier, tuning, weights
from quant_pipeline.models import fold as fold_fits
from quant_pipeline.models.preparation import fold as preparing
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
    """A few columns that know the past only, with holes."""
    rng, log = np.random.default_rng(6), pl.col("close").log()
    made = {f"log_return_{k}_1h": log.diff(k) for k in (1, 2, 5, 20)} | {"log_return_wide_1h": log.diff().rolling_std(20)}
    noise = {f"log_return_noise_{k}_1h": pl.Series(rng.standard_normal(primary.height)) for k in range(3)}
    frame = primary.select("timestamp", decision_at="known_at", **made).with_columns(**noise)
    there = {name: pl.when(pl.Series(rng.random(primary.height) < 0.8)).then(name) for name in frame.columns[2:]}
    return frame.with_columns(**there)[21:]


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


def fit_fold(made: Training, fold: str, learned: Callable[[FoldRows], FoldRows] = lambda rows: rows) -> FoldFits:
    """What the assets of a fold make; `learned` may hand them other rows than those of the fold."""
    experiment, read = made.experiment, preparing.FoldTables(made.features, made.primary, made.labels, made.weights)
    own = splitting.fold_rows(made.splits, fold, made.labels, experiment.splits)
    rows = learned(own)
    regimes = preparing.fit_regimes(made.primary, made.labels, rows.train, experiment)
    chosen = preparing.fit_selection(read, regimes, rows.train, experiment)
    parts = rows.train, rows.valid
    models = {one.name: fold_fits.fit_model(read, chosen, *parts, one, experiment)[0] for one in experiment.models}
    block = made.labels[own.oof]
    told = fold_fits.predict_block(made.features, made.primary, block, chosen, models)
    frames = [oof_frame(said, timestamp=block["timestamp"], fold=fold, model=name) for name, said in told.items()]
    return FoldFits(fold, chosen, models, pl.concat(frames))


@dataclass(frozen=True)
class Made:
    """A whole training, made by the functions that the assets call, as they call them."""

    tables: Training
    folds: dict[str, FoldFits]

    def fit_meta(self, labels: pl.DataFrame) -> meta.MetaFit:
        before = pl.concat(fits.predictions for fold, fits in self.folds.items() if fold != HOLDOUT)
        return fit_ensemble(before, labels, MODELS, self.tables.experiment, self.tables.test_start)

    def meta_faults(self) -> set[str]:
        return where(fit_audit.audit_meta(self.tables, self.fit_meta(self.tables.labels), self.fit_meta))

    def holdout_faults(self, learned: Callable[[FoldRows], FoldRows] = lambda rows: rows) -> set[str]:
        return where(fit_audit.audit_fold(self.tables, fit_fold(self.tables, HOLDOUT, learned), MODELS))


def where(faults: pl.DataFrame) -> set[str]:
    return set(faults["where"])


def train(experiment: Experiment) -> Made:
    made = tables(experiment)
    return Made(made, {fold: fit_fold(made, fold) for fold in experiment.splits.fold_names})


@pytest.fixture(scope="module")
def honest() -> Made:
    return train(EXPERIMENT)


@pytest.fixture
def edit(monkeypatch) -> Callable[..., None]:
    """Put `wrong(original, ...)` in the place of a function wherever it is used."""

    def put(name: str, wrong: Callable[..., object], *modules: object) -> None:
        original = getattr(modules[0], name)
        for module in modules:
            monkeypatch.setattr(module, name, lambda *given, **named: wrong(original, *given, **named))

    return put


def test_an_honest_training_has_no_faults(honest):
    assert fit_audit.audit_tables(honest.tables).is_empty()
    for fits in honest.folds.values():
        assert fit_audit.audit_fold(honest.tables, fits, MODELS).to_dicts() == []
    assert honest.meta_faults() == set()


@pytest.mark.parametrize("scheme", [{"scheme": "rolling"}, {"scheme": "purged_kfold"}, {"scheme": "combinatorial", "folds": 3}])
def test_other_schemes_have_none_either(scheme):
    made = train(EXPERIMENT.model_copy(update={"splits": EXPERIMENT.splits.model_copy(update=scheme)}))
    assert fit_audit.audit_tables(made.tables).to_dicts() == []
    for fold in (made.tables.experiment.splits.fold_names[0], HOLDOUT):
        assert fit_audit.audit_fold(made.tables, made.folds[fold], MODELS).to_dicts() == []
    assert made.meta_faults() == set()


def test_rows_of_an_asset_that_stops_early_on_the_block_are_told(honest):
    assert honest.holdout_faults(lambda rows: replace(rows, valid=rows.oof)) == {f"holdout: models/{name}" for name in MODELS}


def test_an_asset_that_selects_on_all_rows_is_told(honest):
    found = honest.holdout_faults(lambda rows: replace(rows, train=np.union1d(rows.train, rows.oof)))
    assert {"holdout: selection", "holdout: regimes"} <= found


def _valid_to_the_end(fit, tables, chosen, train, valid, *rest: Any):
    return fit(tables, chosen, train, np.arange(valid[0], tables.labels.height), *rest)


def _all_rows(fit, tables, regimes, _, *rest: Any):
    return fit(tables, regimes, np.arange(tables.labels.height), *rest)


def _longer_seed(fit, tables, *rest: Any):
    *rest, experiment = rest
    return fit(tables, *rest, experiment.model_copy(update={"seed": experiment.seed + tables.labels.height}))


def _all_bars(fit, bars, labels, _, experiment):
    return fit(bars, labels, np.arange(labels.height), experiment)


@pytest.mark.parametrize(
    ("module", "name", "wrong", "found"),
    [
        (fold_fits, "fit_model", _valid_to_the_end, "models/lightgbm"),
        (preparing, "fit_selection", _all_rows, "selection"),
        (fold_fits, "fit_model", _longer_seed, "models/lightgbm"),
        (preparing, "fit_selection", _longer_seed, "selection"),
        (preparing, "fit_regimes", _all_bars, "regimes"),
    ],
    ids=["early stopping on the block", "selection on all rows", "length in a seed", "length in the selection's seed",
         "regimes on all rows"],
)  # fmt: skip
def test_a_fit_that_reads_later_rows_is_told(honest, edit, module, name, wrong, found):
    edit(name, wrong, module, fit_audit)
    assert f"holdout: {found}" in honest.holdout_faults()


def _filled(make, features, *rest: Any):
    medians = [pl.col(name).fill_null(features[name].median()) for name in features.columns if name.startswith("log_return")]
    return make(features.with_columns(medians), *rest)


def _own_batch(transform, scaler, values):
    return transform(Scaler(scaler.median, np.nan_to_num(values).mean(axis=0), scaler.std, scaler.clip), values)


def _all_weighed(weigh, labels, weights, settings):
    return weigh(labels, weights, settings).with_columns(pl.col("weight") / weights["weight"].mean())


def test_a_median_of_the_whole_sample_is_told(honest, edit):
    edit("make_samples", _filled, preparing, fold_fits)
    assert honest.holdout_faults() >= {"holdout: selection", "holdout: models/logistic", "holdout: oof/lightgbm"}


def test_a_scaler_that_reads_the_block_it_predicts_is_told(honest, edit):
    edit("transform", _own_batch, Scaler)
    assert "holdout: oof/logistic" in honest.holdout_faults()


def test_weights_scaled_by_all_rows_are_told(honest, edit, monkeypatch):
    edit("weights_among", _all_weighed, preparing)
    monkeypatch.setattr("quant_pipeline.models.contract.mean_one", lambda weight: weight)
    assert honest.holdout_faults() >= {f"holdout: models/{name}" for name in MODELS}


TUNED = EXPERIMENT.model_copy(update={"labels": EXPERIMENT.labels.model_copy(update={"tune_trials": 16})})


def _without_until(tune, *given: Any, until: datetime, **rest: Any):
    return tune(*given, until=until + timedelta(days=999), **rest)


def test_barriers_tuned_on_all_rows_are_told(edit):
    edit("tune_barriers", _without_until, tuning, fit_audit)
    assert "tuning: barriers" in where(fit_audit.audit_tables(tables(TUNED)))


def test_barriers_that_the_training_bars_do_not_give_are_told(honest):
    """As an asset would store that tunes on other bars than it says."""
    made = honest.tables
    later = made.barriers.model_copy(update={"max_bars": made.barriers.max_bars + 1})
    labels = triple_barrier.label_bars(made.primary, made.path, later, COSTS)[0].join(made.features, on="decision_at", how="semi")
    other = replace(made, barriers=later, labels=labels, weights=weights.sample_weights(labels, EXPERIMENT.weights, made.path))
    assert "tuning: barriers" in where(fit_audit.audit_tables(other))


def test_tuning_that_reaches_into_the_first_block_is_told(honest):
    early = honest.tables.splits.with_columns(pl.col("start") - timedelta(days=9))
    assert "tuning" in where(fit_audit.audit_tables(replace(honest.tables, splits=early)))


def _no_pause(label, primary, path, *rest: Any):
    made, ledger = label(primary, path, *rest)
    following = primary.select(pl.col("known_at").alias("decision_at"), pause=pl.col("timestamp").shift(-1) - pl.col("known_at"))
    return made.join(following.filter(pl.col("pause") < timedelta(hours=2)), on="decision_at", how="semi"), ledger


def _moving(label, *given: Any):
    made, ledger = label(*given)
    return made.filter(pl.col("forward_return").abs() > 5e-4), ledger


def _earlier(column, by):
    def wrong(label, *given: Any):
        made, ledger = label(*given)
        return made.with_columns(pl.max_horizontal(pl.col(column) - by, "entry_at").alias(column)), ledger

    return wrong


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (_no_pause, "rows"),
        (_moving, "rows"),
        (_earlier("label_end", timedelta(minutes=30)), "label"),
        (_earlier("horizon_end", timedelta(hours=1)), "forward_return"),
    ],
    ids=["no rows before a pause", "no rows that hardly move", "label_end understated", "horizon_end understated"],
)
def test_labels_that_know_more_than_they_say_are_told(edit, wrong, found):
    edit("label_bars", wrong, triple_barrier, training, fit_audit)
    assert found in where(fit_audit.audit_tables(tables()))


def test_an_asset_that_leaves_rows_out_of_the_labels_is_told(honest):
    fewer = honest.tables.labels.filter(pl.col("forward_return").abs() > 5e-4)
    assert not fit_audit.audit_tables(replace(honest.tables, labels=fewer)).is_empty()


def _moving_rows(rows, splits, fold, labels, settings):
    honest, moving = rows(splits, fold, labels, settings), np.flatnonzero(labels["forward_return"].abs() > 5e-4)
    return replace(honest, oof=np.intersect1d(honest.oof, moving))


def _trained_on_winners(rows, splits, fold, labels, settings):
    honest, won = rows(splits, fold, labels, settings), np.flatnonzero(labels["label"] != 0)
    return replace(honest, train=np.intersect1d(honest.train, won))


@pytest.mark.parametrize(("wrong", "role"), [(_moving_rows, "oof"), (_trained_on_winners, "train")])
def test_fold_rows_chosen_by_their_outcomes_are_told(honest, edit, wrong, role):
    edit("fold_rows", wrong, splitting, training)
    assert f"holdout: {role} rows" in honest.holdout_faults()


def test_a_meta_learner_on_labels_that_are_open_when_the_holdout_starts_is_told(honest, edit):
    edit("_known_by", lambda *given: given[1], meta)
    assert "meta_learner: learner" in honest.meta_faults()


def test_the_bundle_says_nothing_of_the_final_test_span(honest, tmp_path, monkeypatch):
    """Its bytes are the same whatever happened there; a threshold chosen there is told."""
    made = honest.tables
    fits, settings = honest.folds[HOLDOUT], EXPERIMENT

    def sealed(labels: pl.DataFrame, known: pl.DataFrame, name: str) -> str:
        parts = build.BundleParts(
            fits.models, honest.fit_meta(made.labels), fits.preparation, known, made.primary, labels, made.splits
        )
        folder, _ = build.build_bundle(
            tmp_path / name, parts, settings, symbol="X", as_of=made.end, data_fingerprint="", test_log=tmp_path / "log",
            who="test", when=made.end,
        )  # fmt: skip
        return folder.name

    other = fit_audit.not_yet_known(made.labels, made.test_start, seed=1)
    spoilt = fit_audit.spoilt(made.features, (made.features["decision_at"] < made.test_start).to_numpy(), seed=1)
    assert sealed(made.labels, made.features, "a") == sealed(other, spoilt, "b")
    honest_facts = build._facts

    def with_threshold(parts, rows, *rest: Any):
        facts, happened = honest_facts(parts, rows, *rest), parts.labels[rows.oof]["forward_return"]
        return facts.model_copy(update={"metrics": {**facts.metrics, "threshold": float(happened.abs().median())}})

    monkeypatch.setattr(build, "_facts", with_threshold)
    assert sealed(made.labels, made.features, "c") != sealed(other, spoilt, "d")


def test_faults_stop_the_bundle_and_are_named(honest):
    fit_audit.require_sound(pl.DataFrame(), "X")
    faults = fit_audit.audit_fold(
        honest.tables, fit_fold(honest.tables, HOLDOUT, lambda rows: replace(rows, valid=rows.oof)), MODELS
    )
    with pytest.raises(LeakageError, match="training of X: found holdout: models/lightgbm depends on what it may not know"):
        fit_audit.require_sound(faults, "X")
