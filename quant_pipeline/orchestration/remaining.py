"""What a progress view says besides counts: the time that is left, and whether kernels are being compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

FEW = 3
"""So many assets have to be made before their pace says anything."""
STEP, FINE = 5, 17
"""Seconds that a time is told in, as long as it is below so many of them; longer ones are told in minutes."""
QUIET_SECONDS = 20.0
"""Compiling has ended when no kernel came for so long; the largest takes about 10 s on a busy core."""


class Remaining:
    """How long the rest takes at the pace so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun = clock, clock()

    def told(self, made: int, total: int) -> str:
        """The time until `total` assets are made, of which `made` are; nothing while too little is known, or at the end.

        Example:
            >>> times = iter((0.0, 20.0))
            >>> Remaining(lambda: next(times)).told(10, 40)
            'about 60 s left'
        """
        elapsed = self._clock() - self._begun
        if made < FEW or made >= total:
            return ""
        steps = elapsed / made * (total - made) / STEP
        return f"about {steps * STEP / 60:.0f} min left" if steps > FINE else f"about {max(1, round(steps)) * STEP} s left"


class Compiling:
    """Whether kernels are compiled right now: the folder that keeps them is empty at the start, or grows."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._count = self._kernels()
        self._grew = clock() if self._count == 0 else float("-inf")

    def now(self) -> bool:
        """Whether one came within the last seconds."""
        found = self._kernels()
        if found != self._count:
            self._count, self._grew = found, self._clock()
        return self._clock() - self._grew < QUIET_SECONDS

    def _kernels(self) -> int:
        return sum(1 for _ in self._folder.rglob("*.nbc"))
