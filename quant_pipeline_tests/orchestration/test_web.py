from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from quant_pipeline.errors import ConfigError
from quant_pipeline.files import running
from quant_pipeline.orchestration.web import page_url, reports_port, serving, supervise


@pytest.fixture
def port(monkeypatch) -> int:
    """A free port, named in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    monkeypatch.setenv("QUANT_REPORTS_PORT", str(number))
    return number


@pytest.fixture
def signals_restored():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_page_is_served_at_its_address_until_the_block_ends(tmp_path, port):
    page = tmp_path / "simulated" / "GC=F" / "skill report.html"
    with serving(tmp_path):
        page.parent.mkdir(parents=True)
        page.write_text("<p>skill</p>")
        url = page_url(page, tmp_path)
        assert httpx.get(url).text == "<p>skill</p>"
        assert httpx.get(f"http://127.0.0.1:{port}/../secret").status_code == 404
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_the_root_is_an_index_of_reports_and_no_icon_is_missed(tmp_path, port):
    with serving(tmp_path):
        assert "quant run GC=F" in httpx.get(f"http://127.0.0.1:{port}/").text
        page = tmp_path / "simulated" / "seed7" / "mine%2Fown" / "GC=F" / "skill_report.html"
        page.parent.mkdir(parents=True)
        page.write_text("<p>skill</p>")
        (page.parent / "skill_report.png").touch()
        told = httpx.get(f"http://127.0.0.1:{port}/").text
        assert "<h2>simulated / seed7 / mine/own</h2>" in told
        assert told.count("<a ") == 1
        (link,) = re.findall(r'<b>GC=F</b> <a href="(.*?)">skill report</a>', told)
        assert httpx.get(f"http://127.0.0.1:{port}/{link}").text == "<p>skill</p>"
        assert httpx.get(f"http://127.0.0.1:{port}/favicon.ico").status_code == 204


def test_a_busy_port_is_told_with_its_mend(tmp_path, port):
    with (
        serving(tmp_path),
        pytest.raises(ConfigError, match=f"port {port} for report pages.*QUANT_REPORTS_PORT"),
        serving(tmp_path),
    ):
        pass


@pytest.mark.parametrize("text", ["", "web", "0", "65536", "-1"])
def test_what_is_no_port_is_refused(monkeypatch, text):
    monkeypatch.setenv("QUANT_REPORTS_PORT", text)
    with pytest.raises(ConfigError, match="QUANT_REPORTS_PORT"):
        reports_port()


def test_the_port_is_3001_unless_said_otherwise(monkeypatch):
    monkeypatch.delenv("QUANT_REPORTS_PORT", raising=False)
    assert page_url(Path("/r/GC=F/a.html"), Path("/r")) == "http://127.0.0.1:3001/GC%3DF/a.html"


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize(("code", "handed_on"), [(5, 5), (0, 1)])
def test_a_server_that_ends_by_itself_has_failed(code, handed_on):
    assert supervise([sys.executable, "-c", f"raise SystemExit({code})"]) == handed_on


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_it_is_asked_to(number):
    asks = "import os, sys, time; os.kill(int(sys.argv[1]), int(sys.argv[2])); time.sleep(60)"
    assert supervise([sys.executable, "-c", asks, str(os.getpid()), str(number.value)]) == 0


IMPATIENT = """
import sys
from quant_pipeline.orchestration import guardian
guardian.PATIENCE = 0.5
sys.exit(guardian.main(sys.argv[1:]))
"""
SUPERVISE = """
import sys
from quant_pipeline.orchestration import web
web.GUARDIAN = "impatient"
sys.exit(web.supervise(sys.argv[1:]))
"""
# a server with a server of its own; neither heeds Ctrl-C
SERVERS = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: None)
deaf = "import signal, time; signal.signal(signal.SIGINT, lambda *_: None); time.sleep(60)"
print(os.getpid(), subprocess.Popen([sys.executable, "-c", deaf]).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("killed", "ends_with"), [("quant ui", -signal.SIGKILL), ("server", 128 + signal.SIGKILL)])
def test_nothing_runs_on_when_one_of_them_is_killed(tmp_path, killed, ends_with):
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", SUPERVISE, sys.executable, "-c", SERVERS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as ui:
        server, inner = ui.stdout.readline().split()
        os.kill({"quant ui": ui.pid, "server": int(server)}[killed], signal.SIGKILL)
        assert ui.wait(30) == ends_with
    left, until = [server, inner], time.monotonic() + 30
    while left and time.monotonic() < until:
        left = [pid for pid in left if running(pid)]
    assert left == []
