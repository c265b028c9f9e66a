"""Prefix audit, raw minutes to features, labels and views: nothing that a decision used changes when later bars arrive.

Two ways to know less: clean bars cut by `known_at`, and raw minutes that had not come yet. At each cut, every row that
was known then is compared, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars, finest_path
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.config.experiment import FeatureSettings, LabelSettings, WeightSettings
from quant_pipeline.config.timeframes import LADDER, minutes
from quant_pipeline.features import registry
from quant_pipeline.features.build import build_features
from quant_pipeline.features.registry import FAMILIES, FeatureSpec, specs
from quant_pipeline.inference.window import cut as seen_by
from quant_pipeline.inference.window import window_start
from quant_pipeline.labels.triple_barrier import label_bars, lay_course
from quant_pipeline.labels.weights import sample_weights
from quant_pipeline.validation.audit import prefix_audit, random_cuts
from quant_pipeline.views.feature_matrix import from_frame

PRIMARY = "1h"
LONG_LADDER = (*LADDER, "4h", "1d", "1w")
DEFAULTS = FeatureSettings(families=FAMILIES)
MINUTE = timedelta(minutes=1)
SPRING = datetime(2025, 1, 20, tzinfo=UTC)  # the clocks of New York change on day 48
WEEKS_OF_WARM_UP = timedelta(weeks=10)  # later cuts see every rung's z-score at work


@dataclass(frozen=True)
class Market:
    """Raw minutes of one symbol and what the pipeline makes of them, or of a part of them."""

    raw: pl.DataFrame
    calendar: str
    ladder: tuple[str, ...] = LADDER
    settings: FeatureSettings = DEFAULTS

    @property
    def end(self) -> datetime:
        return self.raw["timestamp"].max() + MINUTE

    @cached_property
    def rungs(self) -> dict[str, pl.DataFrame]:
        return self.rungs_at(self.end)

    def rungs_at(self, cut: datetime) -> dict[str, pl.DataFrame]:
        """Every rung, from the minutes that had come by `cut`."""
        return build_bars(seen_by({"1m": self.raw}, self.raw["timestamp"].min(), cut), self.calendar, self.ladder, as_of=cut)[0]

    def known(self, cut: datetime) -> dict[str, pl.DataFrame]:
        """Every rung, cut by `known_at` after it was made from all minutes."""
        return {rung: bars.filter(pl.col("known_at") <= cut) for rung, bars in self.rungs.items()}

    def features(self, rungs: dict[str, pl.DataFrame], since: datetime | None = None) -> pl.DataFrame:
        return build_features(rungs, self.settings, PRIMARY, self.calendar, since=since)[0]

    @cached_property
    def full(self) -> pl.DataFrame:
        return self.features(self.rungs)

    def cuts(self, count: int, seed: int) -> list[datetime]:
        """Random closes of primary bars, as many random minutes, and the moments around a session's end."""
        late = self.full["decision_at"].filter(self.full["decision_at"] > self.full["decision_at"][0] + WEEKS_OF_WARM_UP / 2)
        between = self.raw["timestamp"].filter(self.raw["timestamp"] > late[0])
        closes = session_table(self.calendar, late[0], late[-1])["session_close"]
        close = random_cuts(closes, 1, seed=seed)[0]
        edges = [close - MINUTE, close, close + MINUTE]
        return [*random_cuts(late, count, seed=seed), *random_cuts(between, count, seed=seed + 1), *edges]


def audit(market: Market, cuts: list[datetime]) -> pl.DataFrame:
    """Faults of the features, both ways of knowing less."""
    from_bars = prefix_audit(lambda cut: market.features(market.known(cut)), market.full, cuts)
    from_minutes = prefix_audit(lambda cut: market.features(market.rungs_at(cut)), market.full, cuts)
    return pl.concat([from_bars, from_minutes])


def audit_labels(market: Market, cuts: list[datetime], costs) -> pl.DataFrame:
    """Faults of the labels, of what sizes their barriers, and of their weights."""
    settings = LabelSettings(tune_trials=0)

    def labels(cut: datetime) -> pl.DataFrame:
        rungs = market.rungs_at(cut)
        return label_bars(rungs[PRIMARY], finest_path(rungs), settings, costs)[0]

    def ranges(cut: datetime) -> pl.DataFrame:
        rungs = market.rungs_at(cut)
        atr = lay_course(rungs[PRIMARY], finest_path(rungs), settings.atr_period).atr
        return rungs[PRIMARY].select("timestamp", decision_at="known_at", atr=pl.Series(atr))

    full = labels(market.end)
    path = finest_path(market.rungs)

    def weights(cut: datetime) -> pl.DataFrame:
        begun, walked = full.filter(pl.col("entry_at") < cut), path.filter(pl.col("known_at") <= cut)
        made = sample_weights(begun, WeightSettings(), walked).drop("weight")
        return made.with_columns(begun["label_end"]).filter(pl.col("label_end") <= cut)

    return pl.concat(
        [
            prefix_audit(labels, full, cuts, at="horizon_end"),
            prefix_audit(ranges, ranges(market.end), cuts),
            prefix_audit(weights, weights(market.end), cuts, at="label_end"),
        ]
    )


def as_view(features: pl.DataFrame) -> pl.DataFrame:
    """The feature matrix as a table again, so that it can be audited."""
    view = from_frame(features)
    return pl.DataFrame(view.values, schema=list(view.columns)).select(
        features["timestamp"], view.decision_at.alias("decision_at"), pl.all()
    )


