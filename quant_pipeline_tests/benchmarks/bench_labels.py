"""Triple-barrier labels and barrier tuning over a year of minutes (525,600 bars), against NumPy and pandas, in one process.

    python quant_pipeline_tests/benchmarks/bench_labels.py

Peers: `numpy` labels all samples at once from sliding windows of the path (whole matrices, no early exit); `pandas` is
the loop of AFML snippet 3.2 over the first 500 samples, its time scaled to all of them. Both are given aligned minutes
without gaps, and the labels of both are compared with ours. Tuning is 100 trials of the same search with `numpy` labels,
of which 5 are timed. Times are medians after one call that compiles; `best` is our fastest call, which
a busy machine disturbs least.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.config.experiment import LabelSettings, WeightSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.labels.barriers import simple_atr
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.labels.tuning import tune_barriers
from quant_pipeline.labels.weights import sample_weights

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTES, PANDAS_SAMPLES, TRIALS, TRIALS_TIMED = 525_600, 500, 100, 5
COSTS = Costs(fee_bps=0.5, spread_bps=0.5)
RULES = LabelSettings(tune_trials=TRIALS)
WEIGHTS = WeightSettings()


def minute_bars() -> pl.DataFrame:
    """A seeded random walk with a path inside each minute."""
    random = np.random.default_rng(7)
    close = 100 * np.exp(random.normal(0, 3e-4, MINUTES).cumsum())
    opens = np.r_[100.0, close[:-1]] * np.exp(random.normal(0, 2e-5, MINUTES))
    reach = 1 + np.abs(random.normal(0, 1.5e-4, (2, MINUTES)))
    start = datetime(2025, 1, 1, tzinfo=UTC)
    stamps = pl.datetime_range(start, start + timedelta(minutes=MINUTES - 1), "1m", time_unit="us", eager=True)
    bars = {
        "open": opens,
        "high": np.maximum(opens, close) * reach[0],
        "low": np.minimum(opens, close) / reach[1],
        "close": close,
    }
    return pl.DataFrame({"timestamp": stamps, **bars}).with_columns(known_at=pl.col("timestamp") + timedelta(minutes=1))


def hour_bars(path: pl.DataFrame) -> pl.DataFrame:
    """The hours of the same walk."""
    prices = pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    return (
        path.group_by_dynamic("timestamp", every="1h")
        .agg(*prices)
        .with_columns(known_at=pl.col("timestamp") + timedelta(hours=1))
    )


def numpy_labels(primary: pl.DataFrame, path: pl.DataFrame, rules: LabelSettings) -> np.ndarray:
    """Two-sided labels of all samples from windows of the path, (samples,)."""
    width = path.height // primary.height
    atr = simple_atr(*(primary[name].to_numpy() for name in ("high", "low", "close")), rules.atr_period)
    samples = np.arange(rules.atr_period, primary.height - rules.max_bars)
    size, first = rules.max_bars * width, (samples + 1) * width
    opens, high, low = (
        np.lib.stride_tricks.sliding_window_view(path[name].to_numpy(), size)[first] for name in ("open", "high", "low")
    )
    price = opens[:, 0]
    take = rules.tp_atr * atr[samples] + COSTS.round_trip * price
    stop = rules.sl_atr * atr[samples] - COSTS.round_trip * price
    long = _first_is_profit(opens, high, low, price + take, price - stop)
    short = _first_is_profit(-opens, -low, -high, -(price - take), -(price + stop))
    return np.where(long[1] & short[1], np.sign(short[0] - long[0]), long[1].astype(int) - short[1])


def _first_is_profit(opens: np.ndarray, best: np.ndarray, worst: np.ndarray, take: np.ndarray, stop: np.ndarray) -> tuple:
    profit, loss = best >= take[:, None], worst <= stop[:, None]
    touched = profit | loss
    first = touched.argmax(axis=1)
    at = np.arange(len(first)), first
    return first, profit[at] & (~loss[at] | (opens[at] >= take))


def pandas_labels(primary: pl.DataFrame, path: pl.DataFrame, rules: LabelSettings) -> np.ndarray:
    """Labels of the first samples: one slice of the path for each, searched for the first touch of each barrier."""
    frame = path.select("timestamp", "open", "high", "low").to_pandas().set_index("timestamp")
    atr = simple_atr(*(primary[name].to_numpy() for name in ("high", "low", "close")), rules.atr_period)
    closes = primary["known_at"].to_list()
    found = []
    for sample in range(rules.atr_period, rules.atr_period + PANDAS_SAMPLES):
        window = frame.loc[closes[sample] : closes[sample + rules.max_bars] - timedelta(minutes=1)]
        price = window["open"].iloc[0]
        take = rules.tp_atr * atr[sample] + COSTS.round_trip * price
        stop = rules.sl_atr * atr[sample] - COSTS.round_trip * price
        late = window.index[-1] + timedelta(days=1)
        above, below, stop_long, stop_short = (
            hits[hits].index.min() if hits.any() else late
            for hits in (
                window["high"] >= price + take, window["low"] <= price - take,
                window["low"] <= price - stop, window["high"] >= price + stop,
            )
        )  # fmt: skip
        found.append(int(above < stop_long) - int(below < stop_short))
    return np.array(found)


def times_of(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, sorted, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return sorted(times)


def median_time(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of `repeats` calls."""
    return statistics.median(times_of(work, repeats))


