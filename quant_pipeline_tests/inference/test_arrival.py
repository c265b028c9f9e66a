"""Replay while the stores live on: what arrives late, is revised, filled or prepended later changes no emitted signal."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.features.text.embeddings import EmbeddingStore
from quant_pipeline.inference.account import Account
from quant_pipeline.inference.context import Library
from quant_pipeline.inference.predictor import Predictor
from quant_pipeline.inference.replay import replay
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.sources.macro.releases import ReleaseStore
from quant_pipeline.sources.news.articles import ArticleStore
from quant_pipeline.sources.store import RawStore

AT = datetime(2024, 2, 27, 14, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HOURS = 5
NAMES = ("BTC-USD", "ETH-USD")


def stores(folder):
    articles, releases = ArticleStore(folder / "articles"), ReleaseStore(folder / "releases")
    return Library(articles, lambda symbol: EmbeddingStore(folder / f"{symbol}.h5"), releases)


@pytest.fixture
def bare(read_only_news_desk, tmp_path):
    """The desk that reads other markets, news and releases, with nothing in its stores."""
    library = stores(tmp_path)
    return read_only_news_desk._replace(
        store=RawStore(tmp_path / "raw"), signals=SignalStore(tmp_path / "signals"), library=library
    )


class Feed:
    """What one hour brings: late minutes, revisions, at the end of some hours a filled hole, headlines and releases of before."""

    def __init__(self, desk, seed, minutes_of, tones, make_headlines, make_releases) -> None:
        self.desk, self.minutes, self.tones = desk, minutes_of, tones
        self.headlines, self.releases = make_headlines, make_releases
        self.rng = np.random.default_rng(seed)

    def hour(self, number):
        now = AT + number * HOUR + 5 * MINUTE
        for name in NAMES:
            late = int(self.rng.integers(0, 5)) * MINUTE
            bars = self.minutes[name].filter(pl.col("timestamp") < AT + number * HOUR - late)
            if number < HOURS - 1:
                hole = pl.col("timestamp").is_between(AT - 30 * HOUR, AT - 27 * HOUR, closed="left")  # filled later
                bars = bars.filter(~hole, pl.col("timestamp") >= AT - 20 * 24 * HOUR)  # prepended later
            revised = pl.col("timestamp") > AT + (number - 4) * HOUR
            noise = pl.Series(1 + 1e-4 * self.rng.standard_normal(bars.height) * (self.rng.random(bars.height) < 0.05))
            changed = bars.with_columns(close=pl.when(revised).then(pl.col("close") * noise).otherwise("close"))
            self.desk.store.append(name, "1m", changed, now)
        told = AT + (number - 30) * HOUR  # published long before it came
        title = f"told late {number}"
        self.desk.library.articles.append("BTC-USD", self.headlines([(told, title)]), now, backfill=True)
        self.desk.library.embeddings("BTC-USD").ensure([title], self.tones)
        self.desk.library.releases.append(self.releases([("DGS10", told, 4 + 0.1 * number)]), now)
        return now


def replayed(desk, bundle):
    tables = [replay(desk, name, {bundle.id: bundle}.__getitem__, profile="yahoo", simulated=False) for name in NAMES]
    return pl.concat(tables)


@pytest.mark.parametrize("seed", range(2))
def test_every_signal_comes_back_though_every_store_went_on(
    bare, make_bundle, seed, minutes_of, tones, make_headlines, make_releases
):
    feed = Feed(bare, seed, minutes_of, tones, make_headlines, make_releases)
    bundle = make_bundle(columns=("log_return_1_1h",))
    predictor = Predictor(bare, profile="yahoo", simulated=False)
    for number in range(HOURS):
        now = feed.hour(number)
        for name in NAMES:
            assert bare.signals.write(predictor.signal(name, bundle, now)) == "written"
            assert bare.signals.write(predictor.signal(name, bundle, now + MINUTE)) == "unchanged"
    emitted = [signal for name in NAMES for signal in bare.signals.read(name)]
    feed.hour(HOURS)
    table = replayed(bare, bundle)
    assert table["equal"].all(), table.filter(~pl.col("equal")).to_dicts()
    assert table.height == HOURS * len(NAMES)
    assert set(table["status"]) == {"ok"}
    for signal in emitted:
        assert predictor.signal(signal.symbol, bundle, signal.as_of, signal.seen_by).canonical() == signal.canonical()
    now = [predictor.signal(signal.symbol, bundle, signal.as_of) for signal in emitted]
    assert all(one.data_hash != other.data_hash for one, other in zip(now, emitted, strict=True)), (
        "or nothing was put to the test"
    )
    assert any(signal.action for signal in emitted), "or there was no account"


def test_the_account_is_that_of_what_had_been_seen(emitting, minutes_of):
    """The same through one account for all moments and through one for each, before and after a late correction."""
    span = Account(emitting, AT, AT + 6 * HOUR)
    moments = [AT + hour * HOUR for hour in range(1, 7)]
    before = emitting.store.look()
    then = [span.at(moment) for moment in moments]
    bars = minutes_of["BTC-USD"].filter(pl.col("timestamp").is_between(AT + HOUR, AT + 4 * HOUR))
    emitting.store.append("BTC-USD", "1m", bars.with_columns(pl.col("open", "close") * 1.02, pl.col("high") * 1.03), AT)
    for account in (Account(emitting, AT, AT + 6 * HOUR), span):
        assert [account.at(moment, before) for moment in moments] == then
    assert [Account(emitting, moment, moment).at(moment, before) for moment in moments] == then
    assert [Account(emitting, AT, AT + 6 * HOUR).at(moment) for moment in moments] != then


@pytest.fixture
def emitting(desk, bundle):
    """A desk on which both symbols have spoken for six hours."""
    predictor = Predictor(desk, profile="simulated", simulated=True)
    for hour in range(6):
        for name in NAMES:
            desk.signals.write(predictor.signal(name, bundle, AT + hour * HOUR))
    assert any(signal.action for signal in desk.signals.read("BTC-USD"))
    return desk


def test_a_late_feed_is_stale_first_then_ok_then_stands(desk, bundle, tmp_path, minutes_of):
    """Forty minutes late at the first tick of the hour; there at the second; corrected at the third."""
    bars, store = minutes_of["BTC-USD"], RawStore(tmp_path / "slow")
    slow = desk._replace(store=store)
    predictor = Predictor(slow, profile="yahoo", simulated=False)
    store.append("BTC-USD", "1m", bars.filter(pl.col("timestamp") < AT - 40 * MINUTE), AT + 5 * MINUTE)
    first = predictor.signal("BTC-USD", bundle, AT + 5 * MINUTE)
    assert (first.status, slow.signals.write(first)) == ("stale", "written")
    store.append("BTC-USD", "1m", bars.filter(pl.col("timestamp") < AT), AT + 35 * MINUTE)
    second = predictor.signal("BTC-USD", bundle, AT + 35 * MINUTE)
    assert (second.status, slow.signals.write(second)) == ("ok", "replaced")
    corrected = bars.filter(pl.col("timestamp") < AT).with_columns(pl.col("close") * 1.0001)
    store.append("BTC-USD", "1m", corrected, AT + 50 * MINUTE)
    third = predictor.signal("BTC-USD", bundle, AT + 50 * MINUTE)
    assert (third.status, slow.signals.write(third)) == ("ok", "conflict")
    assert slow.signals.latest("BTC-USD") == second
    table = replay(slow, "BTC-USD", {bundle.id: bundle}.__getitem__, profile="yahoo", simulated=False)
    assert table["equal"].to_list() == [True]


def test_a_store_that_did_not_exist_then_is_absent_in_the_replay(desk, bundle, told_folder, tmp_path):
    """News and releases collected for the first time after a signal was emitted, all of them known long before it."""
    families = desk.experiment.features.model_copy(update={"families": ("returns", "volatility", "news", "macro")})
    without = desk._replace(experiment=desk.experiment.model_copy(update={"features": families}))
    emitted = Predictor(without, profile="simulated", simulated=True).signal("BTC-USD", bundle, AT)
    assert without.signals.write(emitted) == "written"
    folder = shutil.copytree(told_folder, tmp_path / "told")
    library = Library(
        ArticleStore(folder / "articles"),
        lambda symbol: EmbeddingStore(folder / f"{symbol}.h5"),
        ReleaseStore(folder / "releases"),
    )
    table = replay(
        without._replace(library=library), "BTC-USD", {bundle.id: bundle}.__getitem__, profile="simulated", simulated=True
    )
    assert table["equal"].to_list() == [True]
