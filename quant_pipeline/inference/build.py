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
from quant_pipeline.files import remove, sync
from quant_pipeline.inference.bundle import PRIORS, BundleFacts, load_bundle, save_bundle, verify_bundle
from quant_pipeline.inference.champion import FEWEST_FRESH, ChampionHistory, Decision, Event, Rival, decide, score
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
    if _is_whole(folder):
        remove(fresh)
    else:
        remove(folder)
        fresh.rename(folder)
        sync(root)
    asked = parts.labels[rows.oof]
    span = asked["decision_at"][0], asked["decision_at"][-1]
    why = f"bundle {folder.name} of experiment {experiment.name}: skill and champion rule"
    record_test_use(test_log, who, when, why, bundle=folder.name, span=span)
    return folder, forecast(folder, Evidence(parts.features, parts.bars, asked))


def _is_whole(folder: Path) -> bool:
    try:
        verify_bundle(folder)
    except BundleError:
        return False
    return True


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
    now: datetime,
) -> Event:
    """Apply the champion rule to the bundle that made `challenger` (its forecasts of the test span), and record it.

    Args:
        history: of champions.
        root: folder of the symbol's bundles.
        challenger: its forecasts of the test span, as `build_bundle` returns them.
        evidence: what the champion is asked about; its labels hold at least the test span.
        settings: the rule.
        symbol: whose champion.
        as_of: the challenger's training cutoff.
        now: the moment of the decision.
    """
    name = challenger["bundle"][0]
    holds, before = history.promotion(symbol, now), history.judged(symbol, name, as_of)
    if holds and holds.challenger == name:
        return holds
    rival = _rival(root, holds, challenger, evidence) if holds else None
    if before and holds and holds.by_hand and rival and rival.able:
        return before  # whoever chose another bundle knew of this one
    decision = decide(rival, settings, now=now)
    if before and not before.promoted and not decision.promote:
        return before  # a retried run adds nothing
    return history.record(symbol, name, decision, as_of=as_of, since=_begins(rival, decision, as_of, now), rival=rival)


def _begins(rival: Rival | None, decision: Decision, as_of: datetime, now: datetime) -> datetime:
    """From when the decision holds: at once, or from the training cutoff on where nobody could answer in between."""
    if not decision.promote or (rival and rival.able):
        return now
    return max(as_of, rival.since) if rival else as_of


def _rival(root: Path, holds: Event, challenger: pl.DataFrame, evidence: Evidence) -> Rival:
    """The champion on those of the challenger's test rows that it did not learn from either."""
    try:
        facts, own = (verify_bundle(root / bundle) for bundle in (holds.challenger, challenger["bundle"][0]))
        asked = replace(evidence, labels=evidence.labels.join(challenger, on="decision_at", how="semi"))
        told = forecast(root / holds.challenger, asked)
    except (BundleError, DataError):
        return Rival(holds.since, able=False)
    if facts["inputs_hash"] != own["inputs_hash"] or told["fallback"].eq_missing(PRIORS).all():
        return Rival(holds.since, able=False)
    fresh = asked.labels.filter(pl.col("decision_at") >= datetime.fromisoformat(facts["learned_until"]))
    if fresh.height < FEWEST_FRESH:
        return Rival(holds.since, fresh=fresh.height)
    return Rival(holds.since, scores=(score(challenger, fresh), score(told, fresh)))


def _facts(
    parts: BundleParts, rows: FoldRows, experiment: Experiment, symbol: str, as_of: datetime, fingerprint: str
) -> BundleFacts:
    trained = parts.labels[rows.train]["decision_at"]
    return BundleFacts(
        symbol=symbol,
        experiment=experiment.name,
        experiment_hash=trained_as(experiment),
        data_fingerprint=fingerprint,
        inputs_hash=inputs_hash(experiment),
        training_start=trained.min(),
        training_end=trained.max(),
        learned_until=parts.labels[rows.oof]["decision_at"][0],
        as_of=as_of,
        fallback=experiment.signal.fallback,
        metrics={row["name"]: row["log_loss"] for row in parts.meta.report.iter_rows(named=True)},
    )


def trained_as(experiment: Experiment) -> str:
    """Sixteen hex digits over all settings but who promotes: trying and deploying the same make the same bundle."""
    told = experiment.model_dump_json(exclude={"champion": {"auto"}})
    return hashlib.sha256(told.encode()).hexdigest()[:16]
