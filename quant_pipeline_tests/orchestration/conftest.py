"""Houses that need no training, and a Telegram stand-in that accepts and remembers everything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from quant_pipeline.orchestration.house import House

if TYPE_CHECKING:
    from quant_pipeline_tests.conftest import Home


@pytest.fixture(scope="session")
def default_house(tmp_path_factory) -> House:
    """The house that a fresh checkout has, in a folder of its own."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.config.universe import DEFAULT_UNIVERSE, load_universe
    from quant_pipeline.config.workplace import workplace

    place = workplace({"QUANT_DATA": str(tmp_path_factory.mktemp("default"))})
    return House(place, load_universe(DEFAULT_UNIVERSE), load_experiment("default"))


@pytest.fixture(scope="session")
def told_home(tmp_path_factory, home_of_nothing) -> Home:
    """A home whose models read other markets, macro releases, news and patterns; trained, then three hours live.

    Never to be changed; ask for a copy.
    """
    from quant_pipeline.definitions import build_defs

    families = ["returns", "cross_asset", "macro", "news", "candlestick_patterns", "smart_money"]
    tiny = {
        **home_of_nothing.tiny, "history_days": 60, "features": {**home_of_nothing.tiny["features"], "families": families},
        "models": [home_of_nothing.tiny["models"][1]], "selection": {"folds": 2, "permutations": 1},
    }  # fmt: skip
    home = home_of_nothing.make(tmp_path_factory.mktemp("told"), tiny)
    with home.runner() as runner:
        runner.run(home.symbol, until="ensemble")
        for hour in range(3):
            defs = build_defs(home.house(as_of=home.as_of + timedelta(hours=hour)))
            job = defs.resolve_job_def("hourly_inference")
            assert job.execute_in_process(instance=runner.instance, partition_key=home.symbol).success
    return home


@pytest.fixture
def telegram(monkeypatch) -> Iterator[list[str]]:
    """Texts that reached the stand-in, spaces as typed, which the environment names as Telegram's server."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
            texts.append(text.replace("\N{NO-BREAK SPACE}", " "))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"ok": True, "result": {"message_id": len(texts)}}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("QUANT_TELEGRAM_TOKEN", "1:secret")
    monkeypatch.setenv("QUANT_TELEGRAM_CHAT", "42")
    monkeypatch.setenv("QUANT_TELEGRAM_URL", f"http://127.0.0.1:{server.server_port}")
    yield texts
    server.shutdown()
    server.server_close()
