"""Kill -9 at random moments of `quant run`: the next run goes on, nothing is half-written, nothing finished is made again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import dagster as dg
import numpy as np
import pytest
import yaml

from quant_pipeline_tests.proofs.wholeness import assert_whole, leftovers

KILLS = 20
SYMBOLS = ("GC=F", "BTC-USD", "SPY", "QQQ")  # killed until done, then the next one; then the next week
START = datetime(2025, 6, 11, 10, 20, tzinfo=UTC)
# asked for in every run, and idempotent in what they write
ALWAYS = {"raw_bars", "correlated_bars", "raw_news", "macro_series", "signals"}
FAMILIES = ["returns", "volatility", "cross_asset", "macro", "news", "candlestick_patterns"]  # every kind of input
HISTORY = ("dagster/code_version", "dagster/input_data_version/")


# `quant` that kills itself right before or after a file or folder gets its name
SUICIDE = """
import os, signal
from quant_pipeline import files
from quant_pipeline.cli import app

when, end = os.environ["KILL_AT"].split(" ")
swap = files._swap

def deadly(temporary, path):
    if when == "after":
        swap(temporary, path)
    if str(path).endswith(end):
        os.kill(os.getpid(), signal.SIGKILL)
    if when == "before":
        swap(temporary, path)

files._swap = deadly
app()
"""


def killed(process: subprocess.Popen[str], after: float) -> bool:
    """Wait `after` seconds; kill the process and all that it started if it still runs, and tell whether it did."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def jobs() -> Iterator[tuple[str, dict[str, str]]]:
    """Symbols to run, one after another, and when all are done, all again a week later: symbol and environment."""
    for week in count():
        moment = START + week * timedelta(weeks=1)
        yield from ((symbol, {"QUANT_AS_OF": moment.isoformat()}) for symbol in SYMBOLS)


def materializations(instance: dg.DagsterInstance) -> Counter[tuple[object, ...]]:
    """How often each asset partition was recorded as made, by code version and versions of its inputs."""
    made: Counter[tuple[object, ...]] = Counter()
    for key in instance.all_asset_keys():
        if key.to_user_string() in ALWAYS:
            continue
        for record in instance.fetch_materializations(key, limit=1_000).records:
            tags = record.asset_materialization.tags or {}
            versions = tuple(sorted((name, value) for name, value in tags.items() if name.startswith(HISTORY)))
            assert versions
            made[key.to_user_string(), record.partition_key, versions] += 1
    return made


def bundle_ids(shell, symbol: str) -> set[str]:
    return {path.parent.name for path in shell.data.glob(f"bundles/simulated/*/*/{symbol}/*/manifest.json")}


def signals_of(shell, symbol: str) -> dict[str, bytes]:
    signals = shell.data.glob(f"lake/simulated/*/experiments/*/signals/{symbol}/*/*/*.json")
    return {path.name: path.read_bytes() for path in signals}


def history(shell, monkeypatch) -> tuple[Counter[tuple[object, ...]], Counter[str]]:
    """What was recorded: materializations, see above, and how the Dagster runs ended."""
    monkeypatch.chdir(shell.home)
    for name, value in shell.environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(shell.home)) as instance:
        return materializations(instance), Counter(run.status.value for run in instance.get_runs())


def assert_sound(shell, made: Counter[tuple[object, ...]], statuses: Counter[str]) -> None:
    """Nothing half-written, nothing finished made again, no run that claims to be at work."""
    assert_whole(shell)
    assert {twice: count for twice, count in made.items() if count > 1} == {}
    assert set(statuses) <= {"SUCCESS", "FAILURE"}


@pytest.fixture
def quick_shell(shell):
    """Maker of a shell whose runs are short; by default they write every kind of file."""

    def make(name: str = "home", families=FAMILIES, **changed: object):
        place = shell(name)
        path = place.home / "small.yaml"
        told = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**told, "features": {**told["features"], "families": families}, **changed}))
        return place

    return make


# in the order in which a run meets them
FEW = ("after /building", "before /skill_report.html")
MANY = (
    "before /1m/progress.json", "after /bars/15m/BTC-USD.parquet", "before /embeddings/BTC-USD/minilm.h5",
    "before /features/BTC-USD.parquet", "after /labels/BTC-USD.parquet", "before /selection/fold_00/BTC-USD",
    "after /models/lightgbm/fold_01/BTC-USD", "after /regimes/holdout/BTC-USD", "before /models/logistic/holdout/BTC-USD",
    "before /meta_learner/BTC-USD", "after /manifest.json", "before /building", "before /champions/BTC-USD.jsonl",
    "after /champions/BTC-USD.jsonl", "before /skill_report.png", "after /skill_report/BTC-USD.parquet",
    "before /signals/BTC-USD.parquet",
)  # fmt: skip


# nothing else is behind a bundle and a report
SMALLEST = {"families": ["returns"], "ladder": ["1m", "1h"], "history_days": 60, "labels": {"tune_trials": 0}}


@pytest.mark.parametrize(
    ("moments", "changed"), [(FEW, SMALLEST), pytest.param(MANY, {}, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_kills_beside_a_rename(quick_shell, moments, changed, monkeypatch):
    """The worst moments: something whole that has no name yet, or that no record knows of."""
    place = quick_shell(**changed)
    for moment in moments:
        process = place.start("run", "BTC-USD", script=SUICIDE, KILL_AT=moment)
        printed, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{moment}: {printed}"
    assert leftovers(place) or moments is MANY  # or the last kill missed
    place.quant("run", "BTC-USD")
    made, statuses = history(place, monkeypatch)
    assert_sound(place, made, statuses)
    assert len(moments) <= statuses["FAILURE"] <= 2 * len(moments)  # that of the run, and of its second process


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_twenty_kills(quick_shell, monkeypatch, capsys):
    undisturbed, disturbed = quick_shell("undisturbed"), quick_shell("disturbed")
    begun = time.monotonic()
    undisturbed.quant("run", SYMBOLS[0], QUANT_AS_OF=START.isoformat())
    whole = time.monotonic() - begun
    random, upcoming = np.random.default_rng(20), jobs()
    kills, completed = [], []
    job = next(upcoming)
    while len(kills) < KILLS:
        after = float(random.uniform(0, whole))
        process = disturbed.start("run", job[0], **job[1])
        if killed(process, after):
            kills.append((job[0], round(after, 1)))
            continue
        assert process.returncode == 0, process.communicate()[0]
        completed.append(job)
        job = next(upcoming)
    disturbed.quant("run", job[0], **job[1])
    completed.append(job)
    again = disturbed.quant("run", job[0], **job[1])

    made, statuses = history(disturbed, monkeypatch)
    with capsys.disabled():
        print(f"\none undisturbed run: {whole:.1f} s; kills: {kills}\nruns completed: {[symbol for symbol, _ in completed]}")
        print(f"Dagster runs: {dict(statuses)}; {sum(made.values())} materializations of {len(made)} asset partitions and inputs")
    assert f"made {len(ALWAYS)}, " in again
    assert_sound(disturbed, made, statuses)
    assert statuses["FAILURE"] >= KILLS / 5  # or too few kills met a run at work
    assert bundle_ids(disturbed, SYMBOLS[0]) >= bundle_ids(undisturbed, SYMBOLS[0]) > set()
    assert signals_of(disturbed, SYMBOLS[0]).items() >= signals_of(undisturbed, SYMBOLS[0]).items() > set()
