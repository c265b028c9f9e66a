"""Every family of patterns that are events, and all their detections on some bars."""

from __future__ import annotations

import polars as pl

from quant_pipeline.features.patterns import advanced, candlestick, chart, elliott, harmonic
from quant_pipeline.features.patterns.events import Pattern, event_table
from quant_pipeline.features.places import anchors

FAMILIES = (chart.FAMILY, advanced.FAMILY, candlestick.FAMILY, harmonic.FAMILY, elliott.FAMILY)


def patterns() -> tuple[Pattern, ...]:
    """Every pattern of every family."""
    return tuple(pattern for family in FAMILIES for pattern in family.patterns)


def detections(bars: pl.DataFrame, rung: str) -> pl.DataFrame:
    """Every detection on RUNG BARS of `rung`, as `event_table` tells them, sorted by `known_at`."""
    anchor = anchors(bars["timestamp"], rung)
    return pl.concat([event_table(bars, anchor, family) for family in FAMILIES]).sort("known_at", "pattern")
