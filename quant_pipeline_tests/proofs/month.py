"""A month of a machine on which `quant ui` runs, five minutes after five minutes, with what goes wrong on the way.

Run as a process under a clock that is ours (`machine.py`): its argument is the moment at which it ends. The pipeline's
files are left where they belong; what was seen and said is printed as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import types
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import tenacity

from quant_pipeline import files
from quant_pipeline.definitions import build_defs
from quant_pipeline.orchestration.house import House, make_house
from quant_pipeline.orchestration.moments import decisions_of
from quant_pipeline.orchestration.owners import BOOT_TAG
from quant_pipeline.orchestration.runner import Runner
from quant_pipeline.orchestration.slots import SYMBOL_TAG
from quant_pipeline_tests.proofs.daemon import DAILY, HOURLY, KEEPER, TELLERS, Daemon
from quant_pipeline_tests.proofs.machine import Clock
from quant_pipeline_tests.proofs.mishaps import ASLEEP, KILLS, POWER_CUTS, START, Kill, Mishaps, Phone

SYMBOLS = ("BTC-USD", "GC=F", "CL=F", "SPY", "QQQ", "AAPL")
STEP = timedelta(minutes=5)
DAILY_AT = timedelta(minutes=20)
CAUGHT_UP = 5  # ticks that Dagster makes up after a sleep


@dataclass
class Month:
    """The machine: its daemon, its clock, and a record of what a person who looks at the rows would see."""

    house: House
    daemon: Daemon
    mishaps: Mishaps
    clock: Clock
    killed: list[Kill] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: {symbol: set() for symbol in SYMBOLS})
    runs: int = 0
    ticks: int = 0

    def live(self, end: datetime) -> None:
        """Tick until `end`, but while the machine is asleep or off."""
        now = START
        while now < end:
            awake = not any(span.holds(now) for span in ASLEEP) and not any(span.start < now < span.end for span in POWER_CUTS)
            slept = now - STEP > START and any(span.holds(now - STEP) for span in (*ASLEEP, *POWER_CUTS))
            if awake and now + STEP > datetime.now(UTC):
                self.clock.forward(now)
                self.mishaps.update(now)
                self.tick(now, CAUGHT_UP if slept else 1)
            now += STEP

    def tick(self, now: datetime, times: int) -> None:
        """One round of the daemon."""
        self.ticks += 1
        self.daemon.sense(KEEPER)
        said = [self.daemon.schedule(HOURLY, now) for _ in range(times)]
        if now - now.replace(hour=0, minute=0) == DAILY_AT:
            self.daemon.schedule(DAILY, now)
        worked = self.daemon.work()
        self.runs += worked
        sys.stderr.write(f"{now:%m-%d %H:%M} {worked} runs, done at {datetime.now(UTC):%H:%M:%S}\n")
        if worked or now.minute % 15 == 0 or any("missed" in words for words in said):
            self._look()
            for name in TELLERS:
                self.daemon.sense(name)
            self.runs += self.daemon.work()

    def _look(self) -> None:
        """Note rows that are new, and whether the newest one is well."""
        now = self.house.workplace.now()
        for symbol in SYMBOLS:
            rows = self.house.signals.table(symbol).select("as_of", "status").rows()
            told = [(at.isoformat(), status) for at, status in rows if status != "ok" and at > now - timedelta(days=8)]
            fresh = [row for row in told if row not in self.seen[symbol]]
            self.seen[symbol] |= set(fresh)
            is_ok = bool(rows) and rows[-1][1] == "ok"
            self.looks.append({"at": now.isoformat(), "symbol": symbol, "fresh": fresh, "ok": is_ok})

    def launch(self, daemon: Daemon, run: dg.DagsterRun) -> None:
        """Do a run here, or in a process that dies on the way where that is to be."""
        now, told = datetime.now(UTC), decisions_of(run.tags)
        kill = next((kill for kill in KILLS if run.tags[SYMBOL_TAG] == kill.symbol and kill.decision in told), None)
        if kill and kill not in self.killed:
            self.killed.append(kill)
            assert _dying(run.run_id, kill) == -signal.SIGKILL, kill
        elif any(span.holds(now) for span in POWER_CUTS):
            daemon.instance.add_run_tags(run.run_id, {BOOT_TAG: "the one before the power cut"})
            self.cut.append(run.tags[SYMBOL_TAG])
        else:
            daemon.execute(run)


def _dying(run_id: str, kill: Kill) -> int:
    command = [sys.executable, "-m", "quant_pipeline_tests.proofs.month", "run", run_id, kill.when, kill.path]
    return subprocess.run(command, check=False, capture_output=True).returncode


def die(when: str, end: str) -> None:
    """Let this process kill itself right before or after a file whose path ends so gets its name."""
    swap = files._swap

    def deadly(temporary: Any, path: Any) -> None:
        if when == "after":
            swap(temporary, path)
        if str(path).endswith(end):
            os.kill(os.getpid(), signal.SIGKILL)
        swap(temporary, path)

    files._swap = deadly


def serve(phone: Phone) -> None:
    """Be Telegram for this process."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, said = phone.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    os.environ |= {"QUANT_TELEGRAM_TOKEN": "1:secret", "QUANT_TELEGRAM_CHAT": "42", "QUANT_TELEGRAM_URL": url}
    tenacity.nap.time = types.SimpleNamespace(sleep=lambda _: None)


def main(end: datetime) -> None:
    """Train, live until `end`, and say what was."""
    logging.disable(logging.WARNING)
    house, phone = make_house(), Phone()
    serve(phone)
    with dg.DagsterInstance.get() as instance:
        runner = Runner(build_defs(house), instance, house)
        for symbol in SYMBOLS:
            runner.run(symbol, until="ensemble")
        daemon = Daemon(build_defs(house).get_repository_def(), instance)
        month = Month(house, daemon, Mishaps(house, phone), Clock.here())
        daemon.launch = month.launch
        month.live(end)
    told = {
        "texts": phone.texts,
        "looks": month.looks,
        "killed": len(month.killed),
        "cut": month.cut,
        "runs": month.runs,
        "ticks": month.ticks,
    }
    sys.stdout.write(json.dumps(told))


def run(run_id: str, when: str, end: str) -> None:
    """Do the run, and die on the way."""
    die(when, end)
    with dg.DagsterInstance.get() as instance:
        found = instance.get_run_by_id(run_id)
        assert found
        Daemon(build_defs().get_repository_def(), instance).execute(found)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(*sys.argv[2:])
    else:
        main(datetime.fromisoformat(sys.argv[1]))
