"""Markets for the feature tests: rung bars as tables, and the columns of one rung as arrays, kind and hostile."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.bars.sessions import with_sessions
from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.config.macro_series import cadence_of
from quant_pipeline.features.context import NEWS_SCHEMA, Context
from quant_pipeline.features.macro import SERIES
from quant_pipeline.features.registry import FAMILIES
from quant_pipeline.sources.base import RELEASES_SCHEMA
from quant_pipeline_tests.features.markets import MARKETS, WALK, as_columns, walk_of

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2025, 3, 3, tzinfo=UTC)


@pytest.fixture(scope="session")
def walk() -> dict[str, np.ndarray]:
    """A random walk: 1,400 bars of the 1h rung."""
    return MARKETS[WALK]


@pytest.fixture(scope="session")
def settings() -> FeatureSettings:
    """Every family, with a short z-score so that small series reach past it; a correlated bar counts for three hours."""
    return FeatureSettings(
        families=FAMILIES, coarse=("4h", "1d"), others_max_age=timedelta(hours=3), zscore_window=60, zscore_min_periods=20
    )


@pytest.fixture(scope="session")
def minute_bars() -> Callable[..., pl.DataFrame]:
    """Maker of RUNG 1m bars: a random walk on `calendar` from Monday 2025-03-03, thinned by `missing`."""

    def make(calendar: str = "24/7", days: int = 12, seed: int = 3, missing: float = 0.02) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        stamps = pl.datetime_range(START, START + timedelta(days=days), "1m", time_unit="us", closed="left", eager=True)
        frame = with_sessions(pl.DataFrame({"timestamp": stamps}), calendar).drop_nulls()
        frame = frame.filter(pl.Series(rng.random(frame.height) >= missing))
        values = as_columns(walk_of(seed, 5e-4, frame.height), seed)
        return frame.with_columns(
            *(pl.Series(name, values[name]) for name in ("open", "high", "low", "close", "volume")),
            known_at=pl.min_horizontal(pl.col("timestamp") + timedelta(minutes=1), "session_close"),
            n_source=pl.lit(1, pl.Int32), complete=pl.lit(value=True),
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def context(minute_bars) -> Callable[..., Context]:
    """Maker of what lies beside the bars of `minute_bars`: two correlated markets, STEADY and PATCHY, which is shut for
    seven hours of every day, six articles a day for 40 days before and during, and five years of macro releases.
    """

    @cache
    def make(primary: str, days: int = 12) -> Context:
        steady, patchy = (build_ladder(minute_bars(days=days, seed=seed), (primary,))[primary] for seed in (11, 12))
        patchy = patchy.filter(~pl.col("timestamp").dt.hour().is_between(9, 15))
        return Context({"STEADY": steady, "PATCHY": patchy}, _articles(days), _releases(days))

    return make


def _articles(days: int) -> pl.DataFrame:
    rng = np.random.default_rng(21)
    size = 6 * (days + 40)
    known = np.sort(rng.integers(-40 * 86_400, days * 86_400, size))
    late = rng.integers(0, 7_200, size)
    rows = [
        (START + timedelta(seconds=at), START + timedelta(seconds=at - delay), tone)
        for at, delay, tone in zip(known.tolist(), late.tolist(), rng.uniform(-1, 1, size).tolist(), strict=True)
    ]
    return pl.DataFrame(rows, schema=NEWS_SCHEMA, orient="row")


def _releases(days: int) -> pl.DataFrame:
    """A value a month, or a week, for each series, told 40 days later; while the bars run, one more every two days, revised a
    day after.
    """
    rng = np.random.default_rng(22)
    months = [(date(2020 + month // 12, 1 + month % 12, 1), 0) for month in range(61)]
    months += [(date(2024, 1, 22) + timedelta(days=day), 0) for day in range(0, days, 2)]  # a year before each of these
    weeks = [(date(2023, 12, 30) + timedelta(weeks=week), 0) for week in range(56)]
    recent = [(date(2025, 1, 22) + timedelta(days=day), revision) for day in range(0, days, 2) for revision in (0, 1)]
    rows = []
    for series in SERIES.values():
        for period, revision in (*(weeks if cadence_of(series) == "week" else months), *recent):
            told = datetime(period.year, period.month, period.day, 13, 30, tzinfo=UTC) + timedelta(days=40 + revision)
            rows.append((series, period, told, told, round(5 + rng.normal(), 2), revision))
    return pl.DataFrame(rows, schema=RELEASES_SCHEMA, orient="row").sort("known_at", "series", maintain_order=True)
