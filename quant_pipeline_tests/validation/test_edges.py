from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.validation import edges
from quant_pipeline.validation.edges import audit_moments

HOUR = timedelta(hours=1)
START = datetime(2025, 10, 6, tzinfo=UTC)  # a Monday; New York's clocks change on 2 November
SESSIONS = 90
KINDS = {"session start", "session end", "month end", "half day", "gap", "clock change", "large move", "change", "week"}


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """Sessions of eight hours, every day; a short one on day 40; day 50 lacks an hour, and a bar of day 60 minutes."""
    rows = []
    for day in range(SESSIONS):
        opened = START + timedelta(days=day, hours=14)
        length = 4 if day == 40 else 8
        for hour in range(length):
            if (day, hour) != (50, 3):
                at = opened + hour * HOUR
                thin = (day, hour) == (60, 2)
                rows.append((at, opened, opened + length * HOUR, at + HOUR, 30 if thin else 60))
    names = ("timestamp", "session_open", "session_close", "known_at", "n_source")
    frame = pl.DataFrame(rows, schema=list(names), orient="row").with_columns(pl.col(names[:4]).dt.cast_time_unit("us"))
    close = 100 * np.exp(np.random.default_rng(1).normal(0, 0.001, frame.height).cumsum())
    close[300:] *= 1.1  # the largest move ends at row 300
    return frame.with_columns(close=pl.Series(close))


@pytest.fixture(scope="module")
def features(bars) -> pl.DataFrame:
    flags = np.zeros(bars.height)
    flags[[222, 401]] = 1.0  # a pattern that speaks twice
    return bars.select("timestamp", decision_at="known_at", dense="close", sparse=pl.Series(flags))


def asked(features: pl.DataFrame, bars: pl.DataFrame, **named: int) -> dict[datetime, str]:
    return dict(audit_moments(features, bars, ("America/New_York",), **{"seed": 3, **named}).iter_rows())


def test_every_kind_of_edge_is_asked(features, bars):
    chosen = asked(features, bars)
    opened = START + timedelta(hours=14)

    def at(day: int, hour: int) -> datetime:
        return opened + timedelta(days=day, hours=hour + 1)

    assert {at(40, 0), at(40, 3)} <= set(chosen)  # the half day
    assert {at(50, 2), at(50, 4)} <= set(chosen)  # both sides of the missing hour
    assert {at(60, 1), at(60, 2)} <= set(chosen)  # the bar that lacks minutes
    assert {at(26, 7), at(27, 0), at(27, 7)} <= set(chosen)  # around the change of the clock
    known = features["decision_at"].to_list()
    assert {known[299], known[300]} <= set(chosen)  # before and at the largest move
    assert {known[222], known[401]} <= set(chosen)  # where the sparse column begins to speak
    assert {
        "session start",
        "session end",
        "month end",
        "half day",
        "gap",
        "clock change",
        "large move",
        "change",
        "week",
    } == set(chosen.values())


def test_each_week_has_a_moment_unless_edges_take_its_place(features, bars):
    weeks = features["decision_at"].slice(edges.FIRST).dt.truncate("1w").unique()
    told = pl.Series(list(asked(features, bars)), dtype=pl.Datetime("us", "UTC")).dt.truncate("1w")
    assert set(weeks) <= set(told)


@settings(max_examples=15)
@given(seed=st.integers(0, 9), most=st.integers(40, 160))
def test_moments_are_decisions_in_order_the_same_for_a_seed_and_few(features, bars, seed, most):
    chosen = list(asked(features, bars, seed=seed, most=most))
    assert chosen == list(asked(features, bars, seed=seed, most=most))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(features["decision_at"].slice(edges.FIRST)[:-1])
    assert len(chosen) <= max(most, 100)


def test_a_short_table_is_asked_too(features, bars):
    few = features.head(12)
    assert 0 < len(asked(few, bars)) < 12


@pytest.mark.parametrize("weeks", [6, 17, 52])
def test_every_hour_of_the_day_is_asked_and_the_weeks_are_spread_over_them(weeks):
    opened = pl.datetime_range(START, START + timedelta(weeks=weeks) - HOUR, HOUR, time_unit="us", eager=True)
    close = 100 * np.exp(np.random.default_rng(2).normal(0, 0.001, len(opened)).cumsum())
    bars = pl.DataFrame({"timestamp": opened, "known_at": opened + HOUR, "close": close}).with_columns(
        session_open=pl.col("timestamp").dt.truncate("1d"),
        session_close=pl.col("timestamp").dt.truncate("1d") + 24 * HOUR,
        n_source=60,
    )
    features = bars.select("timestamp", decision_at="known_at", dense="close")
    chosen = audit_moments(features, bars, ("America/New_York",), seed=3)
    assert chosen["decision_at"].dt.hour().n_unique() == 24
    weekly = chosen.filter(pl.col("kind") == "week")["decision_at"]
    assert weekly.dt.truncate("1w").n_unique() == len(weekly) >= weeks - 2
    assert weekly.dt.hour().value_counts()["count"].max() <= weeks // 24 + 2
