"""Prefix audit, raw minutes to features, labels and views: nothing that a decision used changes when later bars arrive.

Two ways to know less: clean bars and tables cut by `known_at`, and raw minutes, headlines and releases that had not come
yet. At each cut, every row that was known then is compared, exactly.
"""

from __future__ import annotations

import importlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars, finest_path
from quant_pipeline.bars.clean import UNLIMITED
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.config.cleaning import Adjustment, CleaningRules
from quant_pipeline.config.experiment import FeatureSettings, LabelSettings, WeightSettings
from quant_pipeline.config.timeframes import LADDER, minutes
from quant_pipeline.features import registry
from quant_pipeline.features.build import build_features
from quant_pipeline.features.context import Context
from quant_pipeline.features.news import news_table
from quant_pipeline.features.registry import FAMILIES, FeatureSpec, placed, specs
from quant_pipeline.inference.window import context_start, window_start
from quant_pipeline.inference.window import cut as seen_by
from quant_pipeline.labels.triple_barrier import label_bars, lay_course
from quant_pipeline.labels.weights import sample_weights
from quant_pipeline.sources.base import BARS_SCHEMA, HEADLINES_SCHEMA, RELEASES_SCHEMA
from quant_pipeline.validation.audit import prefix_audit, random_cuts
from quant_pipeline.views.feature_matrix import from_frame

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import Experiment
    from quant_pipeline.config.universe import Universe
    from quant_pipeline.sources.simulated.source import SimulatedSource

PRIMARY = "1h"
COARSE = ("4h", "1d")
LONG_LADDER = (*LADDER, "4h", "1d", "1w")
DEFAULTS = FeatureSettings(families=FAMILIES, coarse=COARSE)
EVERYWHERE = FeatureSettings(families=FAMILIES)  # the slow rungs carry every feature
MINUTE = timedelta(minutes=1)
SPRING, DAYS = datetime(2025, 1, 6, tzinfo=UTC), 94  # the clocks of New York change on day 62
WEEKS_OF_WARM_UP = timedelta(weeks=10)  # later cuts see every rung's z-score at work


@dataclass(frozen=True)
class World:
    """What there is beside a market: raw minutes of correlated symbols, calendars and rules of cleaning, headlines, releases."""

    others: Mapping[str, tuple[pl.DataFrame, str, CleaningRules]] = field(default_factory=dict)
    headlines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=HEADLINES_SCHEMA))
    releases: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RELEASES_SCHEMA))

    def seen(self, start: datetime, cut: datetime) -> Context:
        """The tables made from what came in [start, cut]; releases count from the first on record."""
        come = pl.col("known_at") <= cut
        articles = self.headlines.filter(come, pl.col("known_at") >= start)
        others = {symbol: _primary(*other, start, cut) for symbol, other in self.others.items()}
        return Context(others, news_table(articles, _sentiment(articles["title"])), self.releases.filter(come))


def _primary(raw: pl.DataFrame, calendar: str, rules: CleaningRules, start: datetime, cut: datetime) -> pl.DataFrame:
    return build_bars(seen_by({"1m": raw}, start, cut, calendar), calendar, (PRIMARY,), as_of=cut, rules=rules)[0][PRIMARY]


def _sentiment(titles: pl.Series) -> np.ndarray:
    """A number in [-1, 1) that depends on the words alone: it stands in for an encoder."""
    return np.array([zlib.crc32(title.encode()) / 2**31 - 1 for title in titles], dtype=np.float64)


