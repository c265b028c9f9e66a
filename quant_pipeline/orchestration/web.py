"""What `quant ui` runs: Dagster as a child, and report pages over HTTP, on this machine only.

Browsers do not follow file links from the Dagster UI, so the pages need a server.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote

from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.report_index import report_index

LOG = logging.getLogger(__name__)
GUARDIAN = "quant_pipeline.orchestration.guardian"
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
    def do_GET(self) -> None:
        """A page or an index of pages; browsers ask for an icon by themselves, and there is none."""
        if self.path == "/favicon.ico":
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            super().do_GET()

    def list_directory(self, path: str | os.PathLike[str]) -> BytesIO:
        """The reports below a folder, where the library would show its files."""
        page = report_index(Path(path)).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return BytesIO(page)

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
    """Run `command` until it ends, or SIGTERM or Ctrl-C asks for that; nothing that it started is left then.

    Returns:
        0 when it was asked for; else the exit code of `command`, never 0: a server that ends by itself has failed.
    """
    asked = threading.Event()  # a signal may arrive before the guardian is known here
    guarded: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        asked.set()
        for guardian in guarded:
            cast("IO[bytes]", guardian.stdin).close()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    # a group of its own: Ctrl-C is passed on by the guardian alone
    guardian = subprocess.Popen([sys.executable, "-m", GUARDIAN, *command], stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own
    guarded.append(guardian)
    if asked.is_set():
        end()
    code = guardian.wait()
    with suppress(ProcessLookupError):
        os.killpg(guardian.pid, signal.SIGKILL)
    if asked.is_set():
        return 0
    LOG.error("Dagster ended by itself (code %d); what it printed says why. `quant ui` starts it again", code)
    return code or 1
