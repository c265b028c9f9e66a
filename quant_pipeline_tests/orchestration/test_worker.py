"""A run in two processes: the same bytes as in one, its errors as they were raised, and nothing left when it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import ConfigError, DataError, MissingUpstreamError, QuantError
from quant_pipeline.orchestration.partitions import fold_key
from quant_pipeline.orchestration.processes import PROCESSES, house_of, processes, told_settings
from quant_pipeline.orchestration.runner import Runner, side_by_side, stages
from quant_pipeline.orchestration.worker import Worker, beside
from quant_pipeline_tests.conftest import SYMBOL, Home

PARENT = """
import sys, time
from quant_pipeline.orchestration.house import make_house
from quant_pipeline.orchestration.worker import Worker
worker = Worker(make_house())
worker.start(sys.argv[1])
print(worker._process.pid, flush=True)
time.sleep(60)
"""


@contextmanager
def at_work(home: Home, worker: object = None) -> Iterator[Runner]:
    house = home.house()
    with home.open(house) as instance, Worker(house) as own:
        yield Runner(build_defs(house), instance, house, worker=worker or own)


def moment(runner: Runner) -> dict[str, str]:
    return runner._moment(SYMBOL, "")


class Elsewhere:
    """A worker in this process that makes nothing, and says so: at once, when it is stopped, or by raising `error`."""

    def __init__(self, error: Exception | None = None, *, waits: bool = False) -> None:
        self.error, self.waits, self.asked, self.stopped = error, waits, [], threading.Event()

    def start(self, symbol: str) -> None:
        self.symbol = symbol

    def stop(self) -> None:
        self.stopped.set()

    def materialize(self, _: list[dg.AssetKey], partition: str, *__: object) -> bool:
        self.asked.append(partition)
        if self.error:
            raise self.error
        return self.waits and not self.stopped.wait(60)


def test_a_run_in_two_processes_leaves_the_bytes_of_one(trained_home, bare_home):
    with at_work(bare_home) as runner:
        summary = runner.run(SYMBOL)
        took = {run.tags["quant/pid"] for run in runner.instance.get_runs()}
    assert len(took) == 2
    assert len(summary.made) == len(set(summary.made))
    assert _made(bare_home) == _made(trained_home)


def _made(home: Home) -> dict[str, str]:
    """All that is kept but the log of holdout uses, which says when they were."""
    return {name: digest for name, digest in home.contents().items() if "test_uses" not in name}


def test_folds_and_what_needs_no_model_stand_beside_each_other(default_house):
    groups = [[stage.name for stage in group] for group in side_by_side(stages(default_house, "GC=F"))]
    folds = [f"train {fold}" for fold in default_house.experiment.splits.fold_names]
    assert groups == [["ingest"], ["features"], ["pictures", *folds], ["ensemble"], ["backtest", "reports"], ["signals"]]


def test_what_stands_beside_needs_nothing_of_the_others(default_house):
    graph = build_defs(default_house).resolve_asset_graph()
    for group in side_by_side(stages(default_house, "GC=F")):
        made = [{key for key in graph.get_all_asset_keys() if stage.makes(key, graph.get(key).group_name)} for stage in group]
        for one in made:
            others = set().union(*(keys for keys in made if keys.isdisjoint(one)))
            assert not others & set().union(*(graph.get(key).parent_keys for key in one))


def test_an_error_of_the_other_process_comes_out_as_it_was_raised(bare_home):
    with at_work(bare_home) as runner:
        runner.worker.start(SYMBOL)
        key = dg.AssetKey(["models", "logistic"])
        with pytest.raises(MissingUpstreamError, match="quant materialize 'bars/1h/BTC-USD'") as caught:
            runner.worker.materialize([key], fold_key(SYMBOL, "fold_00"), str(uuid4()), moment(runner))
        assert type(caught.value) is MissingUpstreamError
        assert "quant materialize" in caught.value.mend
        assert runner.worker.materialize([dg.AssetKey("raw_bars")], SYMBOL, str(uuid4()), moment(runner))


def test_what_nobody_foresaw_there_is_made_here(bare_home):
    with at_work(bare_home) as runner:
        runner.worker.start(SYMBOL)
        assert not runner.worker.materialize([dg.AssetKey("no_such_asset")], SYMBOL, str(uuid4()), moment(runner))


def test_a_worker_that_died_is_told_by_its_answer(bare_home):
    with at_work(bare_home) as runner:
        runner.worker.start(SYMBOL)
        runner.worker.stop()
        assert not runner.worker.materialize([dg.AssetKey("raw_bars")], SYMBOL, str(uuid4()), moment(runner))


def test_a_killed_run_leaves_no_worker_that_writes(bare_home):
    environment = {**os.environ, **bare_home.environment()}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, SYMBOL], stdout=subprocess.PIPE, env=environment, cwd=bare_home.root
    ) as parent:
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while _runs(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie of a container without an init process runs no more


def test_what_the_worker_could_not_make_is_made_here(home):
    shutil.rmtree(home.lake / "regimes")  # of every fold
    worker = Elsewhere()
    with at_work(home, worker) as runner:
        summary = runner.run(SYMBOL, until="ensemble")
        made = {run.tags.get("dagster/partition") for run in runner.instance.get_runs(limit=20)}
    assert worker.symbol == SYMBOL
    assert len(worker.asked) == 1  # one that failed is not asked again
    assert worker.asked[0] in made
    assert {f"oof_predictions|{fold_key(SYMBOL, fold)}" for fold in ("fold_00", "fold_01", "holdout")} <= set(summary.made)


@pytest.mark.parametrize("error", [DataError("rows", found="none", wanted="some", mend="try again"), ZeroDivisionError()])
def test_an_error_there_ends_the_run_here(home, error):
    shutil.rmtree(home.lake / "regimes")
    worker = Elsewhere(error)
    with at_work(home, worker) as runner, pytest.raises(type(error)):
        runner.run(SYMBOL)
    assert worker.stopped.is_set()


def test_an_error_here_stops_the_worker(home, monkeypatch):
    shutil.rmtree(home.lake / "regimes")
    worker = Elsewhere(waits=True)
    with at_work(home, worker) as runner:
        made = runner.materialize

        def fail(keys: list[dg.AssetKey], partition: str, *rest: object) -> bool:
            if "|" in partition:
                raise QuantError("fold", found="this", wanted="that", mend="so")
            return made(keys, partition, *rest)

        monkeypatch.setattr(runner, "materialize", fail)
        with pytest.raises(QuantError, match="found this"):
            runner.run(SYMBOL)
    assert worker.stopped.is_set()


def test_nothing_stale_starts_no_worker(home):
    worker = Elsewhere()
    with at_work(home, worker) as runner:
        runner.run(SYMBOL)
    assert not hasattr(worker, "symbol")


def test_the_settings_come_over_whole(home, monkeypatch):
    for name, value in home.environment().items():
        monkeypatch.setenv(name, value)
    house = home.house(splits={"folds": 3})
    there = house_of(told_settings(house))
    assert (there.universe, there.experiment) == (house.universe, house.experiment)


@pytest.mark.parametrize(("given", "cores", "wanted"), [("", 8, 2), ("", 1, 1), ("1", 8, 1), ("2", 8, 2), ("2", 1, 1)])
def test_a_run_works_in_as_many_processes_as_there_are_cores(monkeypatch, home, given, cores, wanted):
    monkeypatch.setenv(PROCESSES, given)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert processes() == wanted
    with beside(home.house()) as worker:
        assert (worker is not None) == (wanted > 1)


@pytest.mark.parametrize("given", ["0", "3", "many", "-1", " 2"])
def test_a_number_of_processes_that_cannot_be_used_is_refused(monkeypatch, given):
    monkeypatch.setenv(PROCESSES, given)
    with pytest.raises(ConfigError, match="wanted 1 or 2"):
        processes()
