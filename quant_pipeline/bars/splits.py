"""Splits: prices that jump by a simple ratio from one session to the next, told and mended forward.

A jump is refused until somebody declares what it was. A declared split multiplies the bars from its session on; bars before
it keep every bit, so that nothing known before the split depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds
from quant_pipeline.bars.schema import PRICES
from quant_pipeline.config.cleaning import Adjustment, CleaningRules
from quant_pipeline.errors import DataError
from quant_pipeline.ledger import Ledger

RATIOS = ((3, 2), *((many, 1) for many in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100)))
"""Smaller ones (5:4, 11:10) cannot be told from news: Apple opened 15 % lower on 2020-03-16."""
TOLERANCE = 0.10
"""Of a log ratio: how far a split's own session may move besides. No session of 20 real files opens within it of 3:2."""
_TENFOLD = 10.5
"""Beyond it no market moves from one session to the next: every jump is told, of whatever ratio."""
_LEVEL_BARS = 30  # bars on each side whose median is the level: a bad print at the open is no split
_DAY = (pl.col("session_close") - pl.duration(microseconds=1)).dt.date()
_LISTED = 5


@dataclass(frozen=True)
class Jump:
    """From `before` (last close of a session) to `after` (first open of the next, which ends on `day`, UTC), near `ratio`."""

    day: date
    before: float
    after: float
    ratio: str

    def __str__(self) -> str:
        return f"{self.day}: from {self.before:g} to {self.after:g}, near a {self.ratio} split"


def adjusted(bars: pl.DataFrame, adjustments: Sequence[Adjustment], ledger: Ledger) -> pl.DataFrame:
    """`bars` with prices multiplied, and volume divided, by each declared ratio from its session on.

    The session of a date is the first that ends on it or later (UTC). Splits that these bars hold are noted as `adjusted`.
    """
    last = bars.select(_DAY.max()).item()
    applied = [each for each in adjustments if each.factor != 1.0 and last is not None and each.date <= last]
    if applied:
        ledger.notes["adjusted"] = [{"date": each.date.isoformat(), "factor": each.factor} for each in applied]
    for each in applied:
        since = pl.when(each.date <= _DAY)
        # both multiplied: polars divides a column by one number and by many with other last bits
        price, volume = (since.then(factor).otherwise(1.0) for factor in (each.factor, 1.0 / each.factor))
        bars = bars.with_columns(pl.col(PRICES) * price, pl.col("volume") * volume)
    return bars


def refuse_jumps(bars: pl.DataFrame, rules: CleaningRules, below_zero: pl.Series) -> None:
    """Refuse `bars` (adjusted) that jump from one session to the next as a split does, where nobody declared a real move.

    Args:
        bars: RUNG BARS sorted by timestamp.
        rules: the symbol and what is declared for it.
        below_zero: times of rows that were dropped for a negative price; a jump across one is no ratio.

    Raises:
        DataError: the date, the ratio, and the line of universe.yaml that mends it.
    """
    declared = {each.date: each.ratio for each in rules.adjustments}
    found = [jump for jump in jumps(bars, rules.adjustments, below_zero) if declared.get(jump.day) != "none"]
    if not found:
        return
    listed = "; ".join(map(str, found[:_LISTED])) + (f" ({len(found)} in all)" if len(found) > _LISTED else "")
    raise DataError(
        f"{rules.symbol}: bars",
        found=f"a jump at the session of {listed}",
        wanted="every jump near a simple ratio declared, as a split or as a real move",
        mend=_mend(found, rules.symbol, declared),
    )


def _mend(found: Sequence[Jump], symbol: str, declared: Mapping[date, object]) -> str:
    where, wrong = f"`adjustments` of {symbol} in universe.yaml", [jump for jump in found if jump.day in declared]
    if wrong:
        return f"correct or remove the entry of {wrong[0].day} in {where}: it is applied, and these bars do not need it"
    entries = ", ".join(f'{{date: {jump.day}, ratio: "{jump.ratio}"}}' for jump in found[:_LISTED])
    return f"write `adjustments: [{entries}]` under {symbol} in universe.yaml, with `ratio: none` where the price did move so far"


def jumps(bars: pl.DataFrame, adjustments: Sequence[Adjustment], below_zero: pl.Series) -> list[Jump]:
    """Session edges at which price and level jump by nearly the same simple, or declared, ratio."""
    edges = np.flatnonzero(np.diff(microseconds(bars["session_open"]))) + 1
    close = bars["close"].to_numpy()
    step = np.log(close[edges - 1] / bars["open"].to_numpy()[edges])
    least = math.log(1.5) - TOLERANCE
    wide = edges[(np.abs(step) >= least) & ~_crossed(microseconds(bars["timestamp"]), edges, microseconds(below_zero))]
    known = _ratios(adjustments)
    bounds = np.concatenate([[0], edges, [len(close)]])
    found = []
    for edge in wide:
        before = close[max(edge - _LEVEL_BARS, bounds[np.searchsorted(bounds, edge) - 1]) : edge]
        after = close[edge : min(edge + _LEVEL_BARS, bounds[np.searchsorted(bounds, edge) + 1])]
        opened = float(bars["open"][int(edge)])
        ratio = _ratio(before[-1] / opened, float(np.median(before) / np.median(after)), known)
        if ratio:
            found.append(Jump(bars.select(_DAY)["session_close"][int(edge)], float(before[-1]), opened, ratio))
    return found


def _crossed(times: Int64s, edges: Int64s, below_zero: Int64s) -> np.ndarray:
    first, last = (np.searchsorted(np.sort(below_zero), times[rows]) for rows in (edges - 1, edges))
    return np.asarray(last > first)


def _ratios(adjustments: Sequence[Adjustment]) -> dict[str, float]:
    """Log ratio by name, splits and reverse splits; declared ones too, for bars that were adjusted before."""
    named = {f"{new}:{old}": math.log(new / old) for pair in RATIOS for new, old in (pair, pair[::-1])}
    declared = {each.factor: math.log(each.factor) for each in adjustments if each.factor != 1.0}
    return named | {f"{1 / factor:g}:1": -log for factor, log in declared.items() if abs(log) > TOLERANCE}


def _ratio(edge: float, level: float, known: dict[str, float]) -> str | None:
    """Name of the known ratio nearest to the jump, if neither the jump nor the change of level is far from it."""
    name = min(known, key=lambda each: abs(math.log(edge) - known[each]))
    far = max(abs(math.log(value) - known[name]) for value in (edge, level))
    return name if far <= TOLERANCE else _other_unit(edge, level)


def _other_unit(edge: float, level: float) -> str | None:
    """The ratio of a jump so far that only another unit, or another symbol, explains it."""
    if min(abs(math.log(edge)), abs(math.log(level))) < math.log(_TENFOLD) or (edge > 1) != (level > 1):
        return None
    return f"{edge:.0f}:1" if edge > 1 else f"1:{1 / edge:.0f}"
