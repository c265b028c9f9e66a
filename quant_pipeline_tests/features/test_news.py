"""The news family against plain Python over every article, and that no bit depends on older or later articles."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.errors import DataError
from quant_pipeline.features.context import NEWS_SCHEMA
from quant_pipeline.features.news import REACH, columns, news_table
from quant_pipeline.features.registry import NEWS, specs

START = datetime(2025, 3, 1, tzinfo=UTC)
SETTINGS = FeatureSettings(families=("news",))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def table(told):
    """NEWS rows of (minutes after START when known, minutes from publication to then, sentiment)."""
    rows = [(START + timedelta(minutes=known), START + timedelta(minutes=known - late), tone) for known, late, tone in told]
    return pl.DataFrame(rows, schema=NEWS_SCHEMA, orient="row").sort("known_at", maintain_order=True)


def decisions(moments):
    return pl.DataFrame({"decision_at": pl.Series(moments, dtype=pl.Datetime("us", "UTC"))})


def computed(moments, news):
    made = columns(decisions(moments), news)
    return {spec.name: spec.compute({name: made[name] for name in spec.inputs}, SETTINGS) for spec in specs(("news",))}


def by_hand(moment, news):
    def between(start, end):
        return [row for row in news.rows() if start < row[0] <= end]

    day, tones = between(moment - DAY, moment), [row[2] for row in between(moment - DAY, moment)]
    usual = [len(between(moment - (back + 1) * DAY, moment - back * DAY)) for back in range(1, 31)]
    weights = [0.5 ** ((moment - published) / (6 * HOUR)) for _, published, _ in day]
    z = (len(day) - statistics.fmean(usual)) / math.sqrt(statistics.pvariance(usual) + 1)
    return {
        "news_count_1h": len(between(moment - HOUR, moment)),
        "news_count_24h": len(day),
        "news_attention": min(max(z, -10), 10),
        "news_sentiment_mean_24h": sum(w * t for w, t in zip(weights, tones, strict=True)) / sum(weights) if day else 0,
        "news_sentiment_newest": tones[-1] if day else 0,
        "news_sentiment_sum_6h": sum(row[2] for row in between(moment - 6 * HOUR, moment)),
        "news_sentiment_dispersion": statistics.pstdev(tones) if day else 0,
        "news_age": min((moment - day[-1][1]) / timedelta(minutes=1), 1440) if day else 1440,
    }


articles = st.lists(
    st.tuples(st.integers(-50_000, 3_000), st.sampled_from([0, 0, 7, 3_000]), st.floats(-1, 1, width=16)), max_size=60
).map(table)
minutes = st.integers(-100, 3_000).map(lambda minute: START + timedelta(minutes=minute))
moments = st.lists(minutes, min_size=1, max_size=6).map(sorted)


@given(moments, articles)
def test_every_feature_is_what_a_person_would_count(at, news):
    found = computed(at, news)
    for row, moment in enumerate(at):
        wanted = by_hand(moment, news)
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            assert found[name][row] == pytest.approx(value, abs=1e-9), name


@settings(max_examples=25)
@given(moments, articles)
def test_no_bit_depends_on_later_or_very_old_articles(at, news):
    whole = computed(at, news)
    for row, moment in enumerate(at):
        known = pl.col("known_at").is_between(moment - REACH, moment)
        alone = computed([moment], news.filter(known))
        assert {name: values[0] for name, values in alone.items()} == {name: values[row] for name, values in whole.items()}


def test_without_articles_everything_is_defined():
    found = computed([START, START + DAY], table([]))
    assert {name: values.tolist() for name, values in found.items()} == {
        name: [1440.0, 1440.0] if name == "news_age" else [0.0, 0.0] for name in found
    }


def test_the_window_opens_after_24_hours_and_closes_at_the_decision():
    news = table([(0, 0, 0.5), (1, 0, -0.5), (1_440, 0, 0.25), (1_441, 0, 1.0)])
    found = computed([START + DAY], news)
    assert found["news_count_24h"].tolist() == [2]
    assert found["news_sentiment_newest"].tolist() == [0.25]
    assert found["news_age"].tolist() == [0]


def test_attention_rises_when_much_is_written():
    quiet = [(day * 1_440 + 60, 0, 0.0) for day in range(-31, 0)]
    burst = [(minute, 0, 0.0) for minute in range(1, 9)]
    found = computed([START, START + HOUR, START + 2 * DAY], table(quiet + burst))
    assert found["news_attention"][0] == pytest.approx(0)
    assert found["news_attention"][1] == pytest.approx(8 - 1, abs=0.1)
    assert found["news_attention"][2] < 0


def test_wrong_tables_are_refused():
    with pytest.raises(DataError, match="sentiment"):
        computed([START], table([(0, 0, 1.5)]))
    with pytest.raises(DataError, match="sentiment"):
        computed([START], table([(0, 0, None)]))
    with pytest.raises(DataError, match="publication"):
        computed([START], table([(0, 0, 0.5)]).with_columns(published_at=pl.lit(None, NEWS_SCHEMA["published_at"])))
    with pytest.raises(DataError, match="sorted"):
        computed([START], table([(0, 0, 0.5), (9, 0, 0.5)]).reverse())
    with pytest.raises(DataError, match="known_at"):
        computed([START], table([(0, 0, 0.5)]).drop("known_at"))


def test_the_table_of_articles_and_their_sentiment():
    stored = table([(0, 0, 0.0), (5, 3, 0.0)]).drop("sentiment").reverse().with_columns(title=pl.lit("x"))
    made = news_table(stored, np.array([0.5, -0.5]))
    assert made.schema == NEWS_SCHEMA
    assert made["sentiment"].to_list() == [-0.5, 0.5]


def test_the_family_is_computed_per_decision():
    assert {spec.rungs for spec in specs(("news",))} == {(NEWS,)}
    assert all(spec.column("1h") == spec.name and spec.name.startswith("news_") for spec in specs(("news",)))
