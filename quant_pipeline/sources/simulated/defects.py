"""The faults of a real feed: minutes that never arrive, short outages, rows that arrive twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quant_pipeline.sources.simulated.noise import month_minutes, stream

if TYPE_CHECKING:
    from quant_pipeline.sources.simulated.minutes import Minutes

MISSING, REPEATED = 0.0015, 0.0003  # share of minutes; quiet minutes are missed more often
_OUTAGES_PER_HOUR = 1 / (30 * 24)  # one a month
_OUTAGE_MINUTES = (5, 45)

Copies = npt.NDArray[np.int8]


def copies(seed: int, symbol: str, month: int, grid: Minutes) -> Copies:
    """How often the feed shows each minute of `grid`: 0 (missing), 1, or 2 (repeated)."""
    random, size = stream(seed, f"feed {symbol}", month), month_minutes(month)
    draw = random.random(size)[grid.index]
    shown = np.ones(len(grid.index), np.int8)
    shown[draw > 1 - REPEATED] = 2
    shown[draw < MISSING / grid.volume] = 0
    shown[_outage(random, size)[grid.index]] = 0
    return shown


def _outage(random: np.random.Generator, size: int) -> npt.NDArray[np.bool_]:
    down = np.zeros(size, np.bool_)
    hours = size // 60
    begins, lengths = random.random(hours) < _OUTAGES_PER_HOUR, random.integers(*_OUTAGE_MINUTES, hours)
    for hour in np.flatnonzero(begins).tolist():
        down[hour * 60 : hour * 60 + int(lengths[hour])] = True
    return down
