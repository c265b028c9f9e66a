"""Consecutive months of one market joined into one minute grid, long enough to hold the trades that are asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.bars.moments import Int64s, moments
from quant_pipeline.sources.simulated.minutes import month_grid
from quant_pipeline.sources.simulated.noise import Floats, month_of
from quant_pipeline.sources.simulated.path import block

if TYPE_CHECKING:
    from quant_pipeline.sources.simulated.path import Market

_UNKNOWN = -1


@dataclass(frozen=True)
class Span:
    """The trading minutes of consecutive months of one market, enough to hold every asked trade."""

    market: Market
    months: range
    timestamp: Int64s

    @classmethod
    def around(cls, market: Market, at: Int64s, steps: int) -> Span:
        """The months that hold the moments `at` (microseconds), the minute before them and `steps` minutes after."""
        first = market.first_month
        given = at[at > 0]
        if not len(given):
            return cls(market, range(first, first + 1), month_grid(market.calendar, first).timestamp)
        begin, end = moments(np.array([given.min(), given.max()]), "span")
        # one month earlier, for the state before the first minute of a month
        low, high = max(first, month_of(begin) - 1), max(first, month_of(end))
        grids = [month_grid(market.calendar, month).timestamp for month in range(low, high + 1)]
        while sum(np.sum(grid >= given.max()) for grid in grids) < steps:
            high += 1
            grids.append(month_grid(market.calendar, high).timestamp)
        return cls(market, range(low, high + 1), np.concatenate(grids))

    def fill_row(self, at: Int64s) -> Int64s:
        """Row of the first minute at or after each moment; 0 or less where the market has no past yet."""
        row = np.searchsorted(self.timestamp, at)
        return np.where(row < len(self.timestamp), row, _UNKNOWN)

    def states(self) -> tuple[Floats, Int64s]:
        """State (4, n) and volatility regime (n,) after each minute."""
        blocks = [block(self.market, month) for month in self.months]
        return np.concatenate([part.states for part in blocks], axis=1), np.concatenate([part.regime for part in blocks]).astype(
            np.int64
        )

    def prices(self) -> Floats:
        """Open and close (2, n)."""
        return np.concatenate([block(self.market, month).prices[[0, 3]] for month in self.months], axis=1)

    def noise(self) -> tuple[Floats, Floats]:
        """Deviation of each minute's shock, and of the gap before it (0 for none)."""
        grids = [month_grid(self.market.calendar, month) for month in self.months]
        gaps = [np.zeros(len(grid.timestamp)) for grid in grids]
        for gap, grid in zip(gaps, grids, strict=True):
            gap[grid.gap_rows] = grid.gap_deviation
        return np.concatenate([grid.deviation for grid in grids]), np.concatenate(gaps)
