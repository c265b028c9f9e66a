"""What all tests share: hypothesis profiles, and a small home, trained once, of which each test gets its own copy.

In CI, property tests draw the same examples every time; at a desk, new ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import yaml
from hypothesis import settings

if TYPE_CHECKING:
    import dagster as dg
    from click.testing import Result

    from quant_pipeline.models.preparation.preparation import Preparation
    from quant_pipeline.orchestration.house import House
    from quant_pipeline.orchestration.runner import Runner

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

SYMBOL = "BTC-USD"
AS_OF = datetime(2026, 11, 18, 10, 30, tzinfo=UTC)  # a Wednesday: two days of bars since the training cutoff
TINY: dict[str, Any] = {
    "name": "tiny", "history_days": 120, "ladder": ["1m", "15m", "1h"],
    "features": {"families": ["momentum", "returns"], "zscore_window": 100, "zscore_min_periods": 20},
    "labels": {"tune_trials": 5}, "splits": {"folds": 2},
    "models": [
        {"name": "lightgbm", "params": {"n_estimators": 20, "num_leaves": 7, "max_depth": 3, "early_stopping_rounds": 5}},
        {"name": "logistic", "params": {"C": 0.01, "max_iter": 200}},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Home:
    """A DAGSTER_HOME with a lake of its own, and the ways into it; `tiny` is its experiment."""

    root: Path
    symbol: str = SYMBOL
    as_of: datetime = AS_OF
    tiny: dict[str, Any] = field(default_factory=lambda: TINY)

    @classmethod
    def make(cls, root: Path, tiny: dict[str, Any] = TINY) -> Home:
        """An empty home: the checkout's dagster.yaml, and the tiny experiment."""
        shutil.copy(Path(__file__).parents[1] / "dagster.yaml", root)
        (root / "tiny.yaml").write_text(yaml.safe_dump(tiny))
        return cls(root, tiny=tiny)

    def copy(self, root: Path) -> Home:
        return replace(self, root=shutil.copytree(self.root, root, dirs_exist_ok=True))

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def lake(self) -> Path:
        """Tables of its experiment."""
        return self.house().workplace.lake

    def environment(self) -> dict[str, str]:
        """What makes a process work here; relative paths of dagster.yaml are meant from here, too."""
        return {
            "DAGSTER_HOME": str(self.root), "QUANT_DATA": str(self.data), "QUANT_AS_OF": self.as_of.isoformat(),
            "QUANT_EXPERIMENT": str(self.root / "tiny.yaml"), "QUANT_PROCESSES": "1",
        }  # fmt: skip

    def house(self, *, as_of: datetime | None = None, **changed: Any) -> House:
        """The house of this home; `changed` replaces settings of the experiment, key by key."""
        from quant_pipeline.config.experiment import Experiment
        from quant_pipeline.config.workplace import workplace
        from quant_pipeline.orchestration.house import make_house

        place = replace(workplace(self.environment()), as_of=as_of or self.as_of)
        return make_house(workplace_=place, experiment=Experiment.parse(self._changed(changed), "tiny"))

    def experiment(self, path: Path, **changed: Any) -> str:
        """Write the tiny experiment, changed key by key, to a YAML file; returns its path."""
        path.write_text(yaml.safe_dump({**self._changed(changed), "name": path.stem}))
        return str(path)

    @contextmanager
    def open(self, house: House | None = None) -> Iterator[dg.DagsterInstance]:
        """Its Dagster instance, from within the folder; the history of `house`, by default of its own."""
        import dagster as dg

        before = Path.cwd()
        os.chdir(self.root)
        place = {**house.workplace.environment(), "QUANT_EXPERIMENT": self._written(house)} if house else {}
        try:
            with (
                mock.patch.dict(os.environ, {**self.environment(), **place}),
                dg.DagsterInstance.from_config(str(self.root)) as instance,
            ):
                yield instance
        finally:
            os.chdir(before)

    @contextmanager
    def runner(self, house: House | None = None) -> Iterator[Runner]:
        from quant_pipeline.definitions import build_defs
        from quant_pipeline.orchestration.runner import Runner

        chosen = house or self.house()
        with self.open(chosen) as instance:
            yield Runner(build_defs(chosen), instance, chosen)

    def contents(self) -> dict[str, str]:
        """A digest of every file that the pipeline keeps; Dagster's own history and empty locks aside."""
        files = [path for path in self.data.rglob("*") if path.is_file() and path.stat().st_size and ".locks" not in path.parts]
        kept = {path: path.relative_to(self.data).as_posix() for path in files}
        return {name: _digest(path) for path, name in kept.items() if not name.startswith("dagster/")}

    def _written(self, house: House) -> str:
        """The experiment of a house as a file, for what reads the environment."""
        text = yaml.safe_dump(house.experiment.model_dump(mode="json"))
        path = self.root / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"
        path.write_text(text)
        return str(path)

    def _changed(self, settings: dict[str, Any]) -> dict[str, Any]:
        tiny = self.tiny
        merged = {key: {**tiny.get(key, {}), **value} if isinstance(value, dict) else value for key, value in settings.items()}
        return {**tiny, **merged}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory) -> Home:
    """Trained once, never to be changed; ask for `home` to change things."""
    home = Home.make(tmp_path_factory.mktemp("trained"))
    with home.runner() as runner:
        runner.run(SYMBOL)
    return home


