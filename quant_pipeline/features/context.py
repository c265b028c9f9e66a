"""What a decision may look at besides its own bars: other markets, news and macro releases, each with `known_at`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

NEWS_SCHEMA = pl.Schema(
    {"known_at": pl.Datetime("us", "UTC"), "published_at": pl.Datetime("us", "UTC"), "sentiment": pl.Float64()}
)


@dataclass(frozen=True, eq=False)
class Context:
    """Tables beside a symbol's bars. What is None is absent by configuration: its features are left out, never zero.

    Attributes:
        others: RUNG BARS on the primary rung by correlated symbol; a frame without rows where nothing is known.
        news: NEWS_SCHEMA, one row an article, sorted by `known_at`; sentiment in [-1, 1].
        releases: RELEASES_SCHEMA of `sources/base.py`, sorted by `known_at`.
    """

    others: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    news: pl.DataFrame | None = None
    releases: pl.DataFrame | None = None

    def until(self, moment: datetime) -> Context:
        """The same tables as they were known at `moment`."""
        known = pl.col("known_at") <= moment
        return replace(
            self,
            others={symbol: bars.filter(known) for symbol, bars in self.others.items()},
            news=None if self.news is None else self.news.filter(known),
            releases=None if self.releases is None else self.releases.filter(known),
        )


ALONE = Context()
"""No table beside the bars."""
