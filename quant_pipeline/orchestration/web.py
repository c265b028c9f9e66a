"""What `quant ui` runs: Dagster as a child, and report pages over HTTP, on this machine only.

Browsers do not follow file links from the Dagster UI, so the pages need a server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from quant_pipeline.errors import ConfigError

HOST, DEFAULT_PORT, LAST_PORT = "127.0.0.1", 3001, 65_535


def reports_port() -> int:
    """Where `quant ui` serves report pages: QUANT_REPORTS_PORT, else 3001; raises `ConfigError` for what is no port."""
    told = os.environ.get("QUANT_REPORTS_PORT", str(DEFAULT_PORT))
    if not told.isdigit() or not 0 < int(told) <= LAST_PORT:
        raise ConfigError(
            "QUANT_REPORTS_PORT", found=repr(told), wanted=f"1 to {LAST_PORT}", mend="unset it, or name a free port"
        )
    return int(told)


def page_url(page: Path, reports: Path) -> str:
    """Address of a report page while `quant ui` runs; `reports` is the folder that holds all of them."""
    return f"{address()}/{quote(page.relative_to(reports).as_posix())}"


def address() -> str:
    """Where `quant ui` serves the report pages."""
    return f"http://{HOST}:{reports_port()}"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        """Say nothing: the daemon's log is for runs."""


def _listen(reports: Path) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((HOST, reports_port()), partial(_Quiet, directory=str(reports)))
    except OSError as error:
        raise ConfigError(
            f"port {reports_port()} for report pages", found=error, wanted="a free port",
            mend="stop the other `quant ui`, or set QUANT_REPORTS_PORT",
        ) from None  # fmt: skip


@contextmanager
def serving(reports: Path) -> Iterator[None]:
    """Serve the pages under `reports` on localhost for as long as the block runs."""
    reports.mkdir(parents=True, exist_ok=True)
    server = _listen(reports)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def supervise(command: Sequence[str]) -> int:
    """Run `command` until it ends; pass SIGTERM on, and on Ctrl-C wait for it to stop its own children. Returns its exit code."""
    # a shell may start background jobs with SIGINT ignored; dagster would inherit that and never stop
    signal.signal(signal.SIGINT, signal.default_int_handler)
    children: list[subprocess.Popen[bytes]] = []
    asked = threading.Event()  # SIGTERM may arrive before the child is known here

    def end(*_: object) -> None:
        asked.set()
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, end)
    process = subprocess.Popen(command)  # noqa: S603 - a command of our own
    children.append(process)
    if asked.is_set():
        process.terminate()
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
