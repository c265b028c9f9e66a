"""Where each profile gets news and macro releases from, and what happens where there is no source of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_pipeline.errors import ConfigError, DamagedError, DataError
from quant_pipeline.features.text.encoder import Encoded
from quant_pipeline.ledger import Ledger
from quant_pipeline.orchestration import library
from quant_pipeline.orchestration.jobs import live_inputs
from quant_pipeline.orchestration.library import (
    MACRO_PAST,
    articles,
    collect_macro,
    collect_news,
    embed_news,
    embeddings,
    has_news,
    ingest_correlated,
    macro_source,
    open_library,
    releases,
)
from quant_pipeline.orchestration.results import Result

SYMBOL = "BTC-USD"
BESIDE = ["returns", "cross_asset", "macro", "news"]
END = datetime(2026, 11, 16, tzinfo=UTC)  # the Monday of the home's clock
DAYS = 21
NEWS = "published_at,symbol,title\n2026-11-10T09:00:00+00:00,BTC-USD,coins rise\n2026-11-11T09:00:00+00:00,GC=F,gold falls\n"
RATES = "period,value,released_at\n2019-09-30,1.7,2019-10-01\n2026-10-30,4.1,2026-11-02\n2026-11-02,4.2,2026-11-03\n"


@pytest.fixture(autouse=True)
def _no_sources_of_the_desk(monkeypatch):
    for name in ("QUANT_NEWS", "QUANT_MACRO", "FRED_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def simulated(bare_home):
    return bare_home.house(features={"families": BESIDE}, history_days=30)


@pytest.fixture(scope="module")
def minutes() -> pl.DataFrame:
    rng, rows = np.random.default_rng(4), DAYS * 1_440
    stamps = pl.datetime_range(END - timedelta(days=DAYS), END, "1m", closed="left", time_unit="us", eager=True)
    close = 100 * np.exp(np.cumsum(4e-4 * rng.standard_normal(rows)))
    bars = pl.DataFrame({"timestamp": stamps, "open": close, "high": close * 1.001, "low": close * 0.999, "close": close})
    return bars.with_columns(volume=pl.Series(rng.gamma(2, 5, rows)))


@pytest.fixture
def folder(tmp_path, minutes):
    """The user's own bars of one symbol, and nothing else."""
    place = tmp_path / "bars"
    place.mkdir()
    minutes.write_parquet(place / f"{SYMBOL}_1m.parquet")
    return place


@pytest.fixture
def files(bare_home, folder):
    """A house of the user's own files."""
    house = bare_home.house(features={"families": BESIDE})
    return replace(house, workplace=replace(house.workplace, profile="files", bars_folder=folder))


@pytest.fixture
def yahoo(simulated):
    return replace(simulated, workplace=replace(simulated.workplace, profile="yahoo", bars_folder=simulated.workplace.data))


def test_the_simulated_market_tells_news_and_releases(simulated):
    assert has_news(simulated)
    assert macro_source(simulated) is simulated.source
    opened = open_library(simulated)
    assert opened.articles.read(SYMBOL).is_empty()
    assert opened.releases.read().is_empty()


def test_every_simulated_headline_is_kept_and_none_twice(simulated):
    told = simulated.source.headlines(SYMBOL, simulated.history_start(SYMBOL), simulated.workplace.now())
    first, again = collect_news(simulated, SYMBOL), collect_news(simulated, SYMBOL)
    assert (first.rows_in, first.rows_out, again.rows_out) == (told.height, told.height, 0)
    assert again.dropped == {"seen_before": told.height}
    stored = articles(simulated).read(SYMBOL)
    assert stored["known_at"].to_list() == told["known_at"].to_list()
    assert told["title"].n_unique() < told.height  # or keeping equal titles apart would mean nothing


class Tones:
    """An encoder of one number a text."""

    id, dimension = "tones", 2

    def analyse(self, texts):
        sentiment = np.array([len(text) % 9 / 4 - 1 for text in texts])
        return Encoded(np.zeros((len(texts), 2), np.float32), sentiment)


