"""Making a bundle out of a finished training, testing it once, and judging it against the champion."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from quant_pipeline.config.experiment import HOLDOUT, ChampionSettings, Experiment
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.errors import BundleError, DataError
from quant_pipeline.files import remove
from quant_pipeline.inference.bundle import BundleFacts, load_bundle, save_bundle
from quant_pipeline.inference.champion import ChampionHistory, Event, Score, decide, score
from quant_pipeline.inference.window import inputs_hash
from quant_pipeline.models.contract import make_samples
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.validation.holdout_log import record_test_use
from quant_pipeline.validation.splits import FoldRows, fold_rows
from quant_pipeline.views.reference import feature_reference


@dataclass(frozen=True, eq=False)
class BundleParts:
    """What a finished training hands over: the holdout fold's models and preparation, the meta-learner, and their tables.

    `bars` are those of the primary rung, which the regimes are read from.
    """

    models: Mapping[str, Any]
    meta: MetaFit
    preparation: Preparation
    features: pl.DataFrame
    bars: pl.DataFrame
    labels: pl.DataFrame
    splits: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a bundle is asked about: FEATURES, the RUNG BARS of the primary rung, and the LABELS of its decisions."""

    features: pl.DataFrame
    bars: pl.DataFrame
    labels: pl.DataFrame


def build_bundle(
    root: Path, parts: BundleParts, experiment: Experiment, *, symbol: str, as_of: datetime, data_fingerprint: str,
    test_log: Path, who: str, when: datetime,
) -> tuple[Path, pl.DataFrame]:  # fmt: skip
    """Save the bundle under `root/<id>` and ask it about the final test span, once, on record.

    Args:
        root: folder of the symbol's bundles.
        parts: of one training.
        experiment: that trained them.
        symbol: what it forecasts.
        as_of: training cutoff; stands in for a creation time.
        data_fingerprint: of the raw bars that training saw.
        test_log: where the use of the test span is recorded.
        who: for whom it was used.
        when: at what moment (wall clock).

    Returns:
        The bundle's folder, and its forecasts of the test span (`Bundle.predict` with timestamp, fold, model and bundle).
    """
    rows = fold_rows(parts.splits, HOLDOUT, parts.labels, experiment.splits)
    facts = _facts(parts, rows, experiment, symbol, as_of, data_fingerprint)
    prepared = parts.preparation.table(parts.features, parts.bars)
    columns = tuple(sorted({column for name in parts.meta.learner.models for column in parts.models[name].columns}))
    reference = feature_reference(make_samples(prepared, parts.labels[rows.train], columns=columns).view)
    fresh = root / "building"
    folder = root / save_bundle(fresh, parts.models, parts.meta.learner, parts.preparation, reference, facts)
    if folder.exists():
        remove(fresh)
    else:
        fresh.rename(folder)
    asked = parts.labels[rows.oof]
    span = asked["decision_at"][0], asked["decision_at"][-1]
    why = f"bundle {folder.name} of experiment {experiment.name}: skill and champion rule"
    record_test_use(test_log, who, when, why, bundle=folder.name, span=span)
    return folder, forecast(folder, Evidence(parts.features, parts.bars, asked))


def forecast(folder: Path, asked: Evidence) -> pl.DataFrame:
    """What the bundle in `folder` says of the decisions in `asked`, as PREDICTIONS of model "ensemble", fold "holdout"."""
    bundle = load_bundle(folder)
    prepared = bundle.prepared(asked.features, asked.bars)
    told = bundle.predict(make_samples(prepared, asked.labels, columns=bundle.columns).view)
    named = told.with_columns(
        timestamp=asked.labels["timestamp"], fold=pl.lit(HOLDOUT), model=pl.lit("ensemble"), bundle=pl.lit(folder.name)
    )
    return named.select("timestamp", pl.exclude("timestamp"))


def judge_challenger(
    history: ChampionHistory,
    root: Path,
    challenger: pl.DataFrame,
    evidence: Evidence,
    settings: ChampionSettings,
    *,
    symbol: str,
    as_of: datetime,
) -> Event:
    """Apply the champion rule to the bundle that made `challenger` (its forecasts of the test span), and record it."""
    name = challenger["bundle"][0]
    labels = evidence.labels
    tested = replace(evidence, labels=labels.join(challenger, on="decision_at", how="semi"))
    live = history.live_at(symbol, as_of)
    scores = {"challenger": score(challenger, labels), "champion": _champion_score(root, live, tested)}
    since = history.live_since(symbol, as_of)
    decision = decide(scores["challenger"], scores["champion"], settings, as_of=as_of, champion_since=since)  # type: ignore[arg-type]
    return history.record(symbol, name, decision, as_of=as_of, scores=scores)


def _champion_score(root: Path, live: str | None, tested: Evidence) -> Score | None:
    """The champion's losses on the challenger's test rows; None when there is none, or it is damaged or lacks a feature."""
    if live is None:
        return None
    try:
        return score(forecast(root / live, tested), tested.labels)
    except (BundleError, DataError):
        return None


def _facts(
    parts: BundleParts, rows: FoldRows, experiment: Experiment, symbol: str, as_of: datetime, fingerprint: str
) -> BundleFacts:
    trained = parts.labels[rows.train]["decision_at"]
    return BundleFacts(
        symbol=symbol,
        experiment=experiment.name,
        experiment_hash=hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()[:16],
        data_fingerprint=fingerprint,
        inputs_hash=inputs_hash(experiment),
        training_start=trained.min(),
        training_end=trained.max(),
        as_of=as_of,
        fallback=experiment.signal.fallback,
        metrics={row["name"]: row["log_loss"] for row in parts.meta.report.iter_rows(named=True)},
    )
