"""Nine rungs from 525,600 one-minute bars: `build_ladder` against Polars `group_by_dynamic`, in one process.

    python quant_pipeline_tests/benchmarks/bench_resample.py

Both sides read the same frame and build the same nine frames. Two peers: `anchored` gives the same bars as ours
(windows from the session open: grouped by it), `epoch` is Polars at its fastest (windows from the epoch, wrong for 25m).
The memory is the growth of the process's peak while a side runs, each side in its own child process.
"""

from __future__ import annotations

import multiprocessing
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.resample import RUNG_COLUMNS, build_ladder
from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.config.timeframes import LADDER, duration

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 525_600
REPEATS = 7
Ladder = dict[str, pl.DataFrame]


def minute_bars(rows: int = ROWS, calendar: str = "24/7") -> pl.DataFrame:
    """A seeded random walk of `rows` RUNG 1m bars from 2025-01-01."""
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-4, rows)))
    start = datetime(2025, 1, 1, tzinfo=UTC)
    stamps = pl.datetime_range(start, start + timedelta(minutes=rows - 1), "1m", time_unit="us", time_zone="UTC", eager=True)
    bars = pl.DataFrame({
        "timestamp": stamps, "open": np.roll(close, 1), "high": close * 1.0002, "low": close * 0.9998, "close": close,
        "volume": rng.gamma(2, 5, rows),
    })  # fmt: skip
    extra = {"n_source": pl.lit(1, pl.Int32), "complete": pl.lit(True)}
    return (
        with_sessions(bars, calendar)
        .with_columns(known_at=pl.col("timestamp") + timedelta(minutes=1), **extra)
        .select(RUNG_COLUMNS)
    )


def ours(bars: pl.DataFrame) -> Ladder:
    """The nine rungs through our kernel."""
    return build_ladder(bars, LADDER)


def anchored(bars: pl.DataFrame) -> Ladder:
    """The same nine rungs through Polars, session by session."""
    return {"1m": bars.select(RUNG_COLUMNS), **{rung: _anchored(bars, rung) for rung in LADDER[1:]}}


def epoch(bars: pl.DataFrame) -> Ladder:
    """Polars without sessions: the fastest form, whose 25m bars ignore the session open."""
    return {"1m": bars, **{rung: bars.group_by_dynamic("timestamp", every=rung).agg(*_ohlcv()) for rung in LADDER[1:]}}


def _ohlcv() -> list[pl.Expr]:
    first, top, low, last, total = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
    return [first.first(), top.max(), low.min(), last.last(), total.sum(), pl.col("n_source").sum()]


def _anchored(bars: pl.DataFrame, rung: str) -> pl.DataFrame:
    length = duration(rung)
    grouped = bars.group_by_dynamic("timestamp", every=rung, group_by=["session_open", "session_close"], start_by="datapoint")
    end, close = pl.col("timestamp") + length, pl.col("session_close")
    return grouped.agg(*_ohlcv()).with_columns(known_at=pl.min_horizontal(end, close), complete=end <= close).select(RUNG_COLUMNS)


def best_seconds(side: Callable[[pl.DataFrame], Ladder], bars: pl.DataFrame) -> float:
    """Fastest of `REPEATS` runs after one warm-up."""
    side(bars)
    return min(_timed(side, bars) for _ in range(REPEATS))


def _timed(side: Callable[[pl.DataFrame], Ladder], bars: pl.DataFrame) -> float:
    begin = time.perf_counter()
    side(bars)
    return time.perf_counter() - begin


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _growth(name: str, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    bars = minute_bars()
    SIDES[name](bars.head(2_000))  # compile and start threads before memory is read
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak back to the present
    before = _resident_mib("VmRSS")
    SIDES[name](bars)
    answers.put((_resident_mib("VmHWM") - before, _resident_mib("VmHWM")))


def memory_mib(name: str) -> tuple[float, float]:
    """Growth of the peak, and the peak itself, in MiB, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=_growth, args=(name, answers))
    child.start()
    found = answers.get()
    child.join()
    return found


SIDES: dict[str, Callable[[pl.DataFrame], Ladder]] = {"ours": ours, "anchored": anchored, "epoch": epoch}


def main() -> None:
    """Check that ours equals the anchored peer, then print times, ratios and memory."""
    bars = minute_bars()
    theirs = anchored(bars)
    for rung, frame in ours(bars).items():
        other = theirs[rung].sort("timestamp")
        assert frame.drop("volume").equals(other.drop("volume")), rung
        assert np.allclose(frame["volume"], other["volume"], rtol=1e-12), rung
    seconds = {name: best_seconds(side, bars) for name, side in SIDES.items()}
    print(f"{ROWS:,} one-minute bars -> {len(LADDER)} rungs, best of {REPEATS}, polars threads {pl.thread_pool_size()}")
    print(f"{'side':<34}{'ms':>9}{'ratio':>8}{'growth MiB':>12}{'peak MiB':>10}")
    for name, label in {
        "ours": "build_ladder",
        "anchored": "group_by_dynamic, same bars",
        "epoch": "group_by_dynamic, no sessions",
    }.items():
        growth, peak = memory_mib(name)
        print(f"{label:<34}{1e3 * seconds[name]:>9.1f}{seconds[name] / seconds['ours']:>7.1f}x{growth:>12.0f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
