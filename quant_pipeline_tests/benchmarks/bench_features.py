"""Features: time and memory for a year of minutes on nine rungs, the `ta` package beside it, cost over five years.

    python quant_pipeline_tests/benchmarks/bench_features.py           everything (about a minute)
    python quant_pipeline_tests/benchmarks/bench_features.py --no-peer

Ours is the whole of `build_features`: checks, kernels on every rung, z-scores, as-of join to the decisions. The peer only
computes the same 128 columns on the same rungs, whole (no subset, no scaling), without a join: `ta` where it has
the indicator, pandas' rolling windows where it has not (Parkinson, Garman-Klass, volume ratio and z-score, statistics,
the rolling z-score). Bars are made and resampled outside the timing. The ladder's bars are 24/7, volume is real.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.config.timeframes import LADDER
from quant_pipeline.features.build import build_features
from quant_pipeline.features.registry import FAMILIES, columns
from quant_pipeline.features.statistics import RUNGS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

YEAR = 525_600
MULTI_TIMEFRAME = FeatureSettings(families=("momentum", "volatility", "volume", "statistics"))
EVERYTHING = FeatureSettings(families=FAMILIES)


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


def peer_rung(rung: str, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns of one rung through `ta` and pandas."""
    import pandas as pd
    import ta

    opened, high, low, close, volume = (frame[name] for name in ("open", "high", "low", "close", "volume"))
    bands = ta.volatility.BollingerBands(close, 20, 2)
    spans, bodies = np.log(high / low) ** 2, np.log(close / opened) ** 2
    rolling_volume, balance = volume.rolling(20), ta.volume.OnBalanceVolumeIndicator(close, volume).on_balance_volume()
    window = 1_440 * 60 // int(pd.Timedelta(rung.replace("m", "min")).total_seconds())  # ta's VWAP rolls: a day of bars
    vwap = ta.volume.VolumeWeightedAveragePrice(high, low, close, volume, window=window).volume_weighted_average_price()
    found = {
        "rsi": ta.momentum.RSIIndicator(close, 14).rsi(),
        "macd": zscore(ta.trend.MACD(close, 26, 12, 9).macd() / close),
        "stoch": ta.momentum.StochasticOscillator(high, low, close, 14, 3).stoch_signal(),
        "adx": ta.trend.ADXIndicator(high, low, close, 14).adx(),
        "atr": ta.volatility.AverageTrueRange(high, low, close, 14).average_true_range() / close,
        "parkinson": np.sqrt(spans.rolling(20).mean() / (4 * math.log(2))),
        "garman_klass": np.sqrt((0.5 * spans - (2 * math.log(2) - 1) * bodies).rolling(20).mean()),
        "bb_width": bands.bollinger_wband(),
        "vwap_distance": zscore(close / vwap - 1),
        "obv": balance.diff(20) / rolling_volume.sum(),
        "volume_ratio": volume / rolling_volume.mean(),
        "volume_zscore": (volume - rolling_volume.mean()) / rolling_volume.std(),
    }
    if rung in RUNGS:
        returns = np.log(close).diff().rolling(20)
        found |= {"mean": zscore(returns.mean()), "std": returns.std(), "skew": returns.skew(), "kurt": returns.kurt()}
    return found


def zscore(values: pd.Series) -> pd.Series:
    """The rolling z-score of document 000."""
    window = values.rolling(500, min_periods=50)
    return (values - window.mean()) / window.std().clip(lower=1e-8)


def peer(ladder: dict[str, pd.DataFrame]) -> int:
    """Every column of the list; returns how many."""
    return sum(len(peer_rung(rung, frame)) for rung, frame in ladder.items())


def against_peer(ladder: dict[str, pl.DataFrame], ours: float) -> None:
    """Time the peer on the whole year, once per rung."""
    import warnings

    warnings.simplefilter("ignore")  # ta 0.11 was written for pandas 1
    frames = {rung: frame.select("open", "high", "low", "close", "volume").to_pandas() for rung, frame in ladder.items()}
    peer({"1h": frames["1h"].head(2_000)})  # imports
    start = time.perf_counter()
    made = peer(frames)
    took = time.perf_counter() - start
    print(f"\n`ta` package (and pandas), {made} columns, whole year, same process: {took:.1f} s = {took / ours:.0f} x ours")


def one_year(ladder: dict[str, pl.DataFrame]) -> float:
    """Print the year's table; returns seconds for the 128 columns on hourly decisions."""
    print(f"525,600 minutes, nine rungs, {os.cpu_count()} cores; target under 2 s\n")
    print(f"{'list':34}{'primary':>8}{'decisions':>11}{'columns':>9}{'first call':>12}{'best of 5':>11}")
    seconds = {}
    for title, settings in (("momentum volatility volume stats", MULTI_TIMEFRAME), ("all families", EVERYTHING)):
        for primary in ("1h", "15m", "1m"):
            first = best_of(1, lambda s=settings, p=primary: build_features(ladder, s, p, "24/7"))
            best = best_of(5, lambda s=settings, p=primary: build_features(ladder, s, p, "24/7"))
            seconds[title, primary] = best
            width = len(columns(settings, LADDER, primary))
            print(f"{title:34}{primary:>8}{ladder[primary].height:>11,}{width:>9}{first:>10.2f} s{best:>9.3f} s")
    update = best_of(5, lambda: build_features(ladder, EVERYTHING, "1h", "24/7", since=ladder["1h"]["known_at"][-2]))
    print(f"\none new hour by `since`, all families: {update * 1e3:.0f} ms")
    return seconds["momentum volatility volume stats", "1h"]


def growth() -> None:
    """Cost from one to five years and the exponent of the power law through it."""
    print(f"\n{'years':>6}{'minutes':>12}{'seconds':>9}{'us/minute':>11}")
    years, took = np.arange(1, 6), []
    for count in years:
        ladder = build_ladder(minute_bars(int(count) * YEAR), LADDER)
        took.append(best_of(5, lambda bars=ladder: build_features(bars, EVERYTHING, "1h", "24/7")))
        print(f"{count:>6}{count * YEAR:>12,}{took[-1]:>9.3f}{took[-1] / count / YEAR * 1e6:>11.3f}")
    exponent = np.polyfit(np.log(years), np.log(took), 1)[0]
    print(f"fitted exponent {exponent:.2f} (1 is linear)")


def _memory(field: str) -> float:
    """GiB of this process: VmRSS now, or VmHWM, the peak since it was last reset (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def peak(primary: str) -> None:
    """Print the resident memory before one build of every family, and its peak during it."""
    ladder = build_ladder(minute_bars(YEAR), LADDER)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    before = _memory("VmRSS")
    features, _ = build_features(ladder, EVERYTHING, primary, "24/7")
    result = features.estimated_size("gb")
    print(
        f"peak memory, all families, primary {primary:>2}: {_memory('VmHWM'):.2f} GiB ({before:.2f} before, result {result:.2f})"
    )


def main() -> None:
    """Print every table."""
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2])
        return
    ladder = build_ladder(minute_bars(YEAR), LADDER)
    ours = one_year(ladder)
    print(flush=True)
    for primary in ("1h", "1m"):
        subprocess.run([sys.executable, __file__, "--peak", primary], check=True)
    if "--no-peer" not in sys.argv:
        against_peer(ladder, ours)
    growth()


if __name__ == "__main__":
    main()
