"""`quant ui` for real, in a home of its own: its processes, found by that home, and what its ticks left.

So that ticks can be waited for, the primary is 1m and the schedule ticks each minute, not every five; all else is as ever.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quant_pipeline.inference.signals import STEM
from quant_pipeline.orchestration.burial import UNFINISHED
from quant_pipeline.orchestration.hours import SETTLED
from quant_pipeline_tests.proofs.conftest import QUANT, Shell

SYMBOL, MINUTE = "BTC-USD", timedelta(minutes=1)
SLACK = timedelta(minutes=2)
"""From a tick to its signals, before the next one of the real schedule. A run takes 15 s, on a busy machine a minute."""
BY_THE_MINUTE = {
    "name": "small", "primary": "1m", "ladder": ["1m"], "history_days": 7, "labels": {"tune_trials": 0},
    "features": {"families": ["returns"], "zscore_window": 100, "zscore_min_periods": 30},
    "splits": {"folds": 2, "embargo": "5h"}, "models": [{"name": "logistic", "params": {"C": 0.003, "max_iter": 60}}],
}  # fmt: skip
WORKSPACE = "load_from: [{python_file: {relative_path: fast.py, location_name: quant_pipeline}}]"
FAST = """
from unittest import mock
import dagster as dg

schedule = dg.schedule

def each_minute(**told):
    return schedule(**{**told, "cron_schedule": told["cron_schedule"].replace("*/5", "*")})

with mock.patch.object(dg, "schedule", each_minute):
    from quant_pipeline.definitions import defs
"""
# every process here takes its boot id from a file of the home
BOOT = """
import os
from pathlib import Path
from quant_pipeline.orchestration import owners
owners.BOOT_ID = Path(os.environ["DAGSTER_HOME"], "boot_id")
"""
ROLES = {"daemon": "dagster._daemon", "webserver": "dagster_webserver", "supervisor": "app() ui"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether `condition` came true within so many seconds."""
    end = time.monotonic() + seconds
    while not (met := bool(condition())) and time.monotonic() < end:
        time.sleep(0.2)
    return met


@dataclass(frozen=True)
class Site:
    """A trained home in which `quant ui` is started, killed and started again; `telegram` is where its alerts go."""

    shell: Shell
    telegram: str
    port: int = field(default_factory=free_port)
    reports: int = field(default_factory=free_port)

    @classmethod
    def make(cls, shell: Shell, telegram: str) -> Site:
        (shell.home / "workspace.yaml").write_text(WORKSPACE)
        (shell.home / "fast.py").write_text(FAST)
        (shell.home / "sitecustomize.py").write_text(BOOT)
        site = cls(shell, telegram)
        site.boot()
        return site

    def boot(self) -> None:
        """Give the machine another boot id."""
        (self.shell.home / "boot_id").write_text(str(time.monotonic_ns()))

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.shell.home), *filter(None, sys.path)])
        told = {"QUANT_TELEGRAM_TOKEN": "1:a", "QUANT_TELEGRAM_CHAT": "1", "QUANT_TELEGRAM_URL": self.telegram}
        place = {"PYTHONPATH": path, "QUANT_REPORTS_PORT": str(self.reports), "QUANT_AS_OF": "", "QUANT_PROCESSES": "1"}
        return {**self.shell.environment(), **told, **place}

    def start(self) -> subprocess.Popen[bytes]:
        """Begin `quant ui` and wait until its daemon is at work; what it prints is added to `ui.log`."""
        before = self.log().count("configured with the following daemons")
        with (self.shell.home / "ui.log").open("ab") as log:
            ui = subprocess.Popen(
                [sys.executable, "-c", QUANT, "ui", "--port", str(self.port)], env={**os.environ, **self.environment()},
                cwd=self.shell.home, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert until(lambda: self.log().count("configured with the following daemons") > before, 120), self.log()[-5_000:]
        return ui

    def log(self) -> str:
        path = self.shell.home / "ui.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> dict[int, str]:
        """Every process that works in this home, with its command line; none that waits to be counted as dead."""
        mark, found = f"DAGSTER_HOME={self.shell.home}\0".encode(), {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it is another user's, or ended meanwhile
                if mark in (folder / "environ").read_bytes() + b"\0":
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def pid(self, role: str) -> int:
        (found,) = [pid for pid, command in self.processes().items() if ROLES[role] in command]
        return found

    def cut_the_power(self) -> int:
        """End every process of this home at once; how many there were. The machine then has another boot."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            stopped = self.processes()
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        assert until(lambda: not self.processes(), 30), self.processes()
        self.boot()
        return len(stopped)

    def signals(self) -> dict[datetime, datetime]:
        """When the signal of each decision was written."""
        files = self.shell.data.glob(f"lake/simulated/*/experiments/small/signals/{SYMBOL}/[0-9]*/*/[0-9]*Z.json")
        written = {path.stem: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files}
        return {datetime.strptime(stem, STEM).replace(tzinfo=UTC): at for stem, at in written.items()}

    def unanswered(self, tick: datetime) -> list[datetime]:
        """Closes that were due at `tick` and have no signal."""
        answered = self.signals()
        first, last = min(answered), tick - SETTLED
        owed = [first + number * MINUTE for number in range(1 + (last - first) // MINUTE)]
        return [at for at in owed if at not in answered]

    def await_tick(self) -> float:
        """Wait for the next tick, which must answer all that is due; the seconds that it took."""
        tick = next_minute(datetime.now(UTC))
        wait_for(tick)
        answered = until(lambda: not self.unanswered(tick), SLACK.total_seconds())
        assert answered, f"due at {tick} without a signal: {self.unanswered(tick)}\n{self.log()[-8_000:]}"
        return (datetime.now(UTC) - tick).total_seconds()

    def unfinished(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Runs that claim to be at work, or wait in the queue."""
        monkeypatch.chdir(self.shell.home)
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(self.shell.home)) as instance:
            runs = instance.get_runs(dg.RunsFilter(statuses=[*UNFINISHED, dg.DagsterRunStatus.QUEUED]))
            return [f"{run.job_name} {run.run_id} {run.status.value} {run.tags}" for run in runs]


def next_minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0) + MINUTE


def wait_for(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
