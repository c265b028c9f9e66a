from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from quant_pipeline.sources.base import RELEASES_SCHEMA
from quant_pipeline.sources.simulated import oracle, releases
from quant_pipeline.sources.simulated.source import SimulatedSource

START, END = datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
SERIES = {series.code: series for series in releases.SERIES}


@pytest.fixture(scope="module")
def table(source):
    return source.releases(START, END)


def test_releases_come_in_the_order_in_which_they_are_known(table):
    assert table.schema == RELEASES_SCHEMA
    assert table["known_at"].is_sorted()
    assert (table["known_at"] >= table["released_at"]).all()
    assert set(table["series"].unique()) == set(SERIES)
    assert table.select("series", "period", "revision").is_duplicated().sum() == 0


def test_nothing_is_told_before_its_period_has_passed(table):
    length = pl.col("series").replace_strict(
        {code: {"monthly": 28, "weekly": 7, "daily": 1}[series.cadence] for code, series in SERIES.items()}
    )
    lag = table.select(lag=(pl.col("released_at").dt.date() - pl.col("period")).dt.total_days() - length)["lag"]
    assert lag.min() >= 0


def test_release_times_follow_new_york_wall_clock(table):
    jobs = table.filter(pl.col("series") == "PAYEMS")["released_at"].dt.convert_time_zone("America/New_York")
    assert set(zip(jobs.dt.hour(), jobs.dt.minute(), strict=True)) == {(8, 30)}
    assert set(jobs.dt.weekday()) == {5}
    assert len({at.astimezone(ZoneInfo("UTC")).hour for at in jobs}) == 2  # summer and winter


def test_revisions_follow_with_the_next_release_and_change_the_value(table):
    jobs = table.filter(pl.col("series") == "PAYEMS")
    first, second = jobs.filter(pl.col("revision") == 0), jobs.filter(pl.col("revision") == 1)
    both = first.join(second, on="period", suffix="_later")
    assert len(both) >= len(first) - 1
    assert (both["released_at_later"] > both["released_at"]).all()
    assert (both["value_later"] != both["value"]).mean() > 0.9
    next_release = first.sort("period")["released_at"].shift(-1).drop_nulls()
    assert set(second["released_at"]) <= set(next_release)
    assert table.filter(pl.col("series") == "FEDFUNDS")["revision"].max() == 0


def test_what_was_told_by_a_day_does_not_change_later(source, table):
    for end in (datetime(2024, 1, 5, 13, 29, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)):
        releases.vintages.cache_clear()
        assert source.releases(START, end).equals(table.filter(pl.col("released_at") < end))


def test_surprise_can_be_computed_from_what_was_public(source, table):
    weights = releases.impulses(source.world.seed, source.world.epoch, 2025 * 12 + 11).filter(pl.col("released_at") < END)
    rebuilt: dict[datetime, list[float]] = {}
    for row in table.filter(pl.col("revision") == 0).rows(named=True):
        series = SERIES[row["series"]]
        known = table.filter(
            pl.col("series") == row["series"], pl.col("known_at") <= row["known_at"], pl.col("period") < row["period"]
        )
        if known.is_empty():
            continue
        newest = known.sort("period", "revision")[-1, "value"]
        expected = newest + series.drift + series.pull * (series.start - newest)
        surprise = (row["value"] - expected) / np.hypot(series.step, series.error)
        rebuilt.setdefault(row["released_at"], []).append(surprise * (series.inflation + series.growth))
    told = dict(weights.group_by("released_at").agg(both=(pl.col("inflation") + pl.col("growth")).sum()).rows())
    for moment, parts in rebuilt.items():
        assert sum(parts) == pytest.approx(told[moment], abs=1e-9)


def test_surprises_move_the_drift_that_follows(universe):
    source = SimulatedSource(universe, signal=0.0, news_effect=0.0, macro_effect=0.5)
    shocks = releases.impulses(source.world.seed, source.world.epoch, 2025 * 12 + 11).filter(
        pl.col("released_at").is_between(datetime(2024, 1, 2, tzinfo=UTC), END),
        pl.col("inflation").abs() + pl.col("growth").abs() > 0,
    )
    together = shocks.group_by("released_at").agg(meaning=(pl.col("growth") - pl.col("inflation")).sum()).sort("released_at")
    after = (together["released_at"] + timedelta(minutes=1)).alias("decision_at")
    forward = oracle.forward_return(source.market("BTC-USD"), after, timedelta(hours=8)).to_numpy()
    assert np.corrcoef(together["meaning"], forward)[0, 1] > 4 / np.sqrt(len(together))
