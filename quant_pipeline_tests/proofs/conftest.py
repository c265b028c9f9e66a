"""What the proofs share: simulated and real minutes, a small experiment, and whole runs in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from quant_pipeline.config.experiment import Experiment, load_experiment
from quant_pipeline.config.universe import Universe, load_universe
from quant_pipeline.config.workplace import Workplace
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.features.registry import FAMILIES
from quant_pipeline.inference.evidence import Tested, oracle_forecast
from quant_pipeline.orchestration.house import House
from quant_pipeline.sources.base import BARS_SCHEMA
from quant_pipeline.sources.files import FilesSource
from quant_pipeline.sources.simulated.source import SimulatedSource

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "bars_1m"
AT = datetime(2025, 6, 11, 10, 20, tzinfo=UTC)  # a Wednesday: two days and ten hours after the training cutoff
QUANT = "from quant_pipeline.cli import app; app()"
FEW_ROUNDS = {"n_estimators": 40, "learning_rate": 0.1, "num_leaves": 15, "max_depth": 4, "early_stopping_rounds": 10}
SMALL: dict[str, Any] = {
    "name": "small", "ladder": ["1m", "5m", "15m", "30m", "1h"], "history_days": 120,
    "features": {"families": list(FAMILIES), "zscore_window": 100, "zscore_min_periods": 30},
    "labels": {"tune_trials": 8}, "splits": {"folds": 2, "embargo": "5h"},
    "models": [{"name": "lightgbm", "params": FEW_ROUNDS}, {"name": "logistic", "params": {"C": 0.003, "max_iter": 60}}],
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished training of one symbol: its house, and the tables that it left in the lake."""

    house: House
    symbol: str

    def table(self, asset: str) -> pl.DataFrame:
        return pl.read_parquet(self.house.workplace.lake / asset / f"{self.symbol}.parquet")

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """Every out-of-sample forecast, as the skill report sees them."""
        lake = self.house.workplace.lake
        oof = [pl.read_parquet(path) for path in sorted(lake.glob(f"oof_predictions/*/{self.symbol}.parquet"))]
        return Tested(oof, MetaFit.load(lake / "meta_learner" / self.symbol), self.table("bundle")).predictions()

    @cached_property
    def oracle(self) -> pl.DataFrame:
        max_bars = int(self.table("barriers")["max_bars"][0])
        found = oracle_forecast(self.house.source, self.symbol, self.table("labels"), self.house.experiment, max_bars)
        assert found is not None
        return found


@dataclass(frozen=True)
class Shell:
    """A DAGSTER_HOME of its own, and `quant` started in it as another process."""

    home: Path
    data: Path

    def environment(self) -> dict[str, str]:
        """What makes a process work here."""
        place = {"DAGSTER_HOME": str(self.home), "QUANT_DATA": str(self.data), "QUANT_AS_OF": AT.isoformat(), "COLUMNS": "200"}
        return {**place, "QUANT_PROFILE": "simulated", "QUANT_EXPERIMENT": str(self.home / "small.yaml")}

    def start(self, *arguments: str, script: str = QUANT, **environment: str) -> subprocess.Popen[str]:
        """Begin `quant`, or another `script`, in a process group of its own; what it prints goes into one pipe."""
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments], env={**os.environ, **self.environment(), **environment},
            cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def quant(self, *arguments: str, **environment: str) -> str:
        """Run `quant` to its end; what it printed. It must succeed."""
        process = self.start(*arguments, **environment)
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        return printed


@pytest.fixture
def shell(tmp_path) -> Callable[..., Shell]:
    """Maker of a shell in a fresh home with the checkout's Dagster settings, the small experiment and `data`."""

    def make(name: str = "home", *, data: Path | None = None) -> Shell:
        home = tmp_path / name
        home.mkdir()
        for settings in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(Path(__file__).parents[2] / settings, home)
        (home / "small.yaml").write_text(yaml.safe_dump(SMALL))
        return Shell(home, data or home / "data")

    return make


@pytest.fixture(scope="session")
def universe() -> Universe:
    return load_universe()


@pytest.fixture(scope="session")
def small() -> Experiment:
    """Trains in seconds: 120 days, five rungs, two folds, two models of few rounds."""
    return Experiment.parse(SMALL, "proofs")


@pytest.fixture(scope="session")
def default() -> Experiment:
    return load_experiment("default")


@pytest.fixture(scope="session")
def make_house(tmp_path_factory, universe) -> Callable[..., House]:
    """Maker of a house on the simulated market, with the clock pinned, in `folder` or a folder of its own."""

    def make(experiment: Experiment, *, folder: Path | None = None, traded: Universe = universe, at: datetime = AT) -> House:
        data = folder or tmp_path_factory.mktemp("data")
        return House(Workplace("simulated", data, data / "raw", at), traded, experiment)

    return make


@pytest.fixture(scope="session")
def train(make_house) -> Callable[..., Run]:
    """Run the whole pipeline through Dagster, from the source to the bundle, and return what it made."""

    def run(
        symbol: str, experiment: Experiment, *, resources: Callable[[House], dict[str, Any]] = lambda _: {}, at: datetime = AT
    ) -> Run:
        import dagster as dg

        from quant_pipeline.definitions import build_defs
        from quant_pipeline.orchestration.runner import Runner

        house = make_house(experiment, at=at)
        with dg.DagsterInstance.ephemeral() as instance:
            Runner(build_defs(house, resources=resources(house)), instance, house).run(symbol, until="ensemble")
        return Run(house, symbol)

    return run


@pytest.fixture(scope="session")
def simulated_source(universe) -> SimulatedSource:
    return SimulatedSource(universe)


@pytest.fixture(scope="session")
def simulated_minutes(simulated_source) -> Callable[..., pl.DataFrame]:
    """Raw BARS of the simulated feed, defects included."""

    def fetch(symbol: str, start: datetime, days: int) -> pl.DataFrame:
        return simulated_source.fetch(symbol, "1m", start, start + timedelta(days=days)).frame

    return fetch


@pytest.fixture(scope="session")
def real_minutes(universe) -> Callable[[str], pl.DataFrame]:
    """Raw BARS of a real file, none where a symbol has no file; skips the test where the shared folder is absent."""

    def read(symbol: str) -> pl.DataFrame:
        if not SHARED.is_dir():
            pytest.skip(f"no real bars: {SHARED} is absent")
        if not (SHARED / f"{symbol}.parquet").exists():
            return pl.DataFrame(schema=BARS_SCHEMA)
        source = FilesSource(SHARED, universe)
        return source.fetch(symbol, "1m", datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)).frame

    return read
