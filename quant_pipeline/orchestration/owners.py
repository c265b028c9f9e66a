"""Which process is at work on a run, told in tags, so that anybody can see that it is gone.

A process id alone tells nothing after a power cut, nor once the system has given it to another process: with it go the
boot that the process belongs to, and the moment of that boot at which it began.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from quant_pipeline.files import running

PID_TAG, BOOT_TAG, BORN_TAG = "quant/pid", "quant/boot", "quant/born"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STATE, BORN = 0, 19
"""Places of a process' state and of its start, in clock ticks since the boot, behind its name in /proc/PID/stat."""


def owner_tags() -> dict[str, str]:
    """Tags that name this process."""
    pid = str(os.getpid())
    return {PID_TAG: pid, BOOT_TAG: boot(), BORN_TAG: _born(pid)}


def gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that `tags` name has ended, or belongs to another boot; False where they name none."""
    pid = tags.get(PID_TAG)
    if pid is None:
        return False
    return tags.get(BOOT_TAG, boot()) != boot() or not running(pid) or tags.get(BORN_TAG, _born(pid)) != _born(pid)


@cache
def boot() -> str:
    """This boot of this machine; where the system does not tell boots apart, the machine."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return platform.node()


def _born(pid: str) -> str:
    """When a process began; nothing for one that only waits to be counted as dead, or where the system does not tell."""
    with suppress(OSError):
        told = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
        return told[BORN] if told[STATE] not in "ZX" else ""
    return ""
