"""From raw bars to the ladder: the one path that batch, live and replay share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from quant_pipeline.bars.clean import UNLIMITED, clean_bars
from quant_pipeline.bars.native import splice_native
from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.config.timeframes import minutes
from quant_pipeline.ledger import Ledger


def build_bars(
    raw: Mapping[str, pl.DataFrame],
    calendar: str,
    ladder: Sequence[str],
    *,
    as_of: datetime,
    rules: CleaningRules = UNLIMITED,
) -> tuple[dict[str, pl.DataFrame], Ledger]:
    """Every rung of `ladder` from the raw bars of each native interval, closed by `as_of`.

    Args:
        raw: BARS by native interval; `1m` is required, others (`15m`, `1h`) reach back where minutes do not.
        calendar: the symbol's market calendar.
        ladder: rung names; each must be `1m` or longer.
        as_of: bars with `known_at` after it do not exist yet.
        rules: the symbol's declared splits, and in training its limits; see `clean_bars`, which raises what they forbid.

    Returns:
        RUNG BARS by rung, and the ledger of the minutes, with one note per spliced rung.
    """
    clean, ledger = clean_bars(raw["1m"], calendar, as_of=as_of, rules=rules)
    rungs = build_ladder(clean, ladder, as_of=as_of, calendar=calendar)
    for interval in sorted(set(raw) - {"1m"}, key=minutes):
        native, _ = clean_bars(raw[interval], calendar, timeframe=interval, as_of=as_of, rules=rules)
        if interval in rungs and native.height:
            rungs[interval], splice = splice_native(rungs[interval], native)
            ledger.notes[f"native_{interval}"] = splice.as_dict()
    return rungs, ledger


def finest_path(rungs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The finest bars there are at every time: minutes, and before the first minute the next coarser rung that reaches back.

    Labels resolve their barriers along it. Rows are RUNG BARS sorted by timestamp; no two overlap.
    """
    path = rungs["1m"]
    for rung in sorted(set(rungs) - {"1m"}, key=minutes):
        older = rungs[rung].filter(pl.col("known_at") <= path["timestamp"].min()) if path.height else rungs[rung]
        path = pl.concat([older, path]) if older.height else path
    return path
