"""Users' own headline files: columns, symbols, dates without a time, and bad rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.sources.base import HEADLINES_SCHEMA, NewsSource
from quant_pipeline.sources.news.articles import ArticleStore
from quant_pipeline.sources.news.files import FileNews

CSV = """timestamp,symbol,title,source
2025-03-01T10:00:00Z,AAPL,Apple  rises,Reuters
2025-03-01T09:00:00Z,AAPL,Apple falls,
2025-03-02T00:00:00Z,AAPL,On some moment of the day,Blog
2025-03-01T11:00:00Z,SPY,Stocks rise,Reuters
2025-03-01T12:00:00Z,,Markets wrap,Reuters
,AAPL,no time,Reuters
2025-03-01T13:00:00Z,AAPL,   ,Reuters
"""


def at(day, hour=0):
    return datetime(2025, 3, day, hour, tzinfo=UTC)


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text(CSV)
    return path


def test_rows_of_a_symbol_in_order_and_a_ledger_of_the_others(csv):
    table, ledger = FileNews(csv, delay=timedelta(minutes=1)).read("AAPL")
    assert table.drop("link").schema == HEADLINES_SCHEMA
    assert table["title"].to_list() == ["Apple falls", "Apple rises", "On some moment of the day"]
    assert (ledger.rows_in, ledger.rows_out) == (7, 3)
    assert ledger.dropped == {"market_wide": 1, "other_symbol": 1, "no_time": 1, "no_title": 1}
    assert table["known_at"][0] == at(1, 9) + timedelta(minutes=1)


def test_a_date_without_a_time_is_known_when_its_day_is_over(csv):
    table, ledger = FileNews(csv).read("AAPL")
    assert ledger.notes["vague_times"] == 1
    assert table.filter(pl.col("published_at") == at(2))["known_at"].to_list() == [at(3)]


def test_midnight_is_that_of_the_files_zone(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text("published_at,title\n2025-03-01 00:00,day only\n2025-02-28 19:00,midnight in UTC\n")
    table, ledger = FileNews(path, timezone="America/New_York").read("anything")
    assert ledger.notes["vague_times"] == 1
    assert dict(table.select("title", "known_at").rows()) == {"day only": at(2, 5), "midnight in UTC": at(1)}


@pytest.mark.parametrize(
    ("stamp", "known"),
    [
        ("2025-07-01T00:00:00-04:00", "2025-07-02 04:00"),
        ("2025-07-01T00:00-0400", "2025-07-02 04:00"),
        ("2025-07-01", "2025-07-02 12:00"),
        ("2025-07-01 00:00:00", "2025-07-02 12:00"),
        ("Tue, 01 Jul 2025", "2025-07-02 12:00"),
        ("Tue, 01 Jul 2025 09:30:00 EST", "2025-07-01 14:30"),
        ("Tue, 01 Jul 2025 09:30:00 XYZ", "2025-07-01 21:30"),
        ("1751362200", "2025-07-01 09:30"),
    ],
)
def test_a_row_is_known_at_the_latest_moment_that_its_time_may_mean(tmp_path, stamp, known):
    path = tmp_path / "news.csv"
    path.write_text(f'published_at,title\n"{stamp}",Gold\n')
    table, ledger = FileNews(path, delay=timedelta(minutes=2)).read("GC=F")
    assert f"{table['known_at'][0] - timedelta(minutes=2):%Y-%m-%d %H:%M}" == known
    assert ledger.notes["vague_times"] == (table["published_at"][0] < table["known_at"][0] - timedelta(minutes=2))


def test_the_zone_of_naive_times_is_a_setting(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text("published_at,title\n2025-07-01 13:00:00,Gold up\n2025-07-02,a date\n2025-07-03T04:00:00Z,midnight there\n")
    table, _ = FileNews(path, timezone="America/New_York").read("GC=F")
    known = [f"{at:%Y-%m-%d %H:%M}" for at in table["known_at"]]
    assert known == ["2025-07-01 17:00", "2025-07-03 04:00", "2025-07-04 04:00"]
    with pytest.raises(ConfigError, match=r"news\.timezone: found 'Mars/Base'"):
        FileNews(path, timezone="Mars/Base").read("GC=F")


def test_columns_of_every_kind_follow_the_same_rule(tmp_path):
    stamp = datetime(2025, 7, 1, tzinfo=UTC)
    columns = {
        "dates": pl.Series([stamp.date()]),
        "midnight in New York": pl.Series([stamp + timedelta(hours=4)]).dt.convert_time_zone("America/New_York"),
        "nanoseconds": pl.Series([stamp]).dt.cast_time_unit("ns"),
        "epoch": pl.Series([int(stamp.timestamp())]),
        "epoch as float": pl.Series([stamp.timestamp() * 1_000.0]),
    }
    found = {}
    for name, column in columns.items():
        pl.DataFrame({"published_at": column, "title": ["Gold"]}).write_parquet(tmp_path / "news.parquet")
        found[name] = f"{FileNews(tmp_path / 'news.parquet').read('GC=F')[0]['known_at'][0]:%Y-%m-%d %H}"
    late = dict.fromkeys(("nanoseconds", "epoch", "epoch as float"), "2025-07-02 00")
    assert found == {"dates": "2025-07-02 12", "midnight in New York": "2025-07-02 04"} | late


def test_a_rare_bad_time_is_dropped_with_its_reason(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text("published_at,title\n" + "2025-07-01T09:30:00Z,Gold\n" * 30 + "soon,Gold\n")
    table, ledger = FileNews(path).read("GC=F")
    assert (table.height, ledger.dropped) == (30, {"bad_time": 1})


def test_titles_of_files_are_tidied_as_those_of_feeds(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text("published_at,title\n2025-07-01T09:30:00Z,<b>Gold</b> &amp; silver rise&#8217;s<br/>end\n")
    assert FileNews(path).read("GC=F")[0]["title"].to_list() == ["Gold & silver rise\u2019s end"]


def test_market_wide_rows_on_request(csv):
    table, ledger = FileNews(csv, market_wide=True).read("SPY")
    assert table["title"].to_list() == ["Stocks rise", "Markets wrap"]
    assert table["symbol"].unique().to_list() == ["SPY"]
    assert "market_wide" not in ledger.dropped


def test_it_is_a_news_source(csv):
    source = FileNews(csv)
    assert isinstance(source, NewsSource)
    assert source.headlines("AAPL", at(1, 9), at(1, 10))["title"].to_list() == ["Apple falls"]


def test_parquet_and_huge_titles(tmp_path):
    path = tmp_path / "news.parquet"
    pl.DataFrame({"timestamp": [at(1, 3)], "title": ["gold " * 20_000], "link": ["https://x.test"]}).write_parquet(path)
    table, ledger = FileNews(path).read("GC=F")
    assert table["title"].str.len_chars().to_list() == [500]
    assert (ledger.notes["title_too_long"], table["link"].to_list()) == (1, ["https://x.test"])


def test_a_file_that_is_not_utf8_is_read_with_replacements(tmp_path):
    path = tmp_path / "news.csv"
    path.write_bytes("published_at,title\n2025-03-01T01:00:00Z,Café gold\n".encode("latin-1"))
    assert FileNews(path).read("GC=F")[0]["title"].to_list() == ["Caf\ufffd gold"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "published_at"),
        ("timestamp,title\n2025-03-01 09:30,x\n", r"time zone(.|\n)*`news: \{timezone: America/New_York\}`"),
        ("timestamp,title\n2025-03-01T09:30Z,a\n2025-03-01 09:31,b\n", r"data row 2.*'2025-03-01 09:31' without a time zone"),
        ("timestamp,title\n01/02/2025 09:30,a\n45000.5,b\n", r"data row 1.*'01/02/2025 09:30' \(2 such rows of 2\)"),
        ("timestamp,title\nsoon,x\n", "soon"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, text, told):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"bad\.csv(.|\n)*{told}"):
        FileNews(path).read("GC=F")


def test_damaged_and_missing_files_are_named(tmp_path):
    path = tmp_path / "cut.parquet"
    path.write_bytes(b"PAR1 no more")
    for place in (path, tmp_path / "none.csv"):
        with pytest.raises(DataError, match=place.name):
            FileNews(place).read("GC=F")


def test_it_feeds_the_store_as_backfill(csv, tmp_path):
    store = ArticleStore(tmp_path / "store")
    table, _ = FileNews(csv).read("AAPL")
    assert store.append("AAPL", table, at(20), backfill=True).rows_out == 3
    assert store.read("AAPL", end=at(1, 10)).height == 2
