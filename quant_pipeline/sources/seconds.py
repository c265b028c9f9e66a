"""Bars of some seconds to bars of a minute, which are the shortest that the pipeline keeps."""

from __future__ import annotations

import polars as pl

from quant_pipeline.bars.schema import BARS_SCHEMA


def to_minutes(bars: pl.DataFrame) -> pl.DataFrame:
    """One bar for each minute that has any, sorted: first open, highest high, lowest low, last close, sum of volume.

    Args:
        bars: BARS shorter than a minute, in any order; of several rows for one stamp the last counts.

    Returns:
        BARS. A price that is null or NaN in any of a minute's bars is so in the minute's, for cleaning to judge; volume is
        null where all of it is.
    """
    ordered = bars.unique("timestamp", keep="last", maintain_order=True).sort("timestamp")
    volume = pl.when(pl.col("volume").count() > 0).then(pl.col("volume").sum())
    prices = (pl.col("open").first(), pl.col("high").nan_max(), pl.col("low").nan_min(), pl.col("close").last())
    bad = pl.any_horizontal(pl.col(name).null_count() > 0 for name in ("open", "high", "low", "close"))
    joined = ordered.group_by(pl.col("timestamp").dt.truncate("1m"), maintain_order=True).agg(*prices, volume, bad=bad)
    return joined.with_columns(pl.when(~pl.col("bad")).then("close").alias("close")).select(list(BARS_SCHEMA))
