"""Which tables features are kept in: an asset for each group of families, joined into one table of FEATURES."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from quant_pipeline.config.experiment import FeatureSettings

PATTERNS = (
    "chart_patterns", "advanced_patterns", "candlestick_patterns", "harmonic_patterns", "elliott_waves", "smart_money",
)  # fmt: skip
APART = {"pattern_features": PATTERNS, "macro_features": ("macro",), "news_features": ("news",)}
"""Families that have a table of their own; all others are in `features`."""


def families_of(table: str, settings: FeatureSettings) -> tuple[str, ...]:
    """Families of the settings that are kept in `table`: `features` or one of `APART`."""
    apart = {family for families in APART.values() for family in families}
    return tuple(family for family in settings.families if (family in APART[table] if table in APART else family not in apart))


def narrowed(settings: FeatureSettings, families: Sequence[str]) -> FeatureSettings:
    """The same settings for these families only."""
    return settings.model_copy(update={"families": tuple(families)})


def joined(first: pl.DataFrame, others: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The rows of `first` with the columns of `others` on equal `decision_at`; null where another table still warms up."""
    return reduce(_beside, others, first)


def _beside(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    return left.join(right.drop("timestamp", strict=False), on="decision_at", how="left", maintain_order="left")
