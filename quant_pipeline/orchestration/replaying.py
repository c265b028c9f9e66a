"""Replay from the shell: opens bundles of past signals and counts decision hours that never got one."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from quant_pipeline.inference.replay import replay
from quant_pipeline.orchestration.house import House


def replay_symbol(house: House, symbol: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """Every emitted signal of `symbol` with as_of in [start, end] against itself computed again; see `inference.replay`."""
    return replay(
        house.desk(),
        symbol,
        lambda bundle_id: house.load_bundle(symbol, bundle_id),
        profile=house.workplace.profile,
        simulated=house.source.simulated,
        start=start,
        end=end,
    )
