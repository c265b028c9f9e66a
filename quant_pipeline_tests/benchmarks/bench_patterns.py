"""Patterns: time for a year of minutes, and smart-money structure beside the smartmoneyconcepts package.

    python quant_pipeline_tests/benchmarks/bench_patterns.py           families on a year; the package on up to 40,000 bars
    python quant_pipeline_tests/benchmarks/bench_patterns.py --year    the package on the whole year too (not timed here: minutes)

A family is timed twice: its own functions over all bars at once on one thread, and inside `build_features` with the minutes
as primary rung (checks, blocks, as-of join, two threads). The package (0.0.27) and ours then find the same five structures on
the same bars in this process: gaps with their mitigation, swings of 5 bars, breaks of structure and changes of character,
order blocks with their mitigation, liquidity. features/test_smart_money.py tells where the definitions differ.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.features.build import build_features
from quant_pipeline.features.kernels import rolling_mean, true_range
from quant_pipeline.features.registry import specs
from quant_pipeline.features.smart_money_kernels import (
    gaps,
    levels,
    open_zones,
    order_blocks,
    structure_breaks,
    swing_levels,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

YEAR = 525_600
PATTERNS = (
    "smart_money", "chart_patterns", "advanced_patterns", "candlestick_patterns", "harmonic_patterns", "elliott_waves",
)  # fmt: skip
PEER_BARS = (10_000, 20_000, 40_000)
TARGET = 50
AGE = 200
LENGTH = 5


def minute_bars(bars: int) -> pl.DataFrame:
    """A random walk of RUNG 1m bars from 2020 on."""
    rng = np.random.default_rng(1)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, bars)))
    opened = np.r_[100.0, close[:-1]]
    stamps = pl.datetime_range(start, start + timedelta(minutes=bars), "1m", time_unit="us", closed="left", eager=True)
    frame = pl.DataFrame({
        "timestamp": stamps, "open": opened, "high": np.maximum(opened, close) * (1 + 3e-4 * rng.random(bars)),
        "low": np.minimum(opened, close) * (1 - 3e-4 * rng.random(bars)), "close": close, "volume": rng.lognormal(5, 1, bars),
    })  # fmt: skip
    return with_sessions(frame, "24/7").with_columns(
        known_at=pl.col("timestamp") + timedelta(minutes=1), n_source=pl.lit(1, pl.Int32), complete=pl.lit(value=True)
    )


def best_of(runs: int, call: Callable[[], object]) -> float:
    """Shortest of some runs, seconds: the machine is shared."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def columns_of(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """What pattern features read of 1m bars."""
    columns = {name: frame[name].to_numpy(writable=True) for name in ("open", "high", "low", "close", "volume")}
    at = frame["timestamp"].to_physical().to_numpy().astype(np.float64)
    return columns | {"timestamp": at, "anchor": np.floor(at / (128 * 60e6))}


def every_function(family: str, columns: dict[str, np.ndarray]) -> None:
    """Each function of a family once over all bars; one that makes several columns is called once."""
    for function in {spec.function for spec in specs((family,))}:
        function(columns)


def families(frame: pl.DataFrame) -> None:
    """Print the year's table."""
    columns = columns_of(frame)
    print(f"{frame.height:,} bars, {os.cpu_count()} cores; target for all families together: under 3 s\n")
    print(f"{'family':24}{'columns':>9}{'functions alone':>18}{'build_features':>17}")
    alone = 0.0
    for family in PATTERNS:
        every_function(family, {name: column[:4_000] for name, column in columns.items()})  # compiles
        took = best_of(3, lambda f=family: every_function(f, columns))
        settings = FeatureSettings(families=(family,))
        built = best_of(2, lambda s=settings: build_features({"1m": frame}, s, "1m", "24/7"))
        alone += took
        print(f"{family:24}{len(specs((family,))):>9}{took:>16.3f} s{built:>15.3f} s", flush=True)
    whole = best_of(2, lambda: build_features({"1m": frame}, FeatureSettings(families=PATTERNS), "1m", "24/7"))
    print(f"{'all':24}{len(specs(PATTERNS)):>9}{alone:>16.3f} s{whole:>15.3f} s")


def ours(columns: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
    """Our five structures; swings are found again inside breaks and liquidity, as the package is given them."""
    o, h, l, c = (columns[name] for name in ("open", "high", "low", "close"))
    atr = rolling_mean(true_range(h, l, c), 14)
    highs, lows = swing_levels(h, LENGTH, LENGTH), -swing_levels(-l, LENGTH, LENGTH)

    def zones(found: object) -> object:
        return open_zones(found, h, l, c, atr, AGE)

    return {
        "fair value gaps": lambda: zones(gaps(h, l)),
        "swings": lambda: (swing_levels(h, LENGTH, LENGTH), swing_levels(-l, LENGTH, LENGTH)),
        "BOS and CHoCH": lambda: structure_breaks(h, l, c, LENGTH, LENGTH, AGE),
        "order blocks": lambda: zones(order_blocks(o, h, l, c, 0.5 * atr)),
        "liquidity": lambda: (zones(levels(highs, -1)), zones(levels(lows, 1))),
    }


def theirs(frame: pd.DataFrame) -> dict[str, Callable[[], object]]:
    """The package's five structures."""
    os.environ["SMC_CREDIT"] = "0"  # else it prints a banner
    from smartmoneyconcepts import smc

    swings = smc.swing_highs_lows(frame, swing_length=LENGTH)
    return {
        "fair value gaps": lambda: smc.fvg(frame),
        "swings": lambda: smc.swing_highs_lows(frame, swing_length=LENGTH),
        "BOS and CHoCH": lambda: smc.bos_choch(frame, swings),
        "order blocks": lambda: smc.ob(frame, swings),
        "liquidity": lambda: smc.liquidity(frame, swings),
    }


def against_peer(frame: pl.DataFrame) -> float:
    """Print one table for the bars of `frame`; returns the ratio of the sums."""
    first, second = ours(columns_of(frame)), theirs(frame.select("open", "high", "low", "close", "volume").to_pandas())
    totals = np.zeros(2)
    print(f"\n{frame.height:,} bars{'':12}{'ours':>12}{'package':>12}{'ratio':>9}")
    for name, call in first.items():
        times = best_of(5, call), best_of(1, second[name])
        totals += times
        print(f"{name:20}{times[0] * 1e3:>13.2f} ms{times[1]:>9.2f} s{times[1] / times[0]:>9.0f}", flush=True)
    ratio = totals[1] / totals[0]
    print(f"{'all five':20}{totals[0] * 1e3:>13.2f} ms{totals[1]:>9.2f} s{ratio:>9.0f}   target {TARGET}")
    return float(ratio)


def main() -> None:
    """Print every table."""
    year = minute_bars(YEAR)
    families(year)
    ours(columns_of(year.head(2_000)))["fair value gaps"]()
    for bars in (*PEER_BARS, YEAR) if "--year" in sys.argv else PEER_BARS:
        against_peer(year.head(bars))


if __name__ == "__main__":
    main()
