"""What a source tells against what is stored of it: new, changed and gone bars, in rows and in words."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA, PRICES
from quant_pipeline.ledger import Ledger

_VALUES = [name for name in BARS_SCHEMA if name != "timestamp"]
_RESTATED_ROWS, _RESTATED_BY, _ALIKE = 5, 1e-3, 0.95


class Changes(NamedTuple):
    """BARS that are `new`; those that are stored with other values, as `told` and as `stored`; those that are `gone`.

    `identical` counts the rows that are stored as they were told.
    """

    new: pl.DataFrame
    told: pl.DataFrame
    stored: pl.DataFrame
    gone: pl.DataFrame
    identical: int

    @property
    def any(self) -> bool:
        """Whether there is something to store."""
        return bool(self.new.height or self.told.height or self.gone.height)


def compare(stored: pl.DataFrame, told: pl.DataFrame, asked: pl.DataFrame | None = None) -> Changes:
    """The changes from `stored` to `told`, both BARS sorted by timestamp and unique; floats are compared exactly.

    Args:
        stored: what is stored today.
        told: what the source tells.
        asked: the stored bars of a span of which the source tells all that there is: what it leaves out of them is gone.
    """
    none = stored.clear()
    if stored.equals(told):
        return Changes(none, none, none, none, stored.height)
    new = told.join(stored, on="timestamp", how="anti", maintain_order="left")
    gone = none if asked is None else asked.join(told, on="timestamp", how="anti", maintain_order="left")
    both = told.join(stored, on="timestamp", suffix="_stored", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in _VALUES)
    other = both.filter(~same)
    before = other.select("timestamp", *(pl.col(f"{name}_stored").alias(name) for name in _VALUES))
    return Changes(new, other.select(list(BARS_SCHEMA)), before, gone, both.height - other.height)


def distinct(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """BARS sorted by timestamp, one row each: of several the last; `ledger` counts those `repeated` and `conflicting`."""
    ordered = frame.sort("timestamp", maintain_order=True)
    if not (ordered["timestamp"] == ordered["timestamp"].shift()).any():
        return ordered
    last = ordered.unique("timestamp", maintain_order=True, keep="last")
    different = ordered.unique().height
    ledger.drop("repeated", ordered.height - different)
    ledger.drop("conflicting", different - last.height)
    return last


def joined(parts: list[Changes]) -> Changes:
    """The changes of several spans as one."""
    return Changes(
        pl.concat([part.new for part in parts]),
        pl.concat([part.told for part in parts]),
        pl.concat([part.stored for part in parts]),
        pl.concat([part.gone for part in parts]),
        sum(part.identical for part in parts),
    )


def restated_by(changes: Changes) -> float | None:
    """The one factor by which all changed prices differ from the stored ones, as after a split; None for another change.

    At least 5 bars, by more than a thousandth, and 95 % of their prices within a tenth of that step (prices are rounded).
    """
    ratios = pl.concat([changes.told[price] / changes.stored[price] for price in PRICES])
    moved = ratios.filter(ratios.is_finite() & (ratios > 0))
    factor = moved.median()
    if not isinstance(factor, float) or changes.told.height < _RESTATED_ROWS or abs(factor - 1) <= _RESTATED_BY:
        return None
    alike = ((moved / factor - 1).abs() <= abs(factor - 1) / 10).mean()
    return factor if isinstance(alike, float) and alike >= _ALIKE else None


def spoken(changes: Changes, first: datetime | None, last: datetime | None, *, whole: bool) -> str:
    """What is other than it was, in words; empty when bars were only added where they were expected: after the newest one,
    and before the oldest one of a history that is fetched backwards.

    Args:
        changes: from what was stored to what is told now.
        first: open of the oldest bar that was stored; None for an empty store.
        last: open of the newest one.
        whole: whether the source tells its history at once.
    """
    if first is None or last is None:
        return ""
    at = changes.new["timestamp"]
    before, after = int((at < first).sum()), int((at > last).sum())
    said = _counted(before * whole, "before the stored history") + _counted(len(at) - before - after, "inside it")
    if changes.told.height:
        size = _typical(changes)
        by = f", typically by {float(f'{size:.2g}'):,g} %" if size else ""
        said.append(f"{changes.told.height:,} have other values since {since(changes.told)}{by}")
    if changes.gone.height:
        said.append(f"{changes.gone.height:,} are gone since {since(changes.gone)}")
    return "; ".join([*said, *_counted(after, "after it")]) if said else ""


def since(bars: pl.DataFrame) -> str:
    """The open of the first of `bars`, which are sorted, in words."""
    return f"{bars['timestamp'][0]:%Y-%m-%d %H:%M} UTC"


def _counted(rows: int, where: str) -> list[str]:
    return [f"{rows:,} bars are new {where}"] * bool(rows)


def _typical(changes: Changes) -> float:
    """Median change of the closes, per cent."""
    moved = (changes.told["close"] / changes.stored["close"] - 1).abs()
    middle = moved.filter(moved.is_finite()).median()
    return 100 * middle if isinstance(middle, float) else 0.0
