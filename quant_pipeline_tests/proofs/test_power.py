"""Kill -9 of what `quant ui` runs, one by one and all at once: the next tick is on time, nothing is lost, doubled or stuck."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from quant_pipeline_tests.monitoring.conftest import StandIn
from quant_pipeline_tests.proofs.conftest import Shell
from quant_pipeline_tests.proofs.ticking import BY_THE_MINUTE, SYMBOL, Site, next_minute, until, wait_for
from quant_pipeline_tests.proofs.wholeness import assert_whole

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]
KILLS, CUTS, RUNS = 5, 5, 30  # of each server; of the power; of `quant run`


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Shell:
    home = tmp_path_factory.mktemp("trained")
    shutil.copy(Path(__file__).parents[2] / "dagster.yaml", home)
    (home / "small.yaml").write_text(yaml.safe_dump(BY_THE_MINUTE))
    shell = Shell(home, home / "data")
    shell.quant("run", SYMBOL, QUANT_AS_OF=(datetime.now(UTC) - timedelta(minutes=30)).isoformat())
    shutil.rmtree(next(shell.data.glob("lake/simulated/*/experiments/small/signals")))
    return shell


@pytest.fixture
def telegram():
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def site(trained, telegram, tmp_path):
    home = shutil.copytree(trained.home, tmp_path / "home")
    site = Site.make(Shell(home, home / "data"), telegram.url)
    # every close since is due
    site.shell.quant("predict", SYMBOL, QUANT_AS_OF=(datetime.now(UTC) - timedelta(minutes=7)).isoformat())
    yield site
    site.cut_the_power()


def kill_in_a_tick(site: Site, victim: str, after: float) -> int:
    """Kill a server `after` so many seconds of a tick; the exit code of `quant ui`, of which nothing is left."""
    ui = site.start()
    took = site.await_tick()
    wait_for(next_minute(datetime.now(UTC)) + timedelta(seconds=after))
    os.kill(site.pid(victim), signal.SIGKILL)
    code = ui.wait(60)
    begun = time.monotonic()
    assert until(lambda: not site.processes(), 45), site.processes()
    print(f"{victim} after {after:.1f} s: tick took {took:.0f} s, exit {code}, all gone {time.monotonic() - begun:.0f} s later")
    return code


def assert_nothing_lost(site: Site, telegram: StandIn, monkeypatch) -> None:
    """Two more ticks, and the end that was asked for; then every minute has one row, every message came once."""
    ui = site.start()
    site.await_tick()
    site.await_tick()
    ui.send_signal(signal.SIGTERM)
    assert ui.wait(60) == 0
    assert site.unfinished(monkeypatch) == []
    told = Counter(text for text in telegram.texts if not text.startswith("OVER"))  # ends of two kills may read alike
    print(f"{len(site.signals())} signals; messages: {[text for text in told if not text.startswith('SIMULATED')]}")
    assert {text: count for text, count in told.items() if count > 1} == {}
    printed = site.shell.quant("run", SYMBOL, QUANT_AS_OF="")
    assert "made" in printed
    assert_whole(site.shell)
    rows = pl.read_parquet(next(site.shell.data.glob("lake/simulated/*/experiments/small/signals/*.parquet")))
    assert set(rows["status"]) == {"ok"}
    assert sorted(rows["as_of"]) == sorted(site.signals())
    assert list(site.shell.data.glob("lake/simulated/*/experiments/small/signals/*/other/*")) == []
    site.shell.quant("replay", SYMBOL, QUANT_AS_OF="")


@pytest.mark.parametrize("victim", ["daemon", "webserver", "supervisor"])
def test_a_server_is_killed_in_the_middle_of_ticks(site, telegram, victim, monkeypatch):
    random = np.random.default_rng(len(victim))
    codes = [kill_in_a_tick(site, victim, float(random.uniform(0, 20))) for _ in range(KILLS)]
    assert 0 not in codes
    assert_nothing_lost(site, telegram, monkeypatch)


def test_the_power_is_cut_in_the_middle_of_ticks(site, telegram, monkeypatch):
    """With all that runs then: servers, workers of runs, and a training in the shell."""
    random = np.random.default_rng(7)
    for _ in range(CUTS):
        site.start()
        took = site.await_tick()
        site.shell.start("run", SYMBOL, "--force", **site.environment())
        wait_for(next_minute(datetime.now(UTC)) + timedelta(seconds=float(random.uniform(0, 20))))
        print(f"tick took {took:.0f} s, {site.cut_the_power()} processes ended at once")
    assert_nothing_lost(site, telegram, monkeypatch)


def test_runs_are_killed_beside_ticks(site, telegram, monkeypatch):
    """A killed `quant run` takes nothing from the hour: each tick answers all that is due."""
    random, ui, kills = np.random.default_rng(30), site.start(), 0
    while kills < RUNS:
        run = site.shell.start("run", SYMBOL, "--force", **site.environment())
        with suppress(subprocess.TimeoutExpired):
            run.wait(float(random.uniform(2, 25)))
            continue
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        kills += 1
        if kills % 6 == 0:
            print(f"{kills} kills: the next tick took {site.await_tick():.0f} s")
    ui.send_signal(signal.SIGTERM)
    assert ui.wait(60) == 0
    assert_nothing_lost(site, telegram, monkeypatch)
