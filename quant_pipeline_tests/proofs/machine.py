"""A machine whose clock is ours: processes started under it read a time that a file shifts, down to the C library.

So whatever asks for the time (Python, Dagster, SQLite) is told the same, also in processes that these processes start.
"""

from __future__ import annotations

import math
import os
import struct
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SHIFT, PRELOAD = "QUANT_TEST_CLOCK", "LD_PRELOAD"
SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *shift;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("QUANT_TEST_CLOCK"), O_RDONLY);
    shift = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *told) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, told);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) told->tv_sec += *shift;
    return failed;
}

int gettimeofday(struct timeval *told, void *zone) {
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    told->tv_sec = now.tv_sec;
    told->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told) *told = now.tv_sec;
    return now.tv_sec;
}
"""


@dataclass(frozen=True)
class Clock:
    """The clock of all processes that have its `environment`; kept in `folder`."""

    folder: Path

    @classmethod
    def build(cls, folder: Path, at: datetime) -> Clock:
        """Compile the clock into `folder` and set it; raises `OSError` where there is no C compiler."""
        (folder / "clock.c").write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(folder / "clock.so"), str(folder / "clock.c"), "-ldl"]
        subprocess.run(command, check=True)
        clock = cls(folder)
        clock._file.write_bytes(struct.pack("q", int(at.timestamp() - time.time())))
        return clock

    @classmethod
    def here(cls) -> Clock:
        """The clock that this process runs under."""
        return cls(Path(os.environ[SHIFT]).parent)

    def environment(self) -> dict[str, str]:
        return {SHIFT: str(self._file), PRELOAD: str(self.folder / "clock.so")}

    def forward(self, to: datetime) -> None:
        """Let it be `to`, or a second later, for every process under this clock, of which this is one; never back."""
        ahead = math.ceil((to - datetime.now(UTC)).total_seconds())
        if ahead > 0:
            with self._file.open("r+b") as file:
                (shift,) = struct.unpack("q", file.read())
                file.seek(0)
                file.write(struct.pack("q", shift + ahead))

    @property
    def _file(self) -> Path:
        return self.folder / "shift"
