"""A small desk: two symbols that never close, minutes of a seeded walk, and a stand-in bundle that answers from features."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import Universe, load_universe
from quant_pipeline.errors import BundleError
from quant_pipeline.features.text.embeddings import EmbeddingStore
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.context import Library
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.sources.base import HEADLINES_SCHEMA, RELEASES_SCHEMA
from quant_pipeline.sources.macro.releases import ReleaseStore
from quant_pipeline.sources.news.articles import ArticleStore
from quant_pipeline.sources.store import RawStore

AT = datetime(2024, 2, 27, 14, tzinfo=UTC)
START, DAYS = datetime(2024, 1, 29, tzinfo=UTC), 32
FETCHED = datetime(2024, 3, 5, tzinfo=UTC)


def walk(seed: int, start: datetime = START, days: int = DAYS) -> pl.DataFrame:
    """One-minute bars with a few minutes missing."""
    rng, rows = np.random.default_rng(seed), days * 1_440
    close = 100 * np.exp(np.cumsum(4e-4 * rng.standard_normal(rows)))
    opened = np.append(close[0], close[:-1])
    stamps = pl.datetime_range(start, start + timedelta(days=days), "1m", closed="left", time_unit="us", eager=True)
    wick = 1 + 2e-4 * rng.random(rows)
    frame = pl.DataFrame({
        "timestamp": stamps, "open": opened, "high": np.maximum(opened, close) * wick, "low": np.minimum(opened, close) / wick,
        "close": close, "volume": rng.gamma(2, 5, rows),
    })  # fmt: skip
    return frame.filter(pl.Series(rng.random(rows) > 0.01))


@dataclass
class StandIn:
    """Answers like a bundle; `fails` makes its parts fail as real ones do."""

    id: str = "abc123"
    columns: tuple[str, ...] = ("log_return_1_1h", "atr_1h")
    manifest: dict[str, Any] = field(default_factory=dict)
    fails: str = ""
    asked: list[Any] = field(default_factory=list)

    def prepared(self, features, bars):
        assert bars["known_at"][-1] == features["decision_at"][-1]  # the primary bars, up to the decision
        return features

    def predict(self, view):
        self.asked.append(view)
        if self.fails == "error":
            raise BundleError("bundle", found="nothing", wanted="a model", mend="train")
        tilt = 1 / (1 + np.exp(-600 * view.values[:, 0].astype(float)))
        p_long, p_short = 0.1 + 0.6 * tilt, 0.1 + 0.6 * (1 - tilt)
        e_long = 0.01 * (p_long - p_short)
        return pl.DataFrame({
            "decision_at": view.decision_at, "p_short": p_short, "p_neutral": 1 - p_long - p_short, "p_long": p_long,
            "p_up": p_long + 0.5 * (1 - p_long - p_short), "e_r": e_long, "e_long": e_long - 0.001, "e_short": -e_long - 0.001,
        }).with_columns(
            fallback=pl.lit(self.fails or None, pl.String), problems=pl.lit("lightgbm: out of memory" if self.fails else None)
        )  # fmt: skip


@pytest.fixture(scope="session")
def small_experiment() -> Experiment:
    return Experiment.parse(
        {
            "name": "small", "ladder": ["1m", "15m", "25m", "1h"], "models": [{"name": "logistic"}],
            "features": {"families": ["returns", "volatility"], "zscore_window": 30, "zscore_min_periods": 10},
        },
        "test",
    )  # fmt: skip


@pytest.fixture(scope="session")
def minutes_of() -> dict[str, pl.DataFrame]:
    return {"BTC-USD": walk(1), "ETH-USD": walk(2)}


@pytest.fixture(scope="session")
def raw_folder(tmp_path_factory, minutes_of) -> Path:
    store = RawStore(tmp_path_factory.mktemp("raw"))
    for name, frame in minutes_of.items():
        store.append(name, "1m", frame, FETCHED)
    return store.root


@pytest.fixture(scope="session")
def two_symbols() -> Universe:
    universe = load_universe()
    bitcoin = universe.symbols["BTC-USD"]
    return universe.model_copy(update={"symbols": {"BTC-USD": bitcoin, "ETH-USD": bitcoin}})


@pytest.fixture
def desk(tmp_path, small_experiment, raw_folder, two_symbols) -> Desk:
    """A desk that has bars and has emitted nothing; its folders are its own."""
    store = RawStore(shutil.copytree(raw_folder, tmp_path / "raw"))
    return Desk(store, SignalStore(tmp_path / "signals"), two_symbols, small_experiment)


class Tones:
    """A text encoder for which a title's length is its tone."""

    id, dimension = "tones", 2

    def analyse(self, texts):
        told = np.array([len(text) % 9 / 4 - 1 for text in texts])
        return SimpleNamespace(embedding=np.column_stack([told, told]).astype(np.float32), sentiment=told)


