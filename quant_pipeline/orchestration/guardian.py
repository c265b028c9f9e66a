"""Stands between `quant ui` and Dagster, so that neither outlives the other, however it ends.

It leads the group of all processes of Dagster. Its input ends when `quant ui` does, even by kill -9: then it asks the
group to stop as Ctrl-C would, waits, and kills what is left. When Dagster ends first, so does it, with the same code.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

PATIENCE = 30.0
"""Seconds that Dagster has for stopping its servers and runs."""
POLL = 0.2


def main(command: Sequence[str]) -> int:
    """Run `command` until it ends, or the input does; its exit code, 128 + N for the signal N."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _for_others)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - a command of our own
    alone = False
    while child.poll() is None and not alone:
        alone = bool(select.select([sys.stdin], [], [], POLL)[0])  # nothing is ever written there: it is the end
    if alone:
        os.killpg(0, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE)
        os.killpg(0, signal.SIGKILL)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _for_others(*_: object) -> None:
    """Do nothing: a signal is meant for the group. A child does not inherit this, as it would `SIG_IGN`."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