def test_headlines_are_embedded_once_and_found_by_inference(simulated, monkeypatch):
    monkeypatch.setattr(library, "encoder", lambda _: Tones())
    collect_news(simulated, SYMBOL)
    first, again = embed_news(simulated, SYMBOL), embed_news(simulated, SYMBOL)
    titles = articles(simulated).read(SYMBOL)["title"].unique()
    assert (first.rows_in, first.rows_out, again.rows_out) == (len(titles), len(titles), 0)
    assert embeddings(simulated, SYMBOL).path.name == "minilm.h5"
    told = simulated.context(SYMBOL, simulated.experiment.features.model_copy(update={"families": ("news",)})).news
    assert told["known_at"].max() <= simulated.cutoff(SYMBOL)
    assert told.height == articles(simulated).read(SYMBOL, end=simulated.cutoff(SYMBOL)).height > 0


def test_releases_begin_long_before_the_bars_and_are_asked_for_once(simulated, monkeypatch):
    asked = []
    honest = type(simulated.source).releases
    monkeypatch.setattr(
        type(simulated.source), "releases", lambda self, start, end: asked.append((start, end)) or honest(self, start, end)
    )
    now = simulated.workplace.now()
    first = collect_macro(simulated)
    known = releases(simulated).read()
    again = collect_macro(simulated)
    assert asked[0][0] == now - timedelta(days=30) - MACRO_PAST
    assert asked[1][0] == known["released_at"].max() - timedelta(days=7)
    assert (first.rows_out, again.rows_out) == (known.height, 0)
    assert known["known_at"].max() <= now
    assert open_library(simulated).releases.read().equals(known)


def test_what_is_released_at_this_very_moment_is_known(simulated):
    told = simulated.source.releases(END - timedelta(days=30), END)
    moment = told["known_at"][-1]
    house = replace(simulated, workplace=replace(simulated.workplace, as_of=moment))
    collect_macro(house)
    assert releases(house).read(moment)["known_at"].max() == moment


def test_a_files_house_without_sources_says_so_and_stores_nothing(files):
    assert not has_news(files)
    assert macro_source(files) is None
    for ledger, word in ((collect_news(files, SYMBOL), "QUANT_NEWS"), (collect_macro(files), "FRED_API_KEY")):
        assert "its features are left out" in ledger.notes["absent"]
        assert word in ledger.notes["absent"]
        assert ledger.rows_in == 0
    assert "absent" in embed_news(files, SYMBOL).notes
    opened = open_library(files)
    assert (opened.articles, opened.releases) == (None, None)
    assert not files.workplace.lake.exists()


@pytest.mark.parametrize("where", ["beside the bars", "environment"])
def test_a_files_house_reads_its_own_news(files, folder, tmp_path, monkeypatch, where):
    path = (folder if where == "beside the bars" else tmp_path) / "news.csv"
    path.write_text(NEWS)
    if where == "environment":
        monkeypatch.setenv("QUANT_NEWS", str(path))
    ledger = collect_news(files, SYMBOL)
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped["other_symbol"]) == (2, 1, 1)
    (known,) = open_library(files).articles.read(SYMBOL)["known_at"]
    assert known == datetime(2026, 11, 10, 9, 1, tzinfo=UTC)  # news.delay is a minute


def test_the_zone_of_a_news_file_is_a_setting_that_its_error_names(bare_home, files, folder):
    (folder / "news.csv").write_text("published_at,title\n2026-11-10 13:00:00,coins rise\n")
    with pytest.raises(DataError, match=r"without a time zone.*`news: \{timezone: America/New_York\}`"):
        collect_news(files, SYMBOL)
    told = bare_home.house(features={"families": BESIDE}, news={"timezone": "America/New_York"})
    told = replace(told, workplace=files.workplace)
    collect_news(told, SYMBOL)
    assert articles(told).read(SYMBOL)["known_at"].to_list() == [datetime(2026, 11, 10, 18, 1, tzinfo=UTC)]


def test_a_corrected_zone_is_not_ignored_in_silence(bare_home, files, folder):
    (folder / "news.csv").write_text("published_at,title\n2026-11-10 13:00:00,coins rise\n")

    def house(timezone):
        told = bare_home.house(features={"families": BESIDE}, news={"timezone": timezone})
        return replace(told, workplace=files.workplace)

    collect_news(house("UTC"), SYMBOL)
    collect_news(house("UTC"), SYMBOL)
    with pytest.raises(DataError, match=r"read with timezone UTC.*now with timezone America/New_York.*delete"):
        collect_news(house("America/New_York"), SYMBOL)
    shutil.rmtree(articles(files).folder(SYMBOL))
    collect_news(house("America/New_York"), SYMBOL)
    assert articles(files).read(SYMBOL)["known_at"].to_list() == [datetime(2026, 11, 10, 18, 1, tzinfo=UTC)]


