"""Macro features against a slow reading of what was known at each decision."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.config.macro_series import PUBLICATIONS, period_numbers
from quant_pipeline.features.macro import FEWEST, HALF_LIFE, LARGEST, LEVELS, LONGEST_STEP, SERIES, WINDOW, columns
from quant_pipeline.features.registry import specs
from quant_pipeline.sources.base import RELEASES_SCHEMA

START = datetime(2024, 1, 1, tzinfo=UTC)
SETTINGS = FeatureSettings(families=("macro",))
YEAR_AND_MORE = 60


def releases(*rows: tuple):
    """Rows of (series, month since 2023-01, hour of release, value)."""
    table = [
        (s, date(2023 + month // 12, 1 + month % 12, 1), START + timedelta(hours=hour), START + timedelta(hours=hour), v, 0)
        for s, month, hour, v in rows
    ]
    return pl.DataFrame(table, schema=RELEASES_SCHEMA, orient="row").sort("known_at", "series", "period", maintain_order=True)


def decisions(hours):
    return pl.DataFrame(
        {"decision_at": [START + timedelta(hours=hour) for hour in hours]}, schema={"decision_at": pl.Datetime("us", "UTC")}
    )


def features(hours, table):
    read = columns(decisions(hours), table)
    return {spec.name: spec.compute({name: read[name] for name in spec.inputs}, SETTINGS) for spec in specs(("macro",))}


def months(day):
    return 12 * day.year + day.month


def slow(table, series, at):
    """value, year_ago, age in days and change of `series` at `at`, replayed row by row."""
    known, told, changes, change = {}, None, [], np.nan
    rows = table.filter(pl.col("series") == series, pl.col("known_at") <= at, pl.col("value").is_not_null())
    for moment in rows["known_at"].unique().sort():
        before = max(known, default=None)
        for row in rows.filter(pl.col("known_at") == moment).iter_rows(named=True):
            known[row["period"]] = row["value"]
        for period in sorted(period for period in known if before is None or period > before):
            earlier = [other for other in known if other < period]
            if earlier:
                step, apart = known[period] - known[max(earlier)], months(period) - months(max(earlier))
                past = changes[-WINDOW:]
                change = np.nan
                if len(past) >= FEWEST and apart <= LONGEST_STEP:
                    change = np.clip((step - apart * np.mean(past)) / np.std(past) / apart**0.5, -LARGEST, LARGEST)
                if apart == 1:
                    changes.append(step)
            told = moment
    if not known:
        return [np.nan] * 4
    newest = max(known)
    return [known[newest], known.get(newest.replace(year=newest.year - 1), np.nan), (at - told) / timedelta(days=1), change]


told = st.tuples(
    st.sampled_from(["CPIAUCSL", "UNRATE"]), st.integers(0, 30), st.integers(0, YEAR_AND_MORE), st.floats(1, 9) | st.none()
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(told, max_size=60, unique_by=lambda row: row[:3]))
def test_every_decision_reads_what_was_known_then(rows):
    """Revisions, late periods, several periods at once and missing values included."""
    table, hours = releases(*rows), range(-1, YEAR_AND_MORE + 3, 4)
    read = columns(decisions(hours), table)
    for name, series in (("cpi", "CPIAUCSL"), ("unemployment", "UNRATE")):
        expected = np.array([slow(table, series, START + timedelta(hours=hour)) for hour in hours]).T
        for field, values in zip(("value", "year_ago", "age", "change"), expected, strict=True):
            if f"{name}_{field}" in read:
                np.testing.assert_allclose(read[f"{name}_{field}"], values, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(told, min_size=1, max_size=60, unique_by=lambda row: row[:3]), cut=st.integers(0, YEAR_AND_MORE))
def test_what_is_known_later_changes_no_bit(rows, cut):
    table, hours = releases(*rows), range(cut + 1)
    known = table.filter(pl.col("known_at") <= START + timedelta(hours=cut))
    whole = features(hours, table)
    for name, values in features(hours, known).items():
        assert values.tobytes() == whole[name].tobytes(), name


def test_a_revision_counts_from_its_known_at_on():
    first = [("UNRATE", month, month, 4.0 + 0.1 * (month % 3)) for month in range(12)]
    plain, revised = releases(*first), releases(*first, ("UNRATE", 11, 20, 9.0))
    before, after = features(range(30), plain), features(range(30), revised)
    assert after["macro_unemployment"].tolist() == [*before["macro_unemployment"][:20], *[9.0] * 10]
    for name in ("macro_unemployment_change", "macro_unemployment_staleness"):
        assert np.array_equal(after[name], before[name], equal_nan=True)


def test_growth_over_a_year_compares_what_is_known_of_both():
    table = releases(("CPIAUCSL", 0, 0, 100.0), ("CPIAUCSL", 12, 5, 103.0), ("CPIAUCSL", 0, 8, 101.0), ("PAYEMS", 0, 0, 1.0))
    found = features([4, 5, 8], table)
    assert found["macro_cpi_yoy"] == pytest.approx([np.nan, 3.0, 100 * (103 / 101 - 1)], nan_ok=True)
    assert np.isnan(found["macro_payrolls_yoy"]).all()


def test_changes_are_standardised_by_those_before_and_fade():
    steps = [0.1, -0.1] * 4
    values = np.cumsum([4.0, *steps, 0.3]).tolist()
    table = releases(*(("FEDFUNDS", month, month, value) for month, value in enumerate(values)))
    found = features([9, 15], table)
    assert found["macro_fed_funds_rate_change"] == pytest.approx([3.0, 3.0])
    assert 24 * HALF_LIFE == 6
    assert found["macro_fed_funds_rate_surprise"] == pytest.approx([3.0, 1.5])
    assert found["macro_fed_funds_rate_staleness"] == pytest.approx([0.0, 0.25])


@pytest.mark.parametrize(("last", "change"), [(4.0, 0.0), (4.25, LARGEST), (3.75, -LARGEST)])
def test_after_years_without_any_a_change_is_the_largest(last, change):
    table = releases(*(("FEDFUNDS", month, month, 4.0) for month in range(12)), ("FEDFUNDS", 12, 12, last))
    assert features([12], table)["macro_fed_funds_rate_change"].tolist() == [change]


def test_equal_steps_but_for_their_rounding_are_no_surprise():
    table = releases(*(("FEDFUNDS", month, month, 0.1 * month) for month in range(12)))
    assert features([11], table)["macro_fed_funds_rate_change"].tolist() == [0.0]


def test_the_spread_is_that_of_the_newest_yields():
    table = releases(("DGS2", 0, 0, 4.5), ("DGS10", 0, 0, 4.0), ("DGS10", 1, 3, 4.75))
    assert features([2, 3], table)["macro_term_spread"].tolist() == [-0.5, 0.25]


def test_a_skipped_month_counts_as_two_months_change():
    """October 2025's CPI was never published: November against September is a change of two months."""
    values = [300 + 0.6 * month + 0.1 * (month % 2) for month in range(60)]
    whole = [("CPIAUCSL", month, 12 * month, value) for month, value in enumerate(values)]
    skipped = [row for row in whole if row[1] != 33]
    hours = [12 * month for month in range(60)]
    found, plain = features(hours, releases(*skipped)), features(hours, releases(*whole))
    change = found["macro_cpi_change"]
    usual = np.array([values[month] - values[month - 1] for month in range(1, 33)])
    assert change[34] == pytest.approx((values[34] - values[32] - 2 * usual.mean()) / usual.std() / 2**0.5)
    past = np.append(usual, values[35] - values[34])  # the step over two months says nothing of the usual one
    assert change[36] == pytest.approx((values[36] - values[35] - past.mean()) / past.std())
    assert np.abs(change[7:]).max() < 2
    growth, whole_growth = found["macro_cpi_yoy"], plain["macro_cpi_yoy"]
    assert np.isnan(growth[45]), "a year after the skipped month"
    kept = [month for month in range(12, 60) if month not in {33, 45}]
    assert growth[kept].tolist() == whole_growth[kept].tolist()
    assert growth[33] == whole_growth[32], "the newest is still that of the month before"


