"""Tables of feature families: each family in one of them, joined back into one table."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.config.experiment import FeatureSettings, load_experiment
from quant_pipeline.features.build import build_features
from quant_pipeline.features.groups import APART, families_of, joined, narrowed
from quant_pipeline.features.registry import columns

TABLES = ("features", *APART)


def test_every_family_of_the_settings_is_in_exactly_one_table():
    chosen = load_experiment("default").features
    assert sorted(family for table in TABLES for family in families_of(table, chosen)) == sorted(chosen.families)


def test_a_family_that_is_not_wanted_is_in_none():
    assert families_of("pattern_features", FeatureSettings(families=("news", "momentum"))) == ()
    assert families_of("features", FeatureSettings(families=("news", "momentum"))) == ("momentum",)


def test_narrowed_changes_nothing_but_the_families(settings):
    assert narrowed(settings, ["macro"]) == FeatureSettings.model_validate(settings.model_dump() | {"families": ("macro",)})


def test_the_tables_side_by_side_are_the_table_of_all_families(minute_bars, context):
    chosen = load_experiment("default").features.model_copy(update={"zscore_window": 60, "zscore_min_periods": 20, "coarse": ()})
    ladder = ("1m", "5m", "15m", "1h")
    bars = build_ladder(minute_bars(days=16), ladder)

    def build(families):
        return build_features(bars, narrowed(chosen, families), "15m", "24/7", context=context("15m", 16))[0]

    whole = build(chosen.families)
    parts = {table: build(families_of(table, chosen)) for table in TABLES}
    assert parts["pattern_features"].height < whole.height, "some rows come before the first pattern"
    side_by_side = joined(parts["features"], [parts[table] for table in APART])
    assert set(side_by_side.columns) == {"timestamp", "decision_at", *columns(chosen, ladder, "15m", ("STEADY", "PATCHY"))}
    assert_frame_equal(side_by_side.select(whole.columns), whole, check_exact=True)


def test_rows_follow_the_first_table_and_meet_on_the_decision():
    at = pl.datetime_range(pl.datetime(2025, 1, 1), pl.datetime(2025, 1, 1, 3), "1h", time_zone="UTC", eager=True)
    first = pl.DataFrame({"timestamp": at, "decision_at": at, "a": [1.0, 2.0, 3.0, 4.0]})
    late = pl.DataFrame({"timestamp": at[2:], "decision_at": at[2:], "b": [7.0, 8.0]})
    found = joined(first, [late, pl.DataFrame({"decision_at": at.reverse(), "c": [4.0, 3.0, 2.0, 1.0]})])
    assert found["b"].to_list() == [None, None, 7.0, 8.0]
    assert found["c"].to_list() == found["a"].to_list()
    assert found.columns == ["timestamp", "decision_at", "a", "b", "c"]
    assert joined(first, []).equals(first)


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_named_by_their_families(table):
    chosen = load_experiment("default").features
    assert families_of(table, chosen)
    assert (table in APART) == (families_of(table, narrowed(chosen, ["momentum"])) == ())
