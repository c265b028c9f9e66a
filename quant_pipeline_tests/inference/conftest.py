"""A small desk: two symbols that never close, minutes of a seeded walk, and a stand-in bundle that answers from features."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import Universe, load_universe
from quant_pipeline.errors import BundleError
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.sources.store import RawStore

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


@pytest.fixture(scope="session")
def make_bundle() -> type[StandIn]:
    return StandIn


@pytest.fixture
def bundle() -> StandIn:
    return StandIn()
