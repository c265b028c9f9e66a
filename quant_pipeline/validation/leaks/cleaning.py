"""Planted leaks in cleaning: what becomes of a raw row depends on rows that had not come yet. The audit cuts raw rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl

from quant_pipeline.bars.clean import UNLIMITED, clean_bars
from quant_pipeline.bars.schema import BARS_SCHEMA, PRICES
from quant_pipeline.config.cleaning import Adjustment, CleaningRules
from quant_pipeline.validation.leaks.bench import START, Planted, candles, under_prefix_audit

EVENT = START + timedelta(days=8)
"""Midnight in the middle of the candles: from here on volume is measured, or the split counts."""
SPLIT = 4.0
LATER = pl.col("timestamp") >= EVENT
Step = Callable[[pl.DataFrame], pl.DataFrame]


def cleaned(spoil: Step, wrong: Step, rules: CleaningRules = UNLIMITED) -> Planted:
    """Hourly bars from raw rows that `spoil` made: through `clean_bars`, or through `wrong` before it."""

    def find(*, leak: bool) -> pl.DataFrame:
        raw = spoil(candles(0).select(list(BARS_SCHEMA)))

        def compute(cut: datetime) -> pl.DataFrame:
            told = raw.filter(pl.col("timestamp") + timedelta(hours=1) <= cut)
            bars = wrong(told) if leak else clean_bars(told, "24/7", timeframe="1h", rules=rules)[0]
            return bars.select("timestamp", "close", "volume", decision_at=pl.col("timestamp") + timedelta(hours=1))

        return under_prefix_audit(compute)

    return find


def unmeasured_at_first(raw: pl.DataFrame) -> pl.DataFrame:
    """Zero where nobody measured the volume yet."""
    return raw.with_columns(volume=pl.when(LATER).then("volume").otherwise(0.0))


def null_unless_ever_measured(told: pl.DataFrame) -> pl.DataFrame:
    """Zeros that stay or become null by whether the whole file has a volume."""
    return told.with_columns(volume=pl.when((pl.col("volume") > 0).any()).then("volume"))


def split_unadjusted(raw: pl.DataFrame) -> pl.DataFrame:
    """Prices a quarter, shares fourfold, from the split on."""
    price, shares = (pl.when(LATER).then(factor).otherwise(1.0) for factor in (1 / SPLIT, SPLIT))
    return raw.with_columns(pl.col(PRICES) * price, volume=pl.col("volume") * shares)


def divided_before_the_split(told: pl.DataFrame) -> pl.DataFrame:
    """Adjusted backward, as exporters do: prices before a split that is still to come are divided already."""
    factor = pl.when(LATER.any() & ~LATER).then(1 / SPLIT).otherwise(1.0)
    return told.with_columns(pl.col(PRICES) * factor)


DECLARED = CleaningRules(adjustments=(Adjustment(date=EVENT.date(), ratio=SPLIT),))
