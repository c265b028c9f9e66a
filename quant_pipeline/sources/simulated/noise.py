"""Randomness in calendar-month blocks, keyed by what it is for, so that no window can change it.

Every block is drawn for all UTC minutes of its month, traded or not: a corrected holiday in a calendar moves no
other minute's draw.
"""

from __future__ import annotations

import calendar
import hashlib
from datetime import UTC, date, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quant_pipeline.sources.simulated.world import FACTORS

Floats = npt.NDArray[np.float64]
MINUTE = 60_000_000  # microseconds
LAGS = 5  # minutes by which a follower may be late
_MONTHS = 12


def month_of(moment: date) -> int:
    """Months since year 0 of a date or UTC datetime."""
    return moment.year * _MONTHS + moment.month - 1


def month_start(month: int) -> datetime:
    """First moment of a month, UTC."""
    return datetime(month // _MONTHS, month % _MONTHS + 1, 1, tzinfo=UTC)


def month_minutes(month: int) -> int:
    """Number of UTC minutes in a month."""
    return calendar.monthrange(month // _MONTHS, month % _MONTHS + 1)[1] * 1_440


def stream(seed: int, purpose: str, month: int) -> np.random.Generator:
    """The random generator of one purpose in one month (Philox: equal on every machine)."""
    words = np.frombuffer(hashlib.sha256(purpose.encode()).digest()[:16], np.uint32)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, month, *words.tolist()])))


# a month takes 1.4 MB
@lru_cache(maxsize=24)
def factor_shocks(seed: int, month: int) -> Floats:
    """Common shocks, standard normal, (F + 1, minutes of the month); the last row moves every volatility."""
    return _frozen(stream(seed, "factors", month).standard_normal((len(FACTORS) + 1, month_minutes(month))))


def _frozen(values: Floats) -> Floats:
    values.setflags(write=False)
    return values


def common_shocks(seed: int, month: int, loadings: tuple[float, ...], late: float) -> Floats:
    """Loaded sum of the factor shocks by minute of the month; over many minutes, variance is the sum of squared loadings.

    Args:
        seed: The world's seed.
        month: Month number.
        loadings: One per factor.
        late: Share of each shock that arrives one to `LAGS` minutes late, sooner more than later.
    """
    now: Floats = np.asarray(loadings) @ factor_shocks(seed, month)[:-1]
    if not late:
        return now
    before = np.asarray(loadings) @ factor_shocks(seed, month - 1)[:-1, -LAGS:]
    weights = lag_weights(late)
    series = np.concatenate([before, now])
    total: Floats = weights[0] * now
    for lag in range(1, LAGS + 1):
        total += weights[lag] * series[LAGS - lag : -lag]
    return total


def lag_weights(late: float) -> Floats:
    """Weight of a factor shock by its age in minutes, (LAGS + 1,); they sum to 1, so all of it arrives in the end."""
    shares = 0.6 ** np.arange(LAGS)
    return np.concatenate([[1 - late], late * shares / shares.sum()])


def closure_shock(seed: int, loadings: tuple[float, ...], start: int, end: int) -> float:
    """What the factors did to an asset while it was closed, [start, end) in microseconds; variance as `common_shocks`."""
    months = range(*(month_of(datetime.fromtimestamp(at / 1e6, UTC)) + extra for at, extra in ((start, 0), (end - 1, 1))))
    parts = [_between(factor_shocks(seed, month)[:-1], month, start, end) for month in months]
    shocks = np.concatenate(parts, axis=1)
    return float(np.asarray(loadings) @ shocks.sum(axis=1) / np.sqrt(shocks.shape[1]))


def _between(shocks: Floats, month: int, start: int, end: int) -> Floats:
    first = int(month_start(month).timestamp()) * 1_000_000
    return shocks[:, max(start - first, 0) // MINUTE : max(end - first, 0) // MINUTE]
