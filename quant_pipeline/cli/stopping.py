"""Ctrl-C and SIGTERM. Dagster puts handlers of its own in place of ours while a step runs, and makes both one exception.

So the system writes down which signals came, whoever handles them, and an error after one is the stop that was asked for.
"""

from __future__ import annotations

import os
import signal
import threading
from types import TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ENDED_BY = 128
"""What a shell adds to the number of the signal that ended a program."""


class Stops:
    """While this context is open, both signals raise `KeyboardInterrupt`, and which one came is on record."""

    def __enter__(self) -> Self:
        self._here = threading.current_thread() is threading.main_thread()  # others cannot take signals
        self._came, self._record = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[signal.Signals, Any] = {}
        if self._here:
            self._before = {one: signal.signal(one, signal.default_int_handler) for one in SIGNALS}
            self._fd = signal.set_wakeup_fd(self._record, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._here:
            signal.set_wakeup_fd(self._fd)
        for one, handler in self._before.items():
            signal.signal(one, handler)
        os.close(self._came)
        os.close(self._record)

    def code(self, error: BaseException) -> int | None:
        """The exit code where `error` follows from a signal; None where it is an error of its own."""
        came = [number for number in self._read() if number in SIGNALS]
        if came:
            return ENDED_BY + came[0]
        return ENDED_BY + signal.SIGINT if isinstance(error, KeyboardInterrupt) else None

    def _read(self) -> bytes:
        try:
            return os.read(self._came, 4096)
        except BlockingIOError:
            return b""


def _no_record() -> None:
    """Let a child that was forked write no signals down for its parent."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_no_record)
