"""What a decision may look at besides its bars: all that was known at its moment, nothing later, every value in the hash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_pipeline.bars.schema import RUNG_SCHEMA
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.features.context import ALONE, NEWS_SCHEMA, Context
from quant_pipeline.inference.context import Library, context_hash, gather

AT = datetime(2024, 2, 27, 14, tzinfo=UTC)
SINCE = datetime(2024, 2, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def with_families(desk, *families: str):
    features = desk.experiment.features.model_copy(update={"families": families})
    return desk._replace(experiment=desk.experiment.model_copy(update={"features": features}))


def changed(frame, name):
    """The same table with another value in the middle of one column."""
    steps = {pl.String: "x", pl.Date: timedelta(days=1), pl.Datetime: timedelta(microseconds=1)}
    other = pl.col(name) + steps.get(frame.schema[name].base_type(), 1)
    return frame.with_columns(pl.when(pl.int_range(pl.len()) == frame.height // 2).then(other).otherwise(name).alias(name))


@pytest.fixture
def told(news_desk):
    return gather(news_desk, "BTC-USD", SINCE, AT)


def test_every_table_of_the_families_is_there(told):
    assert list(told.others) == ["ETH-USD", "SPY"]
    assert told.others["ETH-USD"]["known_at"].max() == AT
    assert (dict(told.news.schema), told.news["known_at"].is_sorted()) == (dict(NEWS_SCHEMA), True)
    assert told.news["sentiment"].n_unique() > 3
    assert set(told.releases["series"]) == {"DGS10", "UNRATE"}


def test_the_moment_itself_is_known_and_the_next_is_not(news_desk, told):
    assert told.news["known_at"].max() == told.releases["known_at"].max() == AT
    before = gather(news_desk, "BTC-USD", SINCE, AT - timedelta(microseconds=1))
    assert (before.news.height, before.releases.height) == (told.news.height - 1, told.releases.height - 1)
    assert before.others["ETH-USD"]["known_at"].max() == AT - HOUR


@settings(max_examples=12, deadline=None)
@given(minutes=st.integers(0, 20 * 1_440))
def test_an_earlier_moment_sees_the_same_tables_cut_off(read_only_news_desk, minutes):
    moment = AT - minutes * MINUTE
    now, then = (gather(read_only_news_desk, "BTC-USD", SINCE, at) for at in (AT, moment))
    wanted = now.until(moment)
    assert_frame_equal(then.news, wanted.news)
    assert_frame_equal(then.releases, wanted.releases)
    for name, bars in then.others.items():
        assert_frame_equal(bars, wanted.others[name])


def test_a_correlated_symbol_counts_with_closed_bars_only(news_desk):
    half = gather(news_desk, "BTC-USD", SINCE, AT + 30 * MINUTE).others["ETH-USD"]
    assert half["known_at"].max() == AT
    assert_frame_equal(half, gather(news_desk, "BTC-USD", SINCE, AT).others["ETH-USD"])


def test_a_correlated_symbol_without_data_is_an_empty_table(told):
    assert told.others["SPY"].is_empty()
    assert dict(told.others["SPY"].schema) == dict(RUNG_SCHEMA)


def test_news_begin_where_they_are_asked_for_and_releases_at_the_first_on_record(news_desk, told):
    late = gather(news_desk, "BTC-USD", AT - 5 * HOUR, AT)
    assert 0 < late.news.height < told.news.height
    assert late.news["known_at"].min() >= AT - 5 * HOUR
    assert_frame_equal(late.releases, told.releases)


def test_a_sentiment_stands_beside_its_own_article(news_desk, tones):
    articles = news_desk.library.articles.read("BTC-USD", SINCE, AT)
    told = gather(news_desk, "BTC-USD", SINCE, AT).news
    wanted = articles.with_columns(sentiment=pl.Series(tones.analyse(articles["title"].to_list()).sentiment))
    assert sorted(told.iter_rows()) == sorted(wanted.select(list(NEWS_SCHEMA)).iter_rows())


def test_an_article_that_was_never_embedded_is_an_error_with_its_cure(news_desk, make_headlines):
    news_desk.library.articles.append("BTC-USD", make_headlines([(AT - HOUR, "nobody scored this")]), AT, backfill=True)
    with pytest.raises(MissingUpstreamError, match=r"'nobody scored this'.*materialize news_embeddings first"):
        gather(news_desk, "BTC-USD", SINCE, AT)
    assert gather(news_desk, "BTC-USD", SINCE, AT - 2 * HOUR).news.height  # known later, so not asked for


def test_a_symbol_whose_news_was_never_collected_has_none(news_desk):
    assert gather(news_desk, "ETH-USD", SINCE, AT).news is None


def test_a_window_without_headlines_has_news_without_rows(news_desk):
    quiet = gather(news_desk, "BTC-USD", SINCE - timedelta(days=900), SINCE - timedelta(days=800))
    assert dict(quiet.news.schema) == dict(NEWS_SCHEMA)
    assert quiet.news.is_empty()


def test_what_the_families_do_not_read_is_not_gathered(news_desk):
    nothing = gather(with_families(news_desk, "returns"), "BTC-USD", SINCE, AT)
    assert (nothing.others, nothing.news, nothing.releases) == ({}, None, None)
    macro = gather(with_families(news_desk, "macro"), "BTC-USD", SINCE, AT)
    assert (macro.others, macro.news, macro.releases.is_empty()) == ({}, None, False)


def test_without_a_source_there_is_no_table(news_desk):
    bare = gather(news_desk._replace(library=Library()), "BTC-USD", SINCE, AT)
    assert (bare.news, bare.releases) == (None, None)


def test_later_rows_change_no_hash(news_desk, told, make_headlines, make_releases, minutes_of):
    later = AT + MINUTE
    news_desk.library.articles.append("BTC-USD", make_headlines([(later, "too late")]), later, backfill=True)
    news_desk.library.releases.append(make_releases([("DGS10", later, 9.9)]), later)
    raw = minutes_of["ETH-USD"].tail(3).with_columns(pl.col("timestamp") + timedelta(days=30))
    news_desk.store.append("ETH-USD", "1m", raw, later)
    assert context_hash(gather(news_desk, "BTC-USD", SINCE, AT)) == context_hash(told)


def test_any_other_value_is_another_hash(told):
    others = [
        *(Context(told.others, changed(told.news, name), told.releases) for name in told.news.columns),
        *(Context(told.others, told.news, changed(told.releases, name)) for name in told.releases.columns),
        *(Context({**told.others, "ETH-USD": changed(told.others["ETH-USD"], name)}, told.news, told.releases)
          for name in RUNG_SCHEMA),
    ]  # fmt: skip
    hashes = {context_hash(context) for context in (told, *others)}
    assert len(hashes) == 1 + len(NEWS_SCHEMA) + len(told.releases.columns) + len(RUNG_SCHEMA)


def test_one_row_less_or_another_symbol_is_another_hash(told):
    fewer = Context(told.others, told.news.head(-1), told.releases)
    other = Context({"QQQ": told.others["ETH-USD"], "SPY": told.others["SPY"]}, told.news, told.releases)
    without = Context(told.others, None, told.releases)
    assert len({context_hash(context) for context in (told, fewer, other, without)}) == 4


def test_equal_tables_have_equal_hashes_whatever_their_chunks(told):
    pieces = pl.concat([told.news.head(2), told.news.slice(2)], rechunk=False)
    assert context_hash(Context(told.others, pieces, told.releases)) == context_hash(told)


def test_nothing_beside_the_bars_has_no_hash():
    assert context_hash(ALONE) == ""
