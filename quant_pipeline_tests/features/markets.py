"""Markets as the columns of one rung: a random walk, and series that are hostile but clean."""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.places import ANCHOR_BARS

SESSION_BARS = 24
"""Bars per session of the array markets: they stand for the 1h rung of a market that never closes."""
BARS = 1_400


def as_columns(close: np.ndarray, seed: int, *, width: float = 3e-4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = close.size
    opened = np.r_[close[0], close[:-1]]
    high = np.maximum(opened, close) * (1 + width * np.abs(rng.normal(size=n)))
    low = np.minimum(opened, close) / (1 + width * np.abs(rng.normal(size=n)))
    at = np.arange(n)
    session = np.floor(at / SESSION_BARS) * 86_400e6
    return {
        "open": opened, "high": high, "low": low, "close": close, "volume": rng.lognormal(5, 1, n).round(),
        "session_open": session, "timestamp": at * 3_600e6, "anchor": np.floor(at / ANCHOR_BARS),
    }  # fmt: skip


def walk_of(seed: int, scale: float = 1e-3, n: int = BARS) -> np.ndarray:
    return 100 * np.exp(np.cumsum(scale * np.random.default_rng(seed).normal(size=n)))


def _still(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same closes, every bar without range."""
    return columns | {name: columns["close"].copy() for name in ("open", "high", "low")}


def _hostile() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(9)
    at = np.arange(BARS)
    flat = np.full(BARS, 1234.56)
    walk = walk_of(2)
    stopped = np.where((at > 500) & (at < 1_200), walk[500], walk)
    jumps = walk * np.where((at // 90) % 2 == 0, 1.0, 1_000.0)
    ticks = 0.07 + 1e-5 * rng.integers(-1, 2, BARS)
    return {
        "flat": _still(as_columns(flat, 1)),
        "flat_then_walk": as_columns(np.where(at < 700, 100.0, walk), 2),
        "stands_still_for_700_bars": _still(as_columns(stopped, 3)),
        "zero_range": _still(as_columns(walk, 4)),
        "zero_volume": as_columns(walk, 5) | {"volume": np.zeros(BARS)},
        "patchy_volume": as_columns(walk, 6) | {"volume": np.where((at // 70) % 2 == 0, 0.0, rng.lognormal(5, 3, BARS))},
        "constant_volume": as_columns(walk, 7) | {"volume": np.full(BARS, 0.1)},
        "jumps_of_a_thousand": as_columns(jumps, 8),
        "nearly_constant": as_columns(100 + 1e-12 * rng.normal(size=BARS), 9, width=1e-15),
        "coarse_ticks": _still(as_columns(ticks, 10)),
        "constant_growth": as_columns(1e-3 * 1.01 ** (at / 2), 11),
        "saw": as_columns(100.0 + at % 2, 12, width=0.0),
        "large_prices": as_columns(1e9 * walk, 13),
    }


WALK = "walk"
MARKETS = {WALK: as_columns(walk_of(1), 1), **_hostile()}