def live_rows(market: Market, experiment, moments: list[datetime]) -> pl.DataFrame:
    """The rows that live inference would compute at `moments`: only the last one, from its fixed window of raw minutes."""
    rows = []
    for moment in moments:
        seen = seen_by({"1m": market.raw}, window_start(experiment, market.calendar, moment), moment)
        rungs = build_bars(seen, market.calendar, market.ladder, as_of=moment)[0]
        rows.append(market.features(rungs, since=rungs[PRIMARY]["known_at"][-1] - MINUTE).tail(1))
    return pl.concat(rows)


def expected_columns(market: Market) -> set[str]:
    """Every registered feature on every rung that it is for, by the registry's own description."""
    has_volume = market.raw["volume"].null_count() < market.raw.height
    return {
        spec.column(rung)
        for spec in specs(FAMILIES)
        for rung in market.ladder
        if (spec.on(rung, PRIMARY) or spec.on_decision) and (has_volume or not spec.needs_volume)
    }


def assert_nothing_left_out(market: Market) -> None:
    full = market.full
    assert set(full.columns[2:]) == expected_columns(market)
    slow = {f"_{rung}" for rung in market.ladder if minutes(rung) > minutes("1h")}
    empty = [name for name in full.columns if full[name].null_count() == full.height]
    assert [name for name in empty if not any(name.endswith(rung) for rung in slow)] == []


@pytest.fixture(scope="module", params=["GC=F", "BTC-USD", "SPY"])
def market(request, simulated_minutes, universe) -> Market:
    """Eighty days of the simulated feed, the change to summer time among them."""
    symbol = request.param
    return Market(simulated_minutes(symbol, SPRING, 80), universe.symbol(symbol).calendar)


def test_every_registered_feature_on_the_simulated_market(market):
    assert_nothing_left_out(market)
    faults = audit(market, market.cuts(1, seed=5))
    assert faults.to_dicts() == []


def test_labels_their_ranges_and_weights_on_the_simulated_market(market, universe):
    assert audit_labels(market, market.cuts(2, seed=6), universe.symbol("GC=F").costs).to_dicts() == []


def test_the_view_on_the_simulated_market(market):
    cuts = market.cuts(1, seed=7)[:2]
    assert prefix_audit(lambda cut: as_view(market.features(market.rungs_at(cut))), as_view(market.full), cuts).is_empty()


def test_live_inference_reads_the_very_rows_that_training_read(market, default):
    moments = random_cuts(market.full["decision_at"].tail(200), 4, seed=8)
    told = live_rows(market, default, moments)
    assert told.equals(market.full.filter(pl.col("decision_at").is_in(moments)), null_equal=True)


def test_a_feature_that_peeks_is_caught_on_the_same_path(market, monkeypatch):
    """The audit would see one minute of foresight in one of some two hundred columns."""
    specs(FAMILIES)
    peek = FeatureSpec(
        "peek", "returns", ("close",), 2, ("1m",), zscore=False, needs_volume=False,
        function=lambda columns: np.append(columns["close"][1:], columns["close"][-1:]) / columns["close"],
    )  # fmt: skip
    monkeypatch.setitem(registry._REGISTERED, "peek", peek)
    spoiled = replace(market, settings=FeatureSettings(families=("returns",)))
    cuts = market.cuts(1, seed=5)[:2]
    assert set(audit(spoiled, cuts)["where"]) == {"peek_1m"}


@pytest.mark.long
@pytest.mark.parametrize("symbol", ["BTC-USD", "CL=F", "GC=F", "SPY"])
def test_real_bars(symbol, real_minutes, universe, capsys):
    """Outages, spliced feeds, no volume, half days: as they are. The ladder has its slow rungs too."""
    instrument = universe.symbol(symbol)
    market = Market(real_minutes(symbol), instrument.calendar, LONG_LADDER)
    assert_nothing_left_out(market)
    cuts = market.cuts(5, seed=9)
    faults = audit(market, cuts)
    on_labels = audit_labels(market, cuts, instrument.costs)
    views = prefix_audit(lambda cut: as_view(market.features(market.rungs_at(cut))), as_view(market.full), cuts[:2])
    rows = sum(market.full.filter(pl.col("decision_at") <= cut).height for cut in cuts)
    told = f"{len(cuts)} cuts, {market.full.width - 2} features, {rows:,} rows compared twice, {faults.height} faults"
    with capsys.disabled():
        print(f"\n{symbol}: {told}")
    assert pl.concat([faults, on_labels, views]).to_dicts() == []


@pytest.mark.long
@pytest.mark.parametrize("symbol", ["BTC-USD", "CL=F", "GC=F", "SPY"])
def test_live_inference_on_real_bars(symbol, real_minutes, universe, default):
    market = Market(real_minutes(symbol), universe.symbol(symbol).calendar)
    decisions = market.full["decision_at"]
    moments = random_cuts(decisions.filter(decisions > decisions[0] + WEEKS_OF_WARM_UP * 2), 25, seed=10)
    told = live_rows(market, default, moments)
    wanted = market.full.filter(pl.col("decision_at").is_in(moments))
    different = [name for name in wanted.columns if not told[name].equals(wanted[name], null_equal=True)]
    assert different == []
