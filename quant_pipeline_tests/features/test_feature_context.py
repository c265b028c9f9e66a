"""Context: what was known at a moment, of each of its tables."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
from polars.testing import assert_frame_equal

from quant_pipeline.features.context import ALONE


def test_until_keeps_what_was_known_by_then_the_moment_itself_included(context):
    whole = context("1h")
    tables = [*whole.others.values(), whole.news, whole.releases]
    for moment in (whole.news["known_at"][300], whole.releases["known_at"][-40], whole.others["PATCHY"]["known_at"][50]):
        past = whole.until(moment)
        for kept, table in zip([*past.others.values(), past.news, past.releases], tables, strict=True):
            assert_frame_equal(kept, table.head(kept.height))
            assert kept["known_at"].max() <= moment
            assert table["known_at"][kept.height :].min() > moment


def test_a_moment_before_everything_leaves_empty_tables_and_every_symbol(context):
    past = context("1h").until(context("1h").releases["known_at"][0] - timedelta(days=1))
    assert list(past.others) == ["STEADY", "PATCHY"]
    assert all(frame.is_empty() for frame in (*past.others.values(), past.news, past.releases))


def test_what_is_absent_stays_absent():
    past = ALONE.until(pl.Series(["2025-01-01"]).str.to_datetime(time_zone="UTC")[0])
    assert (past.others, past.news, past.releases) == ({}, None, None)
