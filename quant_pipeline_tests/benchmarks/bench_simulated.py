"""A year of one symbol of the simulated market, with everything it depends on, against the promised 2 seconds.

Run: python quant_pipeline_tests/benchmarks/bench_simulated.py
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from quant_pipeline.config.universe import load_universe
from quant_pipeline.sources.simulated.source import SimulatedSource

PROMISED = 2.0  # seconds
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
LATE = datetime(2025, 10, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)


def main() -> None:
    universe = load_universe()
    SimulatedSource(universe, seed=1).fetch("BTC-USD", "1m", START, START + timedelta(days=1))  # compiles
    print(f"{'symbol':10} {'span':24} {'rows':>8} {'seconds':>8} {'of promised':>12}")
    for seed, symbol in enumerate(universe.names, start=100):
        for start, end in ((START, END), LATE):
            # a seed of its own: no factor, path or calendar month is remembered from another row but the sessions
            source = SimulatedSource(universe, seed=seed + (1_000 if start != START else 0))
            begin = time.perf_counter()
            rows = len(source.fetch(symbol, "1m", start, end).frame)
            spent = time.perf_counter() - begin
            print(f"{symbol:10} {start:%Y-%m-%d} to {end:%Y-%m-%d} {rows:>8,} {spent:>8.3f} {spent / PROMISED:>11.0%}")
    oracle = SimulatedSource(universe, seed=101)
    begin = time.perf_counter()
    best = oracle.best_reachable("BTC-USD", timedelta(hours=5), start=START, end=END)
    print(f"best_reachable over {best.rows:,} decisions: {time.perf_counter() - begin:.3f} s")


if __name__ == "__main__":
    main()
