from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from quant_pipeline.errors import ConfigError
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
def test_the_exit_code_of_the_child_is_handed_on():
    assert supervise([sys.executable, "-c", "raise SystemExit(5)"]) == 5


@pytest.mark.usefixtures("signals_restored")
def test_sigterm_reaches_the_child():
    asks_its_parent_to_end = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    assert supervise([sys.executable, "-c", asks_its_parent_to_end]) == -signal.SIGTERM
