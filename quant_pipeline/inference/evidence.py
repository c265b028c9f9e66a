"""What reports look at: all out-of-sample forecasts in one table, the simulated market's oracle, and measured drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from quant_pipeline.backtest.skill_report import PLAINEST, ReportInputs, prepare
from quant_pipeline.bars.build import build_bars
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Symbol
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.ensemble.oof import SCHEMA
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.bundle import Bundle
from quant_pipeline.inference.context import gather
from quant_pipeline.inference.decision import decide_all
from quant_pipeline.inference.inputs import decision_features
from quant_pipeline.inference.window import read_raw, window_start
from quant_pipeline.models.contract import PROBABILITIES
from quant_pipeline.monitoring.drift import DriftSummary, RetrainDecision, clock_features, decide_retrain, drift_table, summarise
from quant_pipeline.sources.base import MarketSource

ENSEMBLE = "ensemble"


@dataclass(frozen=True, eq=False)
class Tested:
    """Every forecast that was made out of sample: base models by fold, the nested stack, the bundle on the final test span."""

    oof: Iterable[pl.DataFrame]
    meta: MetaFit
    final: pl.DataFrame

    def predictions(self) -> pl.DataFrame:
        """PREDICTIONS of the base models and, as model "ensemble", of the stack before the test span and the bundle on it.

        The nested rows of the first fold are left out: no earlier out-of-fold row could teach a stack there.
        """
        stacked = self._nested().with_columns(model=pl.lit(ENSEMBLE))
        return pl.concat([*self.oof, stacked.select(*SCHEMA), self.final.select(*SCHEMA)])

    def priced(self) -> pl.DataFrame:
        """The ensemble's rows with e_long and e_short, by payoffs that were known before each row's fold began."""
        columns = ["decision_at", *PROBABILITIES, "e_long", "e_short"]
        return pl.concat([self._nested().select(columns), self.final.select(columns)]).sort("decision_at")

    def _nested(self) -> pl.DataFrame:
        return self.meta.nested.filter(pl.col("stack_rows") > 0)


@dataclass(frozen=True, eq=False)
class Market:
    """What a report knows of the market it grades on: RUNG BARS (primary and 1m), LABELS, SPLITS and their source."""

    symbol: str
    instrument: Symbol
    source: MarketSource
    bars: pl.DataFrame
    minutes: pl.DataFrame
    labels: pl.DataFrame
    splits: pl.DataFrame


def skill_inputs(tested: Tested, market: Market, experiment: Experiment, max_bars: int, facts: Mapping[str, str]) -> ReportInputs:
    """Everything that the skill report shows; the line "signals" follows the emitted signals' own rule and size."""
    decisions = decide_all(tested.priced(), experiment.signal, market.instrument.risk)
    return prepare(
        tested.predictions(),
        market.labels,
        market.splits,
        market.bars,
        market.instrument.costs,
        symbol=market.symbol,
        simulated=market.source.simulated,
        oracle=oracle_forecast(market.source, market.symbol, market.labels, experiment, max_bars),
        strategies={"signals": decisions},
        policy=f"{PLAINEST}; the line 'signals' follows the emitted signals' own rule and size",
        path=market.minutes,
        facts=facts,
    )


def oracle_forecast(
    source: MarketSource, symbol: str, labels: pl.DataFrame, experiment: Experiment, max_bars: int
) -> pl.DataFrame | None:
    """What a perfect forecaster knew at each decision from the kinds of inputs that the experiment reads.

    See `SimulatedSource.outlook`; None where the market is real.
    """
    from quant_pipeline.sources.simulated.source import SimulatedSource

    if not isinstance(source, SimulatedSource):
        return None
    inputs = ("bars", *(name for name in ("news", "macro") if name in experiment.features.families))
    return source.outlook(symbol, labels["decision_at"], duration(experiment.primary) * max_bars, inputs)


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
    features, bars = _recent_features(desk, symbol, now)
    recent = bundle.prepared(features, bars).tail(settings.recent_bars)
    table = drift_table(bundle.reference, recent, settings, exclude=clock_features())
    summary = summarise(table)
    return Drift(table, summary, decide_retrain(summary, settings, last_retrain_at=last_retrain_at, now=now))


def _recent_features(desk: Desk, symbol: str, now: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """FEATURES of the window that inference reads, and of as much time again before it, so that no recent row is warming up.

    The second table is the RUNG BARS of the primary rung.
    """
    calendar, experiment = desk.universe.symbol(symbol).calendar, desk.experiment
    first = window_start(experiment, calendar, now)
    start = first - (now - first)
    rungs, _ = build_bars(read_raw(desk.store, symbol, start, now), calendar, experiment.rungs, as_of=now)
    context = gather(desk, symbol, start, now)
    return decision_features(rungs, context, experiment, calendar), rungs[experiment.primary]