@pytest.fixture(scope="session")
def home_of_nothing(tmp_path_factory) -> Home:
    """An empty home that no test writes to; Dagster has set up its history."""
    home = Home.make(tmp_path_factory.mktemp("nothing"))
    with home.open():
        return home


@pytest.fixture
def home(trained_home, tmp_path) -> Home:
    """A copy of the trained home."""
    return trained_home.copy(tmp_path / "home")


@pytest.fixture
def bare_home(home_of_nothing, tmp_path) -> Home:
    """A home in which nothing was made yet."""
    return home_of_nothing.copy(tmp_path / "bare")


@pytest.fixture(scope="session")
def make_preparation() -> Callable[..., Preparation]:
    """Maker of a preparation that chose the given columns, with two regimes that nobody had to fit."""
    import numpy as np
    import polars as pl

    from quant_pipeline.models.preparation.hmm import RegimeModel
    from quant_pipeline.models.preparation.preparation import Preparation
    from quant_pipeline.models.preparation.selection import SCHEMA, Selection

    def make(*columns: str) -> Preparation:
        calm, wild = [0.0, -1.0], [0.0, 1.0]
        regimes = RegimeModel(
            centre=np.array([0.0, -7.0]), spread=np.ones(2), means=np.array([calm, wild]), variances=np.ones((2, 2)),
            transitions=np.array([[0.9, 0.1], [0.2, 0.8]]), stationary=np.array([2 / 3, 1 / 3]), log_likelihood=-2.5,
        )  # fmt: skip
        rows = [{"feature": name, "kept": True, "reason": "kept: chosen in enough blocks"} for name in columns]
        return Preparation(regimes, Selection(columns, pl.DataFrame(rows, schema=SCHEMA)))

    return make


@pytest.fixture
def quant(monkeypatch, tmp_path) -> Callable[..., Result]:
    """`quant` as a shell would start it: quant(home, "run", "BTC-USD"); its environment and folder end with the call."""
    from typer.testing import CliRunner

    from quant_pipeline import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.console, "_width", 400)

    def invoke(home: Home, *arguments: str, **environment: str) -> Result:
        before = Path.cwd()
        try:
            with mock.patch.dict(os.environ, {**home.environment(), **environment}):
                result = CliRunner().invoke(cli.app, arguments)
        finally:
            os.chdir(before)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def plug(monkeypatch, tmp_path) -> Iterator[Callable[..., Path]]:
    """Writer of plugins: plug(mine="…", helper="…") gives the folder; what they register is forgotten with the test."""
    from quant_pipeline import plugins
    from quant_pipeline.features import registry
    from quant_pipeline.models import registry as models

    models.names()
    registry.specs()
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.setenv(plugins.VARIABLE, str(folder))
    with mock.patch.dict(registry._REGISTERED), mock.patch.dict(models._REGISTERED):

        def write(**files: str) -> Path:
            for name, text in files.items():
                (folder / f"{name}.py").write_text(text)
            plugins._modules.cache_clear()
            return folder

        yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
            vars(plugins).pop(name.rpartition(".")[2], None)


FEATURE = """
from quant_pipeline.features.registry import Columns, feature

@feature("{name}", "{family}", ("close",), lookback=1, rungs=("1h",))
def {name}(columns: Columns):
    \"\"\"The close, {name}.\"\"\"
    return columns["close"] * 1.0
"""
MODEL = """
from quant_pipeline.models.classical.logistic import Logistic, LogisticParams
from quant_pipeline.models.registry import model

@model("{name}", family="mine", view="feature_matrix", params=LogisticParams, needs_scaling=True)
class Mine(Logistic):
    pass
"""


@pytest.fixture(scope="session")
def a_feature() -> Callable[[str, str], str]:
    """Maker of the source of a plugin with one feature of a name in a family."""
    return lambda name, family: FEATURE.format(name=name, family=family)


@pytest.fixture(scope="session")
def a_model() -> Callable[[str], str]:
    """Maker of the source of a plugin with one model of a name."""
    return lambda name: MODEL.format(name=name)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Maker of a disk of so many MiB, mounted for the test; skips where mounting is not allowed."""
    mounted: list[Path] = []

    def make(size: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place)], check=False, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here, only by root: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