@dataclass(frozen=True)
class Market:
    """Raw minutes of one symbol, its world, and what the pipeline makes of them, or of a part of them."""

    raw: pl.DataFrame
    calendar: str
    ladder: tuple[str, ...] = (*LADDER, *COARSE)
    settings: FeatureSettings = DEFAULTS
    world: World = field(default_factory=World)
    rules: CleaningRules = UNLIMITED

    @property
    def start(self) -> datetime:
        return self.raw["timestamp"].min()

    @property
    def end(self) -> datetime:
        return self.raw["timestamp"].max() + MINUTE

    @cached_property
    def rungs(self) -> dict[str, pl.DataFrame]:
        return self.rungs_at(self.end)

    @cached_property
    def context(self) -> Context:
        return self.world.seen(self.early, self.end)

    @property
    def early(self) -> datetime:
        """From when on the world is looked at."""
        return self.start - timedelta(days=45)

    def rungs_at(self, cut: datetime) -> dict[str, pl.DataFrame]:
        """Every rung, from the minutes that had come by `cut`."""
        return self.made(self.start, cut)

    def made(self, start: datetime, cut: datetime) -> dict[str, pl.DataFrame]:
        """Every rung from the minutes of [start, cut], by the path that inference takes."""
        seen = seen_by({"1m": self.raw}, start, cut, self.calendar)
        return build_bars(seen, self.calendar, self.ladder, as_of=cut, rules=self.rules)[0]

    def features(self, rungs: dict[str, pl.DataFrame], context: Context, since: datetime | None = None) -> pl.DataFrame:
        return build_features(rungs, self.settings, PRIMARY, self.calendar, since=since, context=context)[0]

    def known(self, cut: datetime) -> pl.DataFrame:
        """Features from bars and tables that were made from everything, then cut by `known_at`."""
        rungs = {rung: bars.filter(pl.col("known_at") <= cut) for rung, bars in self.rungs.items()}
        return self.features(rungs, self.context.until(cut))

    def told(self, cut: datetime) -> pl.DataFrame:
        """Features from the minutes, headlines and releases that had come by `cut`."""
        return self.features(self.rungs_at(cut), self.world.seen(self.early, cut))

    @cached_property
    def full(self) -> pl.DataFrame:
        return self.features(self.rungs, self.context)

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
    return pl.concat([prefix_audit(compute, market.full, cuts) for compute in (market.known, market.told)])


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

    def weights(cut: datetime) -> pl.DataFrame:
        return sample_weights(labels(cut), WeightSettings(), finest_path(market.rungs_at(cut)))

    return pl.concat(
        [
            prefix_audit(labels, labels(market.end), cuts, at="horizon_end"),
            prefix_audit(ranges, ranges(market.end), cuts),
            prefix_audit(weights, weights(market.end), cuts, at="known_at"),
        ]
    )


def as_view(features: pl.DataFrame) -> pl.DataFrame:
    """The feature matrix as a table again, so that it can be audited."""
    view = from_frame(features)
    return pl.DataFrame(view.values, schema=list(view.columns)).select(
        features["timestamp"], view.decision_at.alias("decision_at"), pl.all()
    )


def live_rows(market: Market, experiment: Experiment, moments: list[datetime]) -> pl.DataFrame:
    """The rows that live inference would compute at `moments`: only the last one, from its fixed windows of raw inputs."""
    rows = []
    for moment in moments:
        rungs = market.made(window_start(experiment, market.calendar, moment), moment)
        context = market.world.seen(context_start(experiment, market.calendar, moment), moment)
        rows.append(market.features(rungs, context, since=rungs[PRIMARY]["known_at"][-1] - MINUTE).tail(1))
    return pl.concat(rows)


def expected_columns(market: Market) -> set[str]:
    """Every registered feature everywhere that it is for, by the registry's own description."""
    has_volume = market.raw["volume"].null_count() < market.raw.height
    everything = placed(market.settings, market.ladder, PRIMARY, tuple(market.world.others))
    return {spec.column(place) for spec, place in everything if has_volume or not spec.needs_volume}


def assert_nothing_left_out(market: Market) -> None:
    """Every column is there, and says something, but for slow rungs and symbols without bars."""
    full = market.full
    assert set(full.columns[2:]) == expected_columns(market)
    slow = [f"_{rung}" for rung in market.ladder if minutes(rung) > minutes("1h")]
    missing = [f"_{symbol}" for symbol, bars in market.context.others.items() if bars.is_empty()]
    empty = [name for name in full.columns if full[name].null_count() == full.height]
    assert [name for name in empty if not name.endswith((*slow, *missing))] == []


@pytest.fixture(scope="module")
def world(simulated_minutes, simulated_source, universe):
    """Maker of the simulated world beside a symbol: two correlated markets, a third without a bar, headlines and releases."""

    def make(symbol: str, start: datetime, days: int) -> World:
        first, second, third, *_ = universe.symbol(symbol).correlated
        others = {name: simulated_minutes(name, start, days) for name in (first, second)}
        others[third] = pl.DataFrame(schema=BARS_SCHEMA)
        tables = _tables(simulated_source, symbol, start, start + timedelta(days=days))
        return World({name: _other(universe, name, raw) for name, raw in others.items()}, *tables)

    return make


def _other(universe: Universe, symbol: str, raw: pl.DataFrame) -> tuple[pl.DataFrame, str, CleaningRules]:
    return raw, universe.instrument(symbol).calendar, universe.cleaning(symbol)


