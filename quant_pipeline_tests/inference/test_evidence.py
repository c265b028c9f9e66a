"""Drift without the bars that it needs: errors of our own that name them, not a KeyError or a riddle about columns."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.inference.evidence import measure_drift

SYMBOL = "BTC-USD"


def drift(home, bars: dict[str, timedelta], **changed: str):
    house = home.house(**changed)
    now = house.workplace.now()
    for interval, length in bars.items():
        opens = pl.datetime_range(now - 40 * length, now - length, length, eager=True, time_unit="us")
        prices = {name: pl.lit(100.0) for name in BARS_SCHEMA if name != "timestamp"}
        house.store.append(SYMBOL, interval, pl.DataFrame({"timestamp": opens}).with_columns(**prices), now)
    return measure_drift(house.desk(), SYMBOL, SimpleNamespace(), now, None)


def test_without_any_bar_the_missing_bars_are_named(bare_home):
    with pytest.raises(DataError, match=r"bars of BTC-USD for drift: found too few .* quant materialize 'raw_bars/BTC-USD'"):
        drift(bare_home, {})


def test_hours_without_minutes_give_no_quarters_and_say_so(bare_home):
    with pytest.raises(ConfigError, match="found 15m, and bars of 1h for BTC-USD"):
        drift(bare_home, {"1h": timedelta(hours=1)}, primary="15m")
