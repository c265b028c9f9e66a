"""Session and calendar encodings: the exchange's clock, its daylight saving, half days and breaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.features.calendar import decision_columns, time_zone
from quant_pipeline.features.registry import specs


def _encode(calendar, *moments: datetime):
    """Encodings of hourly bars that close at `moments` (their session is that of the minute before)."""
    at = pl.Series("timestamp", moments, dtype=pl.Datetime("us", "UTC"))
    inside = with_sessions(pl.DataFrame({"timestamp": at - timedelta(minutes=1)}), calendar)
    columns = decision_columns(inside.with_columns(decision_at=at), calendar)
    return {spec.name: spec.function(columns) for spec in specs(("calendar",))}


def _utc(*parts: int):
    return datetime(*parts, tzinfo=UTC)


def test_the_hour_is_the_exchanges_in_summer_and_winter():
    found = _encode("NYSE", _utc(2025, 1, 15, 17), _utc(2025, 7, 15, 16))
    assert found["hour_sin"] == pytest.approx([0, 0], abs=1e-12)
    assert found["hour_cos"] == pytest.approx([-1, -1])
    assert (time_zone("NYSE"), time_zone("24/7")) == ("America/New_York", "UTC")


def test_the_weekday_is_the_exchanges():
    found = _encode("CMEGlobex_GC", _utc(2025, 3, 3, 0))  # Sunday evening in New York
    sunday = 2 * np.pi * 6 / 7
    assert found["dayofweek_sin"] == pytest.approx([np.sin(sunday)])
    assert found["dayofweek_cos"] == pytest.approx([np.cos(sunday)])


def test_minutes_know_half_days():
    whole, half = _utc(2025, 11, 26, 18), _utc(2025, 11, 28, 18)  # NYSE closes at 18:00 UTC on the 28th
    found = _encode("NYSE", whole, half)
    assert found["minutes_since_open"] == pytest.approx([210 / 1440] * 2)
    assert found["minutes_to_close"] == pytest.approx([180 / 1440, 0.0])
    assert found["is_market_open"].tolist() == [1.0, 0.0]


def test_the_market_is_open_when_an_order_could_be_filled_at_once():
    assert _encode("CMEGlobex_GC", _utc(2025, 3, 4, 21), _utc(2025, 3, 4, 22))["is_market_open"].tolist() == [1.0, 0.0]
    assert _encode("24/7", _utc(2025, 3, 5), _utc(2025, 3, 5, 1))["is_market_open"].tolist() == [1.0, 1.0]


def test_values_stay_in_their_ranges():
    hours = [_utc(2025, 3, 3) + timedelta(hours=hour) for hour in range(1, 400)]
    for name, values in _encode("24/7", *hours).items():
        low = -1.0 if name.endswith(("sin", "cos")) else 0.0
        assert ((values >= low) & (values <= 1.0)).all(), name
