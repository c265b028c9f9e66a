"""A Telegram stand-in on localhost that answers as it is told and remembers what reached it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class StandIn:
    """`plan` holds the coming answers: (status, body), (status, body, headers), "hang" or "drop"; after them all is accepted."""

    def __init__(self) -> None:
        self.received, self.paths, self.plan = [], [], []
        self.release = threading.Event()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                stand_in.answer(self)

            def log_message(self, *_: object):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.received.append(body)
        self.paths.append(handler.path)
        planned = self.plan.pop(0) if self.plan else (200, {"ok": True, "result": {"message_id": len(self.received)}})
        if planned == "hang":
            self.release.wait(5)
            return
        if planned == "drop":
            return
        status, reply, *headers = planned
        handler.send_response(status)
        for name, value in headers[0].items() if headers else ():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.encode() if isinstance(reply, str) else json.dumps(reply).encode())

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def texts(self):
        return [body["text"] for body in self.received]


@pytest.fixture
def stand_in():
    server = StandIn()
    yield server
    server.close()
