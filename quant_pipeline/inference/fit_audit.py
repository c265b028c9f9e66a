"""The fold-truncation audit of a training: what it made, made again from what each fold could know, and compared by bytes.

`validation/truncation.py` has the worlds and the comparison; here is what a training consists of.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import polars as pl

from quant_pipeline.config.commands import command
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.errors import LeakageError
from quant_pipeline.files import frame_hash
from quant_pipeline.inference.training import FoldFits, Training, World, of_meta, of_models, of_preparation
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.labels.tuning import tune_barriers
from quant_pipeline.models.fold import fit_model, predict_block
from quant_pipeline.models.preparation.fold import fit_regimes, fit_selection
from quant_pipeline.validation.audit import prefix_audit
from quant_pipeline.validation.purging import Int64s
from quant_pipeline.validation.splits import first_training_end, make_splits
from quant_pipeline.validation.truncation import (
    existence_audit,
    label_audit,
    not_yet_known,
    rows_audit,
    spoilt,
    trending,
    truncation_audit,
)

WALKED = 60
"""Labels that the slow oracle walks again, spread over the history: about a millisecond each."""
FUTURES = 3
"""Moments whose future is changed at random; as many again stand before the longest pauses of the market."""


def audit_tables(training: Training) -> pl.DataFrame:
    """Faults of barriers, labels, weights and splits, and of which rows there are."""
    cuts = [training.test_start, training.end]
    primary, rules = training.primary, training.barriers
    return pl.concat([
        _barriers(training),
        prefix_audit(training.labels_at, training.labels, cuts, at="horizon_end"),
        prefix_audit(
            lambda cut: training.weights_of(training.labels_at(cut), cut), training.weights, cuts, at="known_at"
        ),
        truncation_audit({"splits": frame_hash(training.splits)}, lambda: {"splits": frame_hash(
            make_splits(training.labels, training.experiment.splits))}, where="boundaries", at=training.end),
        label_audit(training.labels, training.path, rules, _spread(training.labels.height, WALKED)),
        existence_audit(
            lambda bars, path: label_bars(bars, path, rules, training.costs)[0]["decision_at"], primary, training.path,
            _moments(training), before=rules.atr_period + rules.max_bars + 1, after=2 * rules.max_bars + 1,
        ),
    ])  # fmt: skip


def audit_fold(training: Training, fits: FoldFits, models: tuple[str, ...]) -> pl.DataFrame:
    """Faults of one fold: its rows, regimes, selection, those of its models that are named, and all its predictions."""
    rows, experiment, fold = training.rows(fits.fold), training.experiment, fits.fold
    told = [
        rows_audit(lambda labels: training.rows(fold, labels), training.labels, training.splits, fold=fold, seed=experiment.seed)
    ]
    early, late = (World(training, learned) for learned in (rows.train, np.union1d(rows.train, rows.valid)))

    def prepared() -> dict[str, str]:
        regimes = fit_regimes(early.tables.bars, early.tables.labels, early.places(rows.train), experiment)
        return of_preparation(fit_selection(early.tables, regimes, early.places(rows.train), experiment))

    def fitted() -> dict[str, str]:
        parts = late.places(rows.train), late.places(rows.valid)
        wanted = [settings for settings in experiment.models if settings.name in models]
        made = {one.name: fit_model(late.tables, fits.preparation, *parts, one, experiment)[0] for one in wanted}
        return of_models(made)

    told.append(truncation_audit(of_preparation(fits.preparation), prepared, where=fold, at=early.moment))
    told.append(truncation_audit(of_models({name: fits.models[name] for name in models}), fitted, where=fold, at=late.moment))
    told += [_predictions(training, fits, rows.oof[:size]) for size in (rows.oof.size, (rows.oof.size + 1) // 2)]
    return pl.concat(told)


def audit_meta(training: Training, made: MetaFit, fit: Callable[[pl.DataFrame], MetaFit]) -> pl.DataFrame:
    """Faults of the meta-learner and of its nested forecasts: whether they learned anything of the final test span.

    That is what every scheme of folds promises. What may be known from one fold to another is the scheme's own: in all but
    walk-forward schemes a fold learns of later ones.

    Args:
        training: whose LABELS are spoilt where they were unknown when the final test span began.
        made: the meta-learner as it is stored.
        fit: makes it of LABELS and the out-of-fold rows before the final test span.
    """
    start = training.test_start
    known = not_yet_known(training.labels, start, seed=training.experiment.seed)
    return truncation_audit(of_meta(made), lambda: of_meta(fit(known)), where="meta_learner", at=start)


def require_sound(faults: pl.DataFrame, symbol: str) -> None:
    """Raises `LeakageError` naming fold and part when the audit of a training found a fault."""
    if faults.is_empty():
        return
    first = faults.row(0, named=True)
    told = [
        f"{where} {fault}" for where, fault in faults.select("where", "fault").unique(maintain_order=True).head(5).iter_rows()
    ]
    asked, again = command("quant sql 'from fit_audit'"), command(f"quant run '{symbol}'")
    raise LeakageError(
        f"training of {symbol}", found=f"{'; '.join(told)} (first at {first['first_at']})",
        wanted="fits and rows that come out the same without what they may not know",
        mend=f"mend what is named (all of it: {asked}), then run: {again}",
    )  # fmt: skip


def _barriers(training: Training) -> pl.DataFrame:
    experiment, primary, path = training.experiment, training.primary, training.path
    until = first_training_end(primary["known_at"], experiment.splits)

    def again() -> dict[str, str]:
        if experiment.splits.scheme in {"expanding", "rolling"}:
            _demand_before_folds(training, until)
        bars, steps = trending(primary, until), trending(path, until)
        tuned = tune_barriers(bars, steps, experiment.labels, training.costs, until=until, seed=experiment.seed)
        return {"barriers": tuned.model_dump_json()}

    return truncation_audit({"barriers": training.barriers.model_dump_json()}, again, where="tuning", at=until)


def _demand_before_folds(training: Training, until: datetime) -> None:
    first: datetime = training.splits.filter(pl.col("role") == "oof")["start"].sort()[0]
    if training.experiment.labels.tune_trials and until > first:
        raise LeakageError("tuning of the barriers", found=f"bars until {until}", wanted=f"bars before the first block, {first}",
                           mend="set labels.tune_trials: 0, or fill the holes of the history")  # fmt: skip


def _predictions(training: Training, fits: FoldFits, block: Int64s) -> pl.DataFrame:
    """Whether the predictions of `block`, first rows of the fold's own, come out the same from inputs that end with it."""
    asked = training.labels[block]
    last = asked["decision_at"][-1]
    stored = fits.predictions.filter(pl.col("decision_at") <= last)
    kept = training.features["decision_at"].is_in(asked["decision_at"].implode()).to_numpy()
    features = spoilt(training.features, kept, seed=training.experiment.seed).filter(pl.col("decision_at") <= last)
    labels = not_yet_known(asked, asked["decision_at"][0], seed=training.experiment.seed)
    bars = training.primary.filter(pl.col("known_at") <= last)
    columns = ["decision_at", "p_short", "p_neutral", "p_long", "p_up", "e_r"]

    def again() -> dict[str, str]:
        told = predict_block(features, bars, labels, fits.preparation, fits.models)
        return {f"oof/{name}": frame_hash(said.to_frame().select(columns)) for name, said in told.items()}

    made = {f"oof/{name}": frame_hash(stored.filter(pl.col("model") == name).select(columns)) for name in fits.models}
    return truncation_audit(made, again, where=fits.fold, at=last)


def _spread(rows: int, count: int) -> Int64s:
    return np.unique(np.linspace(0, rows - 1, min(rows, count)).astype(np.int64))


def _moments(training: Training) -> Int64s:
    """Positions of primary bars: before the longest pauses, and at random, far enough from both ends."""
    margin = 2 * (training.barriers.atr_period + 2 * training.barriers.max_bars + 2)
    opened, closed = (training.primary[name] for name in ("timestamp", "known_at"))
    pauses = (opened.shift(-1) - closed).dt.total_seconds().fill_null(0).to_numpy()
    inside = np.arange(margin, len(opened) - margin)
    longest = inside[np.argsort(-pauses[inside], kind="stable")[:FUTURES]]
    drawn = np.random.default_rng(training.experiment.seed).choice(inside, min(FUTURES, inside.size), replace=False)
    return np.union1d(longest, drawn)
