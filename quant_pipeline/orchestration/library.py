"""News and macro releases: where each profile gets them from, where they are kept, and how they are brought up to date."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from quant_pipeline.errors import ConfigError, DamagedError, DataError, MissingUpstreamError, QuantError, StorageError
from quant_pipeline.files import stands, write_text
from quant_pipeline.ledger import DOWN, Ledger
from quant_pipeline.orchestration.house import BEFORE_ALL

if TYPE_CHECKING:
    from quant_pipeline.features.text.embeddings import EmbeddingStore
    from quant_pipeline.features.text.encoder import Encoder
    from quant_pipeline.inference.context import Library
    from quant_pipeline.orchestration.house import House
    from quant_pipeline.sources.base import MacroSource
    from quant_pipeline.sources.macro.releases import ReleaseStore
    from quant_pipeline.sources.news.articles import ArticleStore

MACRO_PAST = timedelta(days=3 * 366)
"""Before the first bar: what year-over-year figures and the scale of changes look back on."""
MACRO_OVERLAP = timedelta(days=7)
"""Asked again on every run, to meet what was told late."""
_TICK = timedelta(microseconds=1)
"""What is released at this very moment is known at it."""
ABSENT = "no source of it in this profile: its features are left out"


def open_library(house: House) -> Library:
    """The stores that inference reads; a kind of news that this profile has no source of, and never had, is None."""
    from quant_pipeline.inference.context import Library

    news, macro = articles(house), releases(house)
    return Library(
        articles=news if has_news(house) or stands(news.root) else None,
        embeddings=lambda symbol: embeddings(house, symbol),
        releases=macro if has_macro(house) or stands(macro.root) else None,
    )


def articles(house: House) -> ArticleStore:
    """Headlines as they came."""
    from quant_pipeline.sources.news.articles import ArticleStore

    folder = house.workplace.shared / "articles"
    # the simulated market says many things in the same words
    return ArticleStore(folder, same_title=timedelta(0)) if house.workplace.profile == "simulated" else ArticleStore(folder)


def releases(house: House) -> ReleaseStore:
    """Macro vintages as they came."""
    from quant_pipeline.sources.macro.releases import ReleaseStore

    return ReleaseStore(house.workplace.releases)


def embeddings(house: House, symbol: str) -> EmbeddingStore:
    """The embedded headlines of a symbol, by the experiment's encoder."""
    from quant_pipeline.features.text.embeddings import EmbeddingStore

    name = Path(house.experiment.news.encoder).name
    return EmbeddingStore(house.workplace.shared / "embeddings" / symbol / f"{name}.h5")


@cache
def encoder(name: str) -> Encoder:
    """The text encoder, loaded once per process."""
    from quant_pipeline.features.text.encoder import make_encoder

    return make_encoder(name)


def has_news(house: House) -> bool:
    """Whether this profile can tell headlines."""
    return house.workplace.profile != "files" or _news_file(house) is not None


def collect_news(house: House, symbol: str) -> Ledger:
    """Append what is new about `symbol` to the articles."""
    store, now = articles(house), house.workplace.now()
    profile, delay = house.workplace.profile, house.experiment.news.delay
    if profile == "simulated":
        told = house.source.headlines(symbol, house.history_start(symbol), house.horizon(symbol))  # type: ignore[attr-defined]
        return store.append(symbol, told.drop("tone"), now, backfill=True)
    if profile == "yahoo":
        from quant_pipeline.config.feeds import load_feeds
        from quant_pipeline.sources.news.rss import RssSource, collect_into

        source = RssSource(load_feeds(), house.workplace.shared / "feeds", delay=delay)
        return collect_into(source, store, symbol, now)[1]
    path = _news_file(house)
    if path is None:
        return Ledger(notes={"absent": f"{ABSENT}; put news.parquet beside the bars, or set QUANT_NEWS"})
    from quant_pipeline.sources.news.files import FileNews

    zone = house.experiment.news.timezone
    told, ledger = FileNews(path, delay=delay, timezone=zone).read(symbol)
    _keep_terms(store.folder(symbol), f"timezone {zone}, delay {delay}")
    stored = store.append(symbol, told, now, backfill=True)
    return Ledger(rows_in=ledger.rows_in, dropped=ledger.dropped | stored.dropped, notes=ledger.notes | stored.notes)


def _keep_terms(folder: Path, terms: str) -> None:
    """Note how a news file was read; stored articles never move in time, so another reading cannot be added to them."""
    path = folder / "terms.txt"
    kept = path.read_text(encoding="utf-8", errors="replace") if stands(path) else terms
    if kept != terms:
        raise DataError(
            f"articles in {folder}", found=f"those of a file read with {kept}", wanted=f"one reading, now with {terms}",
            mend=f"set `news` back in the experiment, or delete {folder} to read the file anew",
        )  # fmt: skip
    write_text(path, terms)