def _tables(source: SimulatedSource, symbol: str, start: datetime, end: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Headlines from some weeks before, and the releases of some years before."""
    begin = start - timedelta(days=45)
    return source.headlines(symbol, begin, end), source.releases(begin - timedelta(days=1_500), end)


@pytest.fixture(scope="module", params=["GC=F", "BTC-USD", "SPY"])
def market(request, simulated_minutes, world, universe) -> Market:
    """A spring of the simulated feed, the change to summer time among it."""
    symbol = request.param
    raw = simulated_minutes(symbol, SPRING, DAYS)
    return Market(raw, universe.symbol(symbol).calendar, world=world(symbol, SPRING, DAYS), rules=universe.cleaning(symbol))


def test_every_registered_feature_on_the_simulated_market(market):
    assert_nothing_left_out(market)
    faults = audit(market, market.cuts(1, seed=5))
    assert faults.to_dicts() == []


def test_labels_their_ranges_and_weights_on_the_simulated_market(market, universe):
    assert audit_labels(market, market.cuts(2, seed=6), universe.symbol("GC=F").costs).to_dicts() == []


def spoilt(raw: pl.DataFrame) -> pl.DataFrame:
    """What cleaning has to judge: volume that begins late, stops and is -1 or NaN; rows that conflict, come late or cannot be."""
    row, volume = pl.int_range(pl.len()), pl.col("volume")
    third = raw.height // 3
    odd = raw.with_columns(
        volume=pl.when(row < third).then(0.0)
        .when((row > 2 * third) & (row < 2 * third + 20_000)).then(0.0)  # two weeks: longer than a volume vouches
        .when(row % 997 == 0).then(-1.0).when(row % 613 == 0).then(math.nan).otherwise(volume),
        close=pl.when(row % 1_013 == 0).then(-pl.col("close")).otherwise("close"),
        high=pl.when(row % 1_511 == 0).then(pl.col("low") / 2).otherwise("high"),
    )  # fmt: skip
    again = odd.gather_every(701).with_columns(pl.col("open", "high", "low", "close") * 1.001)
    between = odd.gather_every(887).with_columns(pl.col("timestamp") + timedelta(seconds=13))
    return pl.concat([odd, again, between])


def test_every_rung_from_raw_rows_that_cleaning_has_to_judge(simulated_minutes, universe):
    """The cut goes through the raw rows: volume that had not begun at a cut is null there, and stays null.

    A split that is declared for the middle changes no bar before it.
    """
    split = SPRING + timedelta(days=DAYS // 2)
    rules = CleaningRules(adjustments=(Adjustment(date=split.date(), ratio=2),))
    shares = pl.when(pl.col("timestamp") < split).then(1.0).otherwise(2.0)
    raw = spoilt(simulated_minutes("BTC-USD", SPRING, DAYS)).with_columns(pl.col("open", "high", "low", "close") / shares)
    market = Market(raw, universe.symbol("BTC-USD").calendar, rules=rules)
    assert market.rungs["1h"]["volume"].null_count() > 24 * DAYS / 3
    for cut in random_cuts(market.raw["timestamp"], 6, seed=11):
        told = market.rungs_at(cut)
        for rung, full in market.rungs.items():
            faults = prefix_audit(lambda _, bars=told[rung]: bars, full, [cut], at="known_at")
            assert faults.to_dicts() == [], rung


def test_features_of_volume_from_raw_rows_that_cleaning_has_to_judge(simulated_minutes, universe):
    raw = spoilt(simulated_minutes("BTC-USD", SPRING, DAYS))
    settings = FeatureSettings(families=("volume", "microstructure"))
    market = Market(raw, universe.symbol("BTC-USD").calendar, ("1m", "15m", PRIMARY), settings)
    cuts = [cut for cut in market.cuts(2, seed=12) if cut > SPRING + timedelta(days=DAYS / 2)]
    assert len(cuts) > 1
    assert audit(market, cuts).to_dicts() == []


def test_the_view_on_the_simulated_market(market):
    cuts = market.cuts(1, seed=7)[:2]
    assert prefix_audit(lambda cut: as_view(market.told(cut)), as_view(market.full), cuts).is_empty()


def test_live_inference_reads_the_very_rows_that_training_read(market, default):
    experiment = default.model_copy(update={"features": DEFAULTS})
    moments = random_cuts(market.full["decision_at"].tail(200), 4, seed=8)
    told = live_rows(market, experiment, moments)
    assert told.equals(market.full.filter(pl.col("decision_at").is_in(moments)), null_equal=True)


def test_a_feature_that_peeks_is_caught_on_the_same_path(market, monkeypatch):
    """The audit would see one minute of foresight in one of some two hundred columns."""
    specs(FAMILIES)
    peek = FeatureSpec(
        "peek", "returns", ("close",), 2, ("1m",), zscore=False, needs_volume=False, output=None, meaning="the next close",
        function=lambda columns: np.append(columns["close"][1:], columns["close"][-1:]) / columns["close"],
    )  # fmt: skip
    monkeypatch.setitem(registry._REGISTERED, "peek", peek)
    spoiled = replace(market, settings=FeatureSettings(families=("returns",)))
    cuts = market.cuts(1, seed=5)[:2]
    assert set(audit(spoiled, cuts)["where"]) == {"peek_1m"}


def _hours_early(function):
    """A function of decisions and a table, or of a symbol, its bars and more, that knows every row twelve hours too early."""

    def early(first: object, table: pl.DataFrame, *more: object) -> object:
        return function(first, table.with_columns(pl.col("known_at") - timedelta(hours=12)), *more)

    return early


@pytest.mark.parametrize("family", ["cross_asset", "macro", "news"])
def test_a_table_that_is_known_too_early_is_caught_on_the_same_path(market, monkeypatch, family):
    place = {"cross_asset": "build.pair_place", "macro": "macro.columns", "news": "news.columns"}[family]
    module = importlib.import_module(f"quant_pipeline.features.{place.partition('.')[0]}")
    name = place.partition(".")[2]
    monkeypatch.setattr(module, name, _hours_early(getattr(module, name)))
    spoiled = replace(market, settings=FeatureSettings(families=(family, "calendar")))
    told_at = market.world.releases["known_at"].filter(market.world.releases["known_at"] > market.end - timedelta(days=30))
    caught = set(audit(spoiled, [told_at[0] - timedelta(minutes=30), *market.cuts(1, seed=5)[:2]])["where"])
    assert caught
    assert caught <= {spec.column(symbol) for spec in specs((family,)) for symbol in market.world.others}


def test_an_hour_more_equals_a_full_recompute_of_a_year(simulated_minutes, world, universe):
    """Every feature, by `since`, from raw minutes and tables that grew by one hour."""
    start, days = datetime(2024, 6, 1, tzinfo=UTC), 365
    raw = simulated_minutes("BTC-USD", start, days)
    rules = universe.cleaning("BTC-USD")
    year = Market(raw, universe.symbol("BTC-USD").calendar, world=world("BTC-USD", start, days), rules=rules)
    before = year.told(year.end - timedelta(hours=1))
    update = year.features(year.rungs, year.context, since=before["decision_at"][-1])
    assert update.height == 1
    assert pl.concat([before, update]).equals(year.full, null_equal=True)


@pytest.fixture(scope="module")
def real_market(real_minutes, simulated_source, universe):
    """Maker of a real file's market. Real files beside it, nothing where there is none; headlines and releases are simulated."""

    def make(symbol: str, settings: FeatureSettings, ladder: tuple[str, ...]) -> Market:
        instrument, raw = universe.symbol(symbol), real_minutes(symbol)
        others = {name: _other(universe, name, real_minutes(name)) for name in instrument.correlated}
        tables = _tables(simulated_source, symbol, raw["timestamp"].min(), raw["timestamp"].max())
        return Market(raw, instrument.calendar, ladder, settings, World(others, *tables), universe.cleaning(symbol))

    return make


@pytest.mark.long
@pytest.mark.parametrize("symbol", ["BTC-USD", "CL=F", "GC=F", "SPY"])
def test_real_bars(symbol, real_market, universe, capsys):
    """Outages, spliced feeds, no volume, half days, markets without a file: as they are. Slow rungs carry every feature."""
    market = real_market(symbol, EVERYWHERE, LONG_LADDER)
    assert_nothing_left_out(market)
    cuts = market.cuts(5, seed=9)
    faults = audit(market, cuts)
    on_labels = audit_labels(market, cuts, universe.symbol(symbol).costs)
    views = prefix_audit(lambda cut: as_view(market.told(cut)), as_view(market.full), cuts[:2])
    rows = sum(market.full.filter(pl.col("decision_at") <= cut).height for cut in cuts)
    told = f"{len(cuts)} cuts, {market.full.width - 2} features, {rows:,} rows compared twice, {faults.height} faults"
    with capsys.disabled():
        print(f"\n{symbol}: {told}")
    assert pl.concat([faults, on_labels, views]).to_dicts() == []


@pytest.mark.long
@pytest.mark.parametrize("symbol", ["BTC-USD", "CL=F", "GC=F", "SPY"])
def test_live_inference_on_real_bars(symbol, real_market, default):
    market = real_market(symbol, default.features, default.rungs)
    decisions = market.full["decision_at"]
    moments = random_cuts(decisions.filter(decisions > decisions[0] + WEEKS_OF_WARM_UP * 2), 25, seed=10)
    told = live_rows(market, default, moments)
    wanted = market.full.filter(pl.col("decision_at").is_in(moments))
    different = [name for name in wanted.columns if not told[name].equals(wanted[name], null_equal=True)]
    assert different == []
