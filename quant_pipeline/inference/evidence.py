"""What reports look at: all out-of-sample forecasts in one table, the simulated market's oracle, and measured drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from quant_pipeline.backtest.skill_report import PLAINEST, ReportInputs, prepare
from quant_pipeline.bars.build import build_bars, check_primary
from quant_pipeline.config.commands import command
from quant_pipeline.config.experiment import Experiment, SplitSettings
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Symbol
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.ensemble.oof import SCHEMA
from quant_pipeline.errors import DataError, MissingUpstreamError
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.bundle import Bundle
from quant_pipeline.inference.context import gather
from quant_pipeline.inference.decision import decide_all
from quant_pipeline.inference.inputs import decision_features
from quant_pipeline.inference.window import read_raw, window_start
from quant_pipeline.models.contract import PROBABILITIES
from quant_pipeline.monitoring.drift import DriftSummary, RetrainDecision, clock_features, decide_retrain, drift_table, summarise
from quant_pipeline.sources.base import MarketSource
from quant_pipeline.validation.holdout_log import count_uses
from quant_pipeline.validation.paths import averaged, path_rows, paths

ENSEMBLE = "ensemble"
UNTRADED = (
    "Final test span only: in scheme {scheme} the models of the other folds learned from what came after their rows, so "
    "following those would be no trading record"
)


@dataclass(frozen=True, eq=False)
class Tested:
    """Every forecast that was made out of sample: base models by fold, the nested stack, the bundle on the final test span.

    `splits` says what the forecasts before the test span are worth; see `validation.splits`.
    """

    oof: Iterable[pl.DataFrame]
    meta: MetaFit
    final: pl.DataFrame
    splits: SplitSettings = field(default_factory=SplitSettings)

    def predictions(self) -> pl.DataFrame:
        """PREDICTIONS of the base models and, as model "ensemble", of the stack before the test span and the bundle on it.

        The nested rows of the first walk-forward fold are left out: no earlier out-of-fold row could teach a stack there.
        Rows that several folds predict (scheme `combinatorial`) are averaged.
        """
        base = pl.concat(self.oof)
        told = averaged(base) if self.splits.scheme == "combinatorial" else base
        return pl.concat([told, self.ensemble()])

    def ensemble(self) -> pl.DataFrame:
        """PREDICTIONS of model "ensemble" alone: the stack before the test span, the bundle on it."""
        stacked = self._nested().with_columns(model=pl.lit(ENSEMBLE))
        return pl.concat([stacked.select(*SCHEMA), self.final.select(*SCHEMA)])

    def paths(self) -> dict[str, pl.DataFrame]:
        """PREDICTIONS of the base models and the ensemble along each path of scheme `combinatorial`; empty in others."""
        if self.splits.scheme != "combinatorial":
            return {}
        stacked = self.meta.paths.with_columns(model=pl.lit(ENSEMBLE))
        return {
            name: pl.concat([told, stacked.filter(pl.col("path") == name).select(*SCHEMA)])
            for name, told in paths(pl.concat(self.oof)).items()
        }

    def priced(self) -> pl.DataFrame:
        """The ensemble's rows that could have been traded, with e_long and e_short by payoffs known when their fold began.

        Of schemes that are not walk-forward, the final test span alone.
        """
        columns = ["decision_at", *PROBABILITIES, "e_long", "e_short"]
        final = self.final.select(columns)
        if not self.splits.walk_forward:
            return final.sort("decision_at")
        return pl.concat([self._nested().select(columns).drop_nulls(), final]).sort("decision_at")

    @property
    def record(self) -> str:
        """What the equity is made of, in words, where that is not every out-of-sample row; else empty."""
        return "" if self.splits.walk_forward else UNTRADED.format(scheme=self.splits.scheme)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """First and last decision of the final test span."""
        at = self.final["decision_at"]
        return at.min(), at.max()  # type: ignore[return-value]

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


def skill_inputs(
    tested: Tested, market: Market, experiment: Experiment, max_bars: int, facts: Mapping[str, str], uses: pl.DataFrame
) -> ReportInputs:
    """Everything that the skill report shows; the line "signals" follows the emitted signals' own rule and size.

    `uses` are the recorded uses of the final test span (`read_test_uses`), that of the bundle in `tested` among them.
    """
    decisions = decide_all(tested.priced(), experiment.signal, market.instrument.risk)
    rule = f"{PLAINEST}; the line 'signals' follows the emitted signals' own rule and size"
    made = prepare(
        tested.predictions(),
        market.labels,
        market.splits,
        market.bars,
        market.instrument.costs,
        symbol=market.symbol,
        simulated=market.source.simulated,
        oracle=oracle_forecast(market.source, market.symbol, market.labels, experiment, max_bars),
        strategies={"signals": decisions},
        policy=f"{tested.record}. {rule}" if tested.record else rule,
        path=market.minutes,
        facts={**facts, "fold scheme": experiment.splits.scheme},
        walk_forward=experiment.splits.walk_forward,
        test_uses=max(1, count_uses(uses, tested.span)),
    )
    along = tested.paths()
    return replace(made, table=pl.concat([made.table, path_rows(along, market.labels)])) if along else made


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
        ConfigError: the stored bars cannot give the primary rung.
        DataError: the window holds no bar that features can be made of.
    """
    if bundle is None:
        train, promote = command(f"quant train '{symbol}'"), command("quant promote")
        raise MissingUpstreamError(
            f"champion of {symbol}", found="none", wanted="a live bundle",
            mend=f"run: {train} (where champion.auto is false, {promote})",
        )  # fmt: skip
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
    raw, rules = read_raw(desk.store, symbol, start, now), desk.universe.cleaning(symbol)
    check_primary(raw, experiment, symbol)
    rungs, _ = build_bars(raw, calendar, experiment.rungs, as_of=now, rules=rules)
    features = decision_features(rungs, gather(desk, symbol, start, now), experiment, calendar)
    if features.is_empty():
        newer = command(f"quant materialize 'raw_bars/{symbol}'")
        raise DataError(
            f"bars of {symbol} for drift", found=f"too few from {start:%Y-%m-%d} to {now:%Y-%m-%d %H:%M} UTC for any feature",
            wanted="those of recent decisions",
            mend=f"bring newer bars with: {newer}; a file that ended has no recent drift",
        )  # fmt: skip
    return features, rungs[experiment.primary]
