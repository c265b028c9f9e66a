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


def test_half_days_are_those_of_the_exchange():
    thanksgiving = {"NYSE": [0.0, 1.0, 0.0], "CMEGlobex_GC": [0.0, 1.0, 0.0], "24/7": [0.0, 0.0, 0.0]}
    for calendar, expected in thanksgiving.items():
        found = _encode(calendar, _utc(2025, 11, 26, 16), _utc(2025, 11, 28, 16), _utc(2025, 12, 1, 16))
        assert found["session_is_half_day"].tolist() == expected, calendar
    evening_before = _encode("CMEGlobex_GC", _utc(2025, 11, 27, 1))["session_is_half_day"]
    assert evening_before.tolist() == [1.0]  # the trading day of Thanksgiving has begun, and will close early


def test_the_eve_of_a_holiday_is_known():
    found = _encode("NYSE", _utc(2025, 8, 22, 16), _utc(2025, 8, 29, 16), _utc(2025, 11, 25, 16), _utc(2025, 11, 26, 16))
    assert found["session_holiday_tomorrow"].tolist() == [0.0, 1.0, 0.0, 1.0]  # Labor Day is the Monday after the 29th
    new_year = _encode("NYSE", _utc(2024, 12, 30, 16), _utc(2024, 12, 31, 16))["session_holiday_tomorrow"]
    assert new_year.tolist() == [0.0, 1.0]
    assert _encode("CMEGlobex_GC", _utc(2025, 4, 17, 16))["session_holiday_tomorrow"].tolist() == [1.0]  # Good Friday
    assert _encode("24/7", _utc(2025, 12, 24, 16), _utc(2025, 12, 31, 23))["session_holiday_tomorrow"].tolist() == [0.0, 0.0]


def test_the_hour_after_the_daily_break_moves_with_daylight_saving():
    winter = [_utc(2025, 3, 6, hour) for hour in (1, 2)] + [_utc(2025, 3, 5, 22), _utc(2025, 3, 6)]
    assert _encode("CMEGlobex_GC", *sorted(winter))["session_after_break"].tolist() == [0.0, 1.0, 0.0, 0.0]
    summer = [_utc(2025, 3, 11, 23), _utc(2025, 3, 12, 0)]
    assert _encode("CMEGlobex_GC", *summer)["session_after_break"].tolist() == [1.0, 0.0]
    sunday, half_day = _utc(2025, 3, 9, 23), _utc(2025, 5, 27, 0)
    assert _encode("CMEGlobex_GC", sunday)["session_after_break"].tolist() == [0.0]
    assert _encode("CMEGlobex_GC", _utc(2025, 5, 26, 23), half_day)["session_after_break"].tolist() == [1.0, 0.0]
    assert _encode("NYSE", _utc(2025, 3, 6, 15))["session_after_break"].tolist() == [0.0]
    assert _encode("24/7", _utc(2025, 3, 6, 1))["session_after_break"].tolist() == [0.0]


def test_new_york_is_open_by_its_own_clock():
    moments = [_utc(2025, 3, 7, 14), _utc(2025, 3, 7, 15), _utc(2025, 3, 10, 14), _utc(2025, 3, 10, 20), _utc(2025, 3, 15, 15)]
    for calendar in ("24/7", "CMEGlobex_GC"):
        days = moments if calendar == "24/7" else moments[:-1]
        found = _encode(calendar, *days)["session_ny_overlap"].tolist()
        assert found == [0.0, 1.0, 1.0, 0.0, 0.0][: len(days)], calendar  # the clocks changed on the 9th; the 15th is a Saturday
    assert _encode("24/7", _utc(2025, 11, 28, 17), _utc(2025, 11, 28, 18))["session_ny_overlap"].tolist() == [1.0, 0.0]


def test_weekends_are_saturday_and_sunday_of_the_exchange():
    days = [_utc(2025, 3, 7, 23), _utc(2025, 3, 8), _utc(2025, 3, 9, 23), _utc(2025, 3, 10)]
    assert _encode("24/7", *days)["session_weekend"].tolist() == [0.0, 1.0, 1.0, 0.0]
    assert _encode("NYSE", _utc(2025, 3, 10, 15))["session_weekend"].tolist() == [0.0]


@pytest.mark.parametrize("calendar", ["24/7", "NYSE", "CMEGlobex_GC"])
def test_sessions_read_nothing_from_other_decisions(calendar):
    """A decision alone, and among a year of others, has the same encodings: no bit depends on the span asked for."""
    hours = pl.datetime_range(_utc(2024, 10, 1), _utc(2025, 7, 10), "7h", time_unit="us", eager=True)
    inside = with_sessions(pl.DataFrame({"timestamp": hours - timedelta(minutes=1)}), calendar).drop_nulls()
    moments = (inside["timestamp"] + timedelta(minutes=1)).to_list()
    together = _encode(calendar, *moments)
    for row in range(0, len(moments), 23):
        alone = _encode(calendar, moments[row])
        assert {name: values[row] for name, values in together.items()} == {name: values[0] for name, values in alone.items()}