def embed_news(house: House, symbol: str) -> Ledger:
    """Embed the articles of `symbol` that are not embedded yet; those of another checkpoint are refused, not mixed in."""
    from quant_pipeline.features.text.encoder import encoder_id

    if not has_news(house):
        return Ledger(notes={"absent": ABSENT})
    titles = articles(house).read(symbol)["title"].unique(maintain_order=True).to_list()
    store = embeddings(house, symbol)
    if store.model() == encoder_id(house.experiment.news.encoder):
        with suppress(MissingUpstreamError):
            store.lookup(titles)
            ledger = Ledger(rows_in=len(titles))
            ledger.drop("stored", len(titles))
            return ledger  # most hours bring no new headline, and need no model in memory
    return store.ensure(titles, encoder(house.experiment.news.encoder))


def macro_source(house: House) -> MacroSource | None:
    """Where macro releases come from: the simulated market, FRED with a key, the user's own files, or nowhere."""
    if house.workplace.profile == "simulated":
        return house.source  # type: ignore[return-value]
    if house.workplace.profile == "yahoo" and os.environ.get("FRED_API_KEY"):
        from quant_pipeline.sources.macro.fred import FredSource

        return FredSource(hours=house.experiment.macro.hours)
    folder, read = _macro_files(house)
    if not read:
        return None
    from quant_pipeline.sources.macro.files import MacroFiles

    return MacroFiles(folder, series=read, lag_days=house.experiment.macro.lag_days, hours=house.experiment.macro.hours)


def has_macro(house: House) -> bool:
    """Whether this profile can tell macro releases."""
    told_by = {"simulated": True, "yahoo": bool(os.environ.get("FRED_API_KEY"))}
    return told_by.get(house.workplace.profile, False) or bool(_macro_files(house)[1])


def _macro_files(house: House) -> tuple[Path, tuple[str, ...]]:
    """The folder of macro files, and the codes of those in it that some feature reads."""
    from quant_pipeline.features.macro import SERIES

    folder = _named("QUANT_MACRO") or house.workplace.bars_folder / "macro"
    return folder, tuple(code for code in SERIES.values() if (folder / f"{code}.csv").is_file())


def collect_macro(house: House) -> Ledger:
    """Append every release that is new; files are read whole, for a series may be added, and their bars may end years ago."""
    from quant_pipeline.sources.macro.files import MacroFiles

    source, store, now = macro_source(house), releases(house), house.workplace.now()
    if source is None:
        return Ledger(notes={"absent": f"{ABSENT}; set FRED_API_KEY, or put CSV files with release dates into data/raw/macro"})
    start = BEFORE_ALL if isinstance(source, MacroFiles) else _macro_start(house, store)
    return store.append(source.releases(start, now + _TICK), now)


def _macro_start(house: House, store: ReleaseStore) -> datetime:
    """A little before the newest release; the first time, `MACRO_PAST` before the history."""
    days, newest = house.experiment.history_days, store.read()["released_at"].max()
    first = house.workplace.now() - timedelta(days=days) - MACRO_PAST if days else BEFORE_ALL
    return max(first, newest - MACRO_OVERLAP) if isinstance(newest, datetime) else first


def _news_file(house: House) -> Path | None:
    beside = [house.workplace.bars_folder / f"news.{ending}" for ending in ("parquet", "csv")]
    return _named("QUANT_NEWS") or next((path for path in beside if path.is_file()), None)


def _named(variable: str) -> Path | None:
    """The place that an environment variable names; one that is not there is a mistake, not an absent source."""
    given = os.environ.get(variable)
    if given and not Path(given).exists():
        raise ConfigError(variable, found=f"{given}, which is not there", wanted="an existing place", mend="correct or unset it")
    return Path(given) if given else None


def ingest_correlated(house: House, symbol: str) -> tuple[dict[str, str], dict[str, str]]:
    """Bring the bars of the symbols correlated with `symbol` up to date; returns, by name, why one has none or no new ones.

    Raises `DamagedError` or `StorageError` for bars that are there and cannot be read, or cannot be stored: a signal made
    without them would differ from its replay.
    """
    missing: dict[str, str] = {}
    down: dict[str, str] = {}
    for name in house.symbol(symbol).correlated:
        try:
            ledger = _ingest_other(house, symbol, name)
            down |= {name: ledger.notes[DOWN]} if DOWN in ledger.notes else {}
        except (DamagedError, StorageError):
            raise
        except QuantError as error:
            (down if house.store.intervals(name) else missing)[name] = str(error)
    return missing, down


def _ingest_other(house: House, symbol: str, name: str) -> Ledger:
    from quant_pipeline.bars.build import check_primary
    from quant_pipeline.sources.ingest import ingest

    check_primary(house.source.intervals(name), house.experiment, name)
    start, now = house.history_start(symbol), house.workplace.now()
    return ingest(house.source, house.store, name, house.universe.instrument(name), start=start, now=now)