def test_embeddings_of_another_checkpoint_are_not_taken_for_those_of_this_one(simulated, monkeypatch):
    monkeypatch.setattr(library, "encoder", lambda _: Tones())
    collect_news(simulated, SYMBOL)
    embed_news(simulated, SYMBOL)
    monkeypatch.setattr(Tones, "id", "tones@2")
    with pytest.raises(DataError, match="wanted those of tones@2"):
        embed_news(simulated, SYMBOL)


@pytest.mark.parametrize("where", ["beside the bars", "environment"])
def test_a_files_house_reads_its_own_releases_however_old(files, folder, tmp_path, monkeypatch, where):
    place = (folder if where == "beside the bars" else tmp_path) / "macro"
    place.mkdir()
    (place / "DGS10.csv").write_text(RATES)
    if where == "environment":
        monkeypatch.setenv("QUANT_MACRO", str(place))
    assert collect_macro(files).rows_out == 3
    told = open_library(files).releases.read()
    assert told["period"].min().year == 2019  # bars of files may end years ago
    (place / "DGS2.csv").write_text(RATES)
    assert collect_macro(files).rows_out == 3  # a series that was added later comes with its whole history
    assert set(releases(files).read()["series"]) == {"DGS10", "DGS2"}


@pytest.mark.parametrize(("name", "ask"), [("QUANT_NEWS", has_news), ("QUANT_MACRO", macro_source)])
def test_a_place_that_is_named_and_absent_is_refused(files, monkeypatch, tmp_path, name, ask):
    monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=f"{name}.*nowhere"):
        ask(files)


def test_news_that_were_once_collected_still_count_when_their_file_is_gone(files, folder):
    (folder / "news.csv").write_text(NEWS)
    collect_news(files, SYMBOL)
    (folder / "news.csv").unlink()
    assert open_library(files).articles.read(SYMBOL).height == 1


def test_yahoo_asks_fred_with_a_key_and_feeds_for_news(yahoo, monkeypatch):
    from quant_pipeline.sources.macro.fred import FredSource
    from quant_pipeline.sources.news import rss

    assert macro_source(yahoo) is None
    monkeypatch.setenv("FRED_API_KEY", "0" * 32)
    assert isinstance(macro_source(yahoo), FredSource)
    asked = []

    def collect(source, store, symbol, now):
        asked.append((source.delay, store.root, symbol, now))
        return pl.DataFrame(), Ledger(rows_in=3)

    monkeypatch.setattr(rss, "collect_into", collect)
    assert has_news(yahoo)
    assert collect_news(yahoo, SYMBOL).rows_in == 3
    assert asked == [(timedelta(minutes=1), yahoo.workplace.shared / "articles", SYMBOL, yahoo.workplace.now())]


def test_yahoo_without_a_key_reads_files(yahoo, tmp_path, monkeypatch):
    monkeypatch.setenv("QUANT_MACRO", str(tmp_path))
    assert macro_source(yahoo) is None  # a folder without any series that a feature reads
    (tmp_path / "DGS10.csv").write_text("period,value,released_at\n2024-01-02,3.9,2024-01-03\n")
    assert macro_source(yahoo).folder == tmp_path


def test_equal_titles_are_one_article_where_the_market_is_real(files, simulated):
    assert articles(files).same_title > timedelta(0) == articles(simulated).same_title


def test_a_correlated_symbol_without_data_is_named_with_its_reason(files):
    missing, down = ingest_correlated(files, SYMBOL)
    assert (set(missing), down) == (set(files.symbol(SYMBOL).correlated), {})
    assert all(name in reason for name, reason in missing.items())


def test_correlated_symbols_that_the_source_has_come_in(files, folder, minutes):
    minutes.write_parquet(folder / "GC=F_1m.parquet")
    missing, _ = ingest_correlated(files, SYMBOL)
    assert set(missing) == set(files.symbol(SYMBOL).correlated) - {"GC=F"}
    assert files.store.last("GC=F", "1m") == minutes["timestamp"][-1]


