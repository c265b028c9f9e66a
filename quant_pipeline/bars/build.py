"""From raw bars to the ladder: the one path that batch, live and replay share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.bars.clean import UNLIMITED, clean_bars
from quant_pipeline.bars.native import on_grid, splice_native
from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.errors import ConfigError
from quant_pipeline.ledger import Ledger

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import Experiment


def build_bars(
    raw: Mapping[str, pl.DataFrame],
    calendar: str,
    ladder: Sequence[str],
    *,
    as_of: datetime,
    rules: CleaningRules = UNLIMITED,
) -> tuple[dict[str, pl.DataFrame], Ledger]:
    """Every rung of `ladder` that the raw bars can give, closed by `as_of`.

    Args:
        raw: BARS by native interval, an entry for each that the symbol has, without rows where there are none. Rungs are
            made of the finest; the others (`15m`, `1h`) reach back where it does not.
        calendar: the symbol's market calendar.
        ladder: rung names.
        as_of: bars with `known_at` after it do not exist yet.
        rules: the symbol's declared splits, and in training its limits; see `clean_bars`, which raises what they forbid.

    Returns:
        RUNG BARS by rung of `rungs_of(raw, ladder)`, and the ledger of the finest interval, with one note per spliced rung
        and `absent_rungs` where there are any. Of native bars longer than a minute, those that open off the session's grid
        (`off_grid`) are known at their own close as they are, and in no longer rung: it would be known before them.
    """
    finest = min(raw, key=minutes)
    clean, ledger = clean_bars(raw[finest], calendar, timeframe=finest, as_of=as_of, rules=rules)
    given = rungs_of(raw, ladder)
    rungs = _ladder(clean, finest, given, calendar, as_of, ledger)
    for interval in sorted(set(raw) - {finest}, key=minutes):
        native, _ = clean_bars(raw[interval], calendar, timeframe=interval, as_of=as_of, rules=rules)
        if interval in rungs and native.height:
            rungs[interval], splice = splice_native(rungs[interval], native)
            ledger.notes[f"native_{interval}"] = splice.as_dict()
    absent = [rung for rung in ladder if rung not in given]
    ledger.notes |= {"absent_rungs": absent} if absent else {}
    return rungs, ledger


def rungs_of(intervals: Iterable[str], ladder: Sequence[str]) -> tuple[str, ...]:
    """The rungs of `ladder` that bars of these native intervals give: multiples of the finest, and each interval itself.

    Example:
        >>> rungs_of(["30m"], ["1m", "5m", "30m", "45m", "1h"])
        ('30m', '1h')
    """
    native = set(intervals)
    finest = min(map(minutes, native), default=1)
    return tuple(rung for rung in ladder if minutes(rung) % finest == 0 or rung in native)


def check_primary(intervals: Iterable[str], experiment: Experiment, symbol: str) -> None:
    """Raise `ConfigError` where the symbol's native bars cannot give the experiment's primary rung."""
    known = sorted(intervals, key=minutes)
    if experiment.primary not in rungs_of(known, (experiment.primary,)):
        raise ConfigError(
            f"primary of experiment {experiment.name!r}", found=f"{experiment.primary}, and bars of {known[0]} for {symbol}",
            wanted=f"a primary rung that bars of {known[0]} give",
            mend=f"set `primary` in a copy of the experiment to {known[0]} or a multiple of it (it must stand in `ladder`), "
            f"or bring bars of {experiment.primary} or shorter",
        )  # fmt: skip


def _ladder(
    clean: pl.DataFrame, finest: str, ladder: Sequence[str], calendar: str, as_of: datetime, ledger: Ledger
) -> dict[str, pl.DataFrame]:
    if finest == "1m":
        return build_ladder(clean, ladder, as_of=as_of, calendar=calendar)
    aligned = on_grid(clean, duration(finest))
    ledger.notes["off_grid"] = clean.height - aligned.height
    rungs = build_ladder(aligned, ladder, as_of=as_of, calendar=calendar)
    return rungs | {finest: clean} if finest in rungs else rungs


def finest_path(rungs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The finest bars there are at every time: minutes, and before the first minute the next coarser rung that reaches back.

    Labels resolve their barriers along it. Rows are RUNG BARS sorted by timestamp; no two overlap.
    """
    finest, *coarser = sorted(rungs, key=minutes)
    path = rungs[finest]
    for rung in coarser:
        older = rungs[rung].filter(pl.col("known_at") <= path["timestamp"].min()) if path.height else rungs[rung]
        path = pl.concat([older, path]) if older.height else path
    return path