def compare(name: str, primary: pl.DataFrame, path: pl.DataFrame) -> None:
    """One row of the table: our time, the peers' times and ratios, and how many of their labels differ from ours."""
    labels, _ = label_bars(primary, path, RULES, COSTS)
    times = times_of(lambda: label_bars(primary, path, RULES, COSTS), 15)
    ours = statistics.median(times)
    numpy_time = median_time(lambda: numpy_labels(primary, path, RULES), 3)
    pandas_time = median_time(lambda: pandas_labels(primary, path, RULES), 1) * labels.height / PANDAS_SAMPLES
    mine = labels["label"].to_numpy()
    wrong = np.count_nonzero(mine != numpy_labels(primary, path, RULES))
    wrong_pandas = np.count_nonzero(mine[:PANDAS_SAMPLES] != pandas_labels(primary, path, RULES))
    weights = median_time(lambda: sample_weights(labels, WEIGHTS, path), 3)
    cells = (
        f"{ours * 1e3:.1f}",
        f"{times[0] * 1e3:.1f}",
        f"{numpy_time * 1e3:.0f}",
        f"{numpy_time / ours:.1f}x",
        f"{pandas_time:.1f}",
    )
    more = f"{pandas_time / ours:,.0f}x", f"{wrong} + {wrong_pandas}", f"{weights * 1e3:.1f}"
    show(name, f"{labels.height:,}", *cells, *more)


def show(name: str, *cells: str) -> None:
    """One line of the table."""
    print(f"{name:<14}" + "".join(f"{cell:>11}" for cell in cells))


def tuning(primary: pl.DataFrame, path: pl.DataFrame) -> None:
    """The 100-trial search, and as many labellings by the NumPy peer."""
    until = path["known_at"][-1]
    ours = median_time(lambda: tune_barriers(primary, path, RULES, COSTS, until=until, seed=7), 3)
    peer = median_time(lambda: numpy_labels(primary, path, RULES), TRIALS_TIMED) * TRIALS
    print(f"\ntuning, {TRIALS} trials: {ours:.2f} s; as many labellings by numpy: {peer:.1f} s; ratio {peer / ours:.1f}x")


def main() -> None:
    """Print both tables."""
    path = minute_bars()
    hours = hour_bars(path)
    print(f"{MINUTES:,} minutes, horizon {RULES.max_bars} bars, two-sided; pandas scaled from {PANDAS_SAMPLES} samples")
    show("samples", "rows", "ours ms", "best ms", "numpy ms", "ratio", "pandas s", "ratio", "unequal", "weights ms")
    compare("every 1h bar", hours, path)
    compare("every 1m bar", path, path)
    tuning(hours, path)


if __name__ == "__main__":
    main()