@pytest.mark.parametrize(("missing", "known"), [(1, True), (2, True), (3, False)])
def test_a_change_over_many_periods_has_no_usual_size(missing, known):
    table = releases(*(("UNRATE", month + missing * (month > 20), 12 * month, 4.0 + 0.1 * (month % 3)) for month in range(30)))
    found = features([12 * 21], table)["macro_unemployment_change"]
    assert np.isfinite(found).tolist() == [known]


def test_weekends_are_no_skipped_days_and_weeks_follow_weeks():
    days = pl.date_range(date(2025, 1, 1), date(2025, 3, 1), eager=True)
    weekdays = days.filter(days.dt.weekday() < 6)
    assert set(np.diff(period_numbers("DGS10", weekdays))) == {1}
    for first in (date(2025, 1, 4), date(2024, 12, 29)):  # weeks named by their end, as FRED does, and by their start
        weeks = pl.date_range(first, first + timedelta(weeks=60), "7d", eager=True)
        assert set(np.diff(period_numbers("ICSA", weeks))) == {1}
    assert period_numbers("ICSA", pl.Series([date(2025, 1, 4), date(2024, 12, 29)])).tolist() == [2870, 2870]
    assert period_numbers("CPIAUCSL", pl.Series([date(2025, 1, 1), date(2025, 1, 31), date(2024, 12, 1)])).tolist() == [
        24301,
        24301,
        24300,
    ]


def test_a_leap_day_is_in_the_month_a_year_after():
    table = pl.DataFrame(
        [
            ("CPIAUCSL", date(2024, 2, 29), START, START, 100.0, 0),
            ("CPIAUCSL", date(2025, 2, 28), START + timedelta(hours=1), START + timedelta(hours=1), 103.0, 0),
        ],
        schema=RELEASES_SCHEMA,
        orient="row",
    )
    assert features([2], table)["macro_cpi_yoy"] == pytest.approx([3.0])


def test_what_is_known_of_publication_covers_every_series():
    assert set(PUBLICATIONS) == set(SERIES.values())
    assert {PUBLICATIONS[series].cadence for name, series in SERIES.items() if name not in LEVELS} == {"month"}


def test_a_series_that_is_not_there_is_nan_in_every_column():
    found = features(range(3), releases(("UNRATE", 0, 0, 4.0)))
    absent = [name for name in found if "treasury_30y" in name]
    assert len(absent) == 4
    assert all(np.isnan(found[name]).all() for name in absent)
    assert all(np.isnan(values).all() for values in features(range(3), releases()).values())
    assert all(values.size == 0 for values in features([], releases(("UNRATE", 0, 0, 4.0))).values())


def test_the_documents_six_are_there():
    six = ["fed_funds_rate", "treasury_2y", "treasury_10y", "treasury_30y", "cpi_yoy", "unemployment"]
    names = [spec.name for spec in specs(("macro",))]
    assert {f"macro_{name}" for name in six} < set(names)
    assert len(names) == 4 * len(SERIES) + 1
    assert all(spec.meaning for spec in specs(("macro",)))
