"""Features: time and memory for a year of minutes on nine rungs, one hour more, the `ta` package beside it, five years.

    python quant_pipeline_tests/benchmarks/bench_features.py           everything (about three minutes)
    python quant_pipeline_tests/benchmarks/bench_features.py --no-peer

Ours is the whole of `build_features`: checks, kernels on every rung, z-scores, other markets, news and releases, as-of join
to the decisions. The peer only computes the 128 columns of the first list on the same rungs, whole (no subset, no scaling),
without a join: `ta` where it has the indicator, pandas' rolling windows where it has not (Parkinson, Garman-Klass, volume
ratio and z-score, statistics, the rolling z-score). Bars and tables are made outside the timing. The ladder's bars are
24/7, volume is real; the coarse rungs serve the timeframe alignment alone.

Targets, on two cores: every tabular family in under 4 s, one new hour in under 1 s, memory under 3 GiB.
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
from quant_pipeline.features.context import NEWS_SCHEMA, Context
from quant_pipeline.features.groups import PATTERNS
from quant_pipeline.features.registry import FAMILIES, columns
from quant_pipeline.features.statistics import RUNGS
from quant_pipeline.sources.simulated.releases import release_table

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

YEAR = 525_600
COARSE = ("4h", "1d", "1w")
ALL_RUNGS = (*LADDER, *COARSE)
OTHERS = ("SPY", "QQQ", "GC=F")
MULTI_TIMEFRAME = FeatureSettings(families=("momentum", "volatility", "volume", "statistics"), coarse=COARSE)
EVERYTHING = FeatureSettings(families=FAMILIES, coarse=COARSE)
TABULAR = FeatureSettings(families=tuple(name for name in FAMILIES if name not in (*PATTERNS, "channels")), coarse=COARSE)
LISTS = {
    "momentum volatility volume stats": MULTI_TIMEFRAME,
    "tabular: all but the next two": TABULAR,
    "patterns and smart money": FeatureSettings(families=PATTERNS, coarse=COARSE),
    "channels": FeatureSettings(families=("channels",), coarse=COARSE),
    "all families": EVERYTHING,
}


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


def beside(bars: pl.DataFrame) -> Context:
    """Three other markets on the same bars, six articles a day, and the simulated world's releases."""
    rng = np.random.default_rng(2)
    others = {}
    for symbol in OTHERS:
        factor = pl.Series(np.exp(np.cumsum(rng.normal(0, 1e-3, bars.height))))
        others[symbol] = bars.with_columns(pl.col("open", "high", "low", "close") * factor)
    start, end = bars["timestamp"].min(), bars["known_at"].max()
    known = pl.Series(rng.integers(0, int((end - start).total_seconds()), 6 * (end - start).days)).sort() * 1_000_000
    at = pl.Series("known_at", known + int(start.timestamp()) * 1_000_000).cast(pl.Datetime("us", "UTC"))
    news = pl.DataFrame([at, at.alias("published_at"), pl.Series("sentiment", rng.uniform(-1, 1, len(at)))], schema=NEWS_SCHEMA)
    return Context(others, news, release_table(7, start.date().replace(year=start.year - 5), start - timedelta(days=1_500), end))


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
    print(f"525,600 minutes, nine rungs and three coarse ones, {os.cpu_count()} cores\n")
    print(f"{'list':34}{'primary':>8}{'decisions':>11}{'columns':>9}{'first call':>12}{'best of 5':>11}{'one new hour':>14}")
    seconds = {}
    for primary in ("1h", "1m"):
        context = beside(ladder[primary])
        for title, settings in LISTS.items():
            first, best, update = timed(ladder, settings, primary, context)
            seconds[title, primary] = best
            width = len(columns(settings, ALL_RUNGS, primary, OTHERS))
            counts = f"{title:34}{primary:>8}{ladder[primary].height:>11,}{width:>9}"
            print(f"{counts}{first:>10.2f} s{best:>9.3f} s{update * 1e3:>11.0f} ms", flush=True)
    return seconds["momentum volatility volume stats", "1h"]


def timed(
    ladder: dict[str, pl.DataFrame], settings: FeatureSettings, primary: str, context: Context
) -> tuple[float, float, float]:
    """Seconds of the first build in this process, of the best of five, and of the decisions of one new hour."""

    def build(since: datetime | None = None) -> None:
        build_features(ladder, settings, primary, "24/7", since=since, context=context)

    hour_before = ladder[primary]["known_at"][-1] - timedelta(hours=1)
    return best_of(1, build), best_of(5, build), best_of(5, lambda: build(hour_before))


def growth() -> None:
    """Cost from one to five years and the exponent of the power law through it."""
    print(f"\n{'years':>6}{'minutes':>12}{'seconds':>9}{'us/minute':>11}")
    years, took = np.arange(1, 6), []
    for count in years:
        ladder = build_ladder(minute_bars(int(count) * YEAR), ALL_RUNGS)
        context = beside(ladder["1h"])
        took.append(best_of(3, lambda bars=ladder, near=context: build_features(bars, EVERYTHING, "1h", "24/7", context=near)))
        print(f"{count:>6}{count * YEAR:>12,}{took[-1]:>9.3f}{took[-1] / count / YEAR * 1e6:>11.3f}")
    exponent = np.polyfit(np.log(years), np.log(took), 1)[0]
    print(f"fitted exponent {exponent:.2f} (1 is linear)")


def _memory(field: str) -> float:
    """GiB of this process: VmRSS now, or VmHWM, the peak since it was last reset (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def peak(title: str, primary: str) -> None:
    """Print the resident memory before one build of a list, and its peak during it."""
    ladder = build_ladder(minute_bars(YEAR), ALL_RUNGS)
    context = beside(ladder[primary])
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    before = _memory("VmRSS")
    features, _ = build_features(ladder, LISTS[title], primary, "24/7", context=context)
    result = features.estimated_size("gb")
    print(f"{title:34}{primary:>8}{before:>12.2f} GiB{_memory('VmHWM'):>9.2f} GiB{result:>9.2f} GiB")


def main() -> None:
    """Print every table."""
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2], sys.argv[3])
        return
    ladder = build_ladder(minute_bars(YEAR), ALL_RUNGS)
    ours = one_year(ladder)
    print(f"\n{'peak memory':34}{'primary':>8}{'before':>16}{'peak':>13}{'result':>13}", flush=True)
    for title, primary in (("all families", "1h"), ("tabular: all but the next two", "1m"), ("all families", "1m")):
        subprocess.run([sys.executable, __file__, "--peak", title, primary], check=True)
    if "--no-peer" not in sys.argv:
        against_peer({rung: ladder[rung] for rung in LADDER}, ours)
    growth()


if __name__ == "__main__":
    main()
