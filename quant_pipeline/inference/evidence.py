"""What reports look at: all out-of-sample forecasts in one table, the simulated market's oracle, and measured drift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from quant_pipeline.bars.build import build_bars
from quant_pipeline.config.timeframes import duration
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.ensemble.oof import SCHEMA
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.features.build import build_features
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.bundle import Bundle
from quant_pipeline.inference.window import cut, window_start
from quant_pipeline.models.contract import PROBABILITIES
from quant_pipeline.monitoring.drift import DriftSummary, RetrainDecision, clock_features, decide_retrain, drift_table, summarise
from quant_pipeline.sources.base import MarketSource

ENSEMBLE = "ensemble"


def all_predictions(oof: Iterable[pl.DataFrame], nested: pl.DataFrame, tested: pl.DataFrame) -> pl.DataFrame:
    """PREDICTIONS of the base models and, as model "ensemble", of the stack: nested before the test span, the bundle on it.

    The nested rows of the first fold are left out of the ensemble: no earlier out-of-fold row could teach a stack there.
    """
    stacked = nested.filter(pl.col("stack_rows") > 0).with_columns(model=pl.lit(ENSEMBLE))
    return pl.concat([*oof, stacked.select(*SCHEMA), tested.select(*SCHEMA)])


def priced(meta: MetaFit, tested: pl.DataFrame) -> pl.DataFrame:
    """Out-of-sample forecasts of the ensemble with e_long and e_short: nested rows, then the bundle's on the test span.

    Nested rows are priced by payoffs that were known before their fold began.
    """
    columns = ["decision_at", *PROBABILITIES, "e_long", "e_short"]
    nested = meta.nested.filter(pl.col("stack_rows") > 0)
    return pl.concat([nested.select(columns), tested.select(columns)]).sort("decision_at")


def oracle_forecast(source: MarketSource, symbol: str, labels: pl.DataFrame, primary: str, max_bars: int) -> pl.DataFrame | None:
    """What a perfect forecaster knew at each decision (`SimulatedSource.outlook`); None where the market is real."""
    from quant_pipeline.sources.simulated.source import SimulatedSource

    if not isinstance(source, SimulatedSource):
        return None
    return source.outlook(symbol, labels["decision_at"], duration(primary) * max_bars)


@dataclass(frozen=True, eq=False)
class Drift:
    """A drift table, its summary, and whether to train again."""

    table: pl.DataFrame
    summary: DriftSummary
    decision: RetrainDecision


def measure_drift(desk: Desk, symbol: str, bundle: Bundle | None, now: datetime, last_retrain_at: datetime | None) -> Drift:
    """Compare the features of the newest `drift.recent_bars` decisions with those the live bundle was trained on.

    Raises:
        MissingUpstreamError: no bundle is live.
    """
    if bundle is None:
        raise MissingUpstreamError(
            f"champion of {symbol}", found="none", wanted="a live bundle", mend=f"run: quant train {symbol}"
        )
    settings = desk.experiment.drift
    recent = _recent_features(desk, symbol, now).tail(settings.recent_bars)
    table = drift_table(bundle.reference, recent, settings, exclude=clock_features())
    summary = summarise(table)
    return Drift(table, summary, decide_retrain(summary, settings, last_retrain_at=last_retrain_at, now=now))


def _recent_features(desk: Desk, symbol: str, now: datetime) -> pl.DataFrame:
    """FEATURES of the window that inference reads, and of as much time again before it, so that no recent row is warming up."""
    calendar, experiment = desk.universe.symbol(symbol).calendar, desk.experiment
    first = window_start(experiment, calendar, now)
    start = first - (now - first)
    raw = cut({interval: desk.store.read(symbol, interval, start, now) for interval in desk.store.intervals(symbol)}, start, now)
    rungs, _ = build_bars(raw, calendar, experiment.ladder, as_of=now)
    return build_features(rungs, experiment.features, experiment.primary, calendar)[0]