def test_a_correlated_symbol_that_is_gone_keeps_its_bars_and_says_why_none_came(files, folder, minutes):
    minutes.write_parquet(folder / "GC=F_1m.parquet")
    ingest_correlated(files, SYMBOL)
    (folder / "GC=F_1m.parquet").unlink()
    missing, down = ingest_correlated(files, SYMBOL)
    assert set(down) == {"GC=F"}
    assert "GC=F" not in missing


@pytest.mark.parametrize("wrong", ["file", "dead link", "damaged month"])
def test_damaged_bars_of_a_correlated_symbol_are_not_taken_for_none(files, folder, minutes, wrong):
    minutes.write_parquet(folder / "GC=F_1m.parquet")
    ingest_correlated(files, SYMBOL)
    place = files.store.folder("GC=F", "1m")
    if wrong == "damaged month":
        next(place.glob("*.parquet")).write_bytes(b"x")
    else:
        shutil.rmtree(place)
        place.write_text("x") if wrong == "file" else place.symlink_to("/no/where")
    for look in (
        lambda: ingest_correlated(files, SYMBOL),
        lambda: files.store.read("GC=F", "1m"),
        lambda: files.store.fingerprint("GC=F"),
    ):
        with pytest.raises(DamagedError, match="GC=F/1m"):
            look()


def test_a_damaged_progress_of_a_correlated_symbol_is_told(simulated):
    name = simulated.symbol(SYMBOL).correlated[0]
    progress = simulated.store.folder(name, "1m") / "progress.json"
    progress.parent.mkdir(parents=True)
    progress.write_text("[1]")
    with pytest.raises(DamagedError, match="progress"):
        ingest_correlated(simulated, SYMBOL)


@pytest.mark.parametrize("place", ["articles", "releases"])
def test_a_store_that_is_a_dead_link_is_damage(files, place):
    root = {"articles": articles(files).root, "releases": releases(files).root}[place]
    root.parent.mkdir(parents=True, exist_ok=True)
    root.symlink_to("/no/where")
    with pytest.raises(DamagedError, match=place):
        {"articles": lambda: articles(files).read(SYMBOL), "releases": lambda: releases(files).read()}[place]()


def test_a_symbol_without_correlated_ones_has_no_other_bars(bare_home, files):
    alone = {SYMBOL: files.symbol(SYMBOL).model_copy(update={"correlated": ()})}
    house = replace(files, universe=files.universe.model_copy(update={"symbols": alone}))
    with bare_home.runner(house) as runner:
        runner.materialize([dg.AssetKey("raw_bars"), dg.AssetKey("correlated_bars")], SYMBOL)
    assert pl.read_parquet(house.workplace.lake / "correlated_bars" / f"{SYMBOL}.parquet").is_empty()


def test_without_sources_the_features_are_left_out_and_named(bare_home, files):
    """The default experiment on bars alone: no column is made of what is not there."""
    rungs = [f"bars/{rung}" for rung in files.experiment.rungs]
    chosen = [*live_inputs(files), *rungs, "macro_features", "news_features", "features"]
    with bare_home.runner(files) as runner:
        runner.materialize([dg.AssetKey.from_user_string(name) for name in chosen], SYMBOL)

        def metadata(name: str) -> Result:
            return runner.instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.metadata

        left_out = [metadata(name)["ledger"].value["notes"]["left_out"] for name in ("news_features", "macro_features")]
        missing = metadata("correlated_bars")["missing"].value
        notes = metadata("features")["ledger"].value["notes"]
    lake = files.workplace.lake
    features = pl.read_parquet(lake / "features" / f"{SYMBOL}.parquet")
    assert all(name.startswith(("news_", "macro_")) for names in left_out for name in names)
    assert all(len(names) > 5 for names in left_out)
    assert not [name for name in features.columns if name.startswith(("news_", "macro_"))]
    assert set(missing) == set(notes["missing"]) == set(files.symbol(SYMBOL).correlated)
    assert features.select("xknown_GC=F", "xknown_SPY").sum().row(0) == (0, 0)
    assert features["xret_1_GC=F"].null_count() == features.height