def headlines(rows: Sequence[tuple[datetime, str]]) -> pl.DataFrame:
    """HEADLINES, known a minute after their publication."""
    told = [(at - timedelta(minutes=1), at, "BTC-USD", title, "test") for at, title in rows]
    return pl.DataFrame(told, schema=HEADLINES_SCHEMA, orient="row")


def releases(rows: Sequence[tuple[str, datetime, float]]) -> pl.DataFrame:
    """RELEASES of two days before, or of the month before for UNRATE, known at once."""

    def period(series, day):
        return (day.replace(day=1) - timedelta(days=1)).replace(day=1) if series == "UNRATE" else day - timedelta(days=2)

    told = [(series, period(series, at.date()), at, at, value, 0) for series, at, value in rows]
    return pl.DataFrame(told, schema=RELEASES_SCHEMA, orient="row")


@pytest.fixture(scope="session")
def tones() -> Tones:
    return Tones()


@pytest.fixture(scope="session")
def make_headlines():
    return headlines


@pytest.fixture(scope="session")
def make_releases():
    return releases


@pytest.fixture(scope="session")
def told_folder(tmp_path_factory, tones) -> Path:
    """Headlines every seven hours, their embeddings, two macro series; some of each known at `AT` and after it."""
    folder = tmp_path_factory.mktemp("told")
    hours = range(-26 * 24, 3 * 24)
    written = [(AT + timedelta(hours=hour), f"{'very ' * (hour % 5)}quiet hour {hour}") for hour in hours if hour % 7 == 0]
    ArticleStore(folder / "articles").append("BTC-USD", headlines(written), FETCHED, backfill=True)
    EmbeddingStore(folder / "BTC-USD.h5").ensure([title for _, title in written], tones)
    days = [AT + timedelta(days=day) for day in range(-40, 4)]
    yields = [("DGS10", day, 4 + 0.1 * np.sin(row)) for row, day in enumerate(days)]
    jobless = [("UNRATE", day + timedelta(hours=5), 3.7 + 0.1 * (row % 3)) for row, day in enumerate(days[::9])]
    ReleaseStore(folder / "releases").append(releases([*yields, *jobless]), FETCHED)
    return folder


def _with_news(desk: Desk, folder: Path) -> Desk:
    bitcoin = desk.universe.symbols["BTC-USD"].model_copy(update={"correlated": ("ETH-USD", "SPY")})
    symbols = {**desk.universe.symbols, "BTC-USD": bitcoin, "SPY": load_universe().symbols["SPY"]}
    families = ("returns", "cross_asset", "macro", "news")
    features = desk.experiment.features.model_copy(update={"families": families})
    articles, releases_ = ArticleStore(folder / "articles"), ReleaseStore(folder / "releases")
    library = Library(articles, lambda symbol: EmbeddingStore(folder / f"{symbol}.h5"), releases_)
    return desk._replace(
        universe=desk.universe.model_copy(update={"symbols": symbols}), library=library,
        experiment=desk.experiment.model_copy(update={"features": features}),
    )  # fmt: skip


@pytest.fixture
def news_desk(desk, told_folder, tmp_path) -> Desk:
    """A desk whose experiment reads other markets (SPY has no bars), news and releases; its folders are its own."""
    return _with_news(desk, Path(shutil.copytree(told_folder, tmp_path / "told")))


@pytest.fixture(scope="session")
def read_only_news_desk(raw_folder, told_folder, two_symbols, small_experiment) -> Desk:
    """The same desk for tests that write nothing."""
    return _with_news(Desk(RawStore(raw_folder), SignalStore(raw_folder / "signals"), two_symbols, small_experiment), told_folder)


@pytest.fixture(scope="session")
def make_bundle() -> type[StandIn]:
    return StandIn


@pytest.fixture
def bundle() -> StandIn:
    return StandIn()
