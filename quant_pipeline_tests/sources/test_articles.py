"""The article store: first seen wins, known_at never moves, and what a moment knew never changes."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import DataError, StorageError
from quant_pipeline.files import write_parquet
from quant_pipeline.sources.news.articles import ARTICLES_SCHEMA, ArticleStore
from quant_pipeline.sources.simulated.source import SimulatedSource

START = datetime(2025, 6, 30, 12, tzinfo=UTC)  # half a day before a month ends
HOUR = timedelta(hours=1)


def rows(*told: tuple, delay=timedelta(0), first=None):
    """Headlines of (hours after START, title, link)."""
    frame = pl.DataFrame(
        {
            "published_at": pl.Series([START + hour * HOUR for hour, _, _ in told], dtype=pl.Datetime("us", "UTC")),
            "title": pl.Series([title for _, title, _ in told], dtype=pl.String),
            "source": pl.Series(["wire"] * len(told), dtype=pl.String),
            "link": pl.Series([link for _, _, link in told], dtype=pl.String),
        }
    ).with_columns(known_at=pl.col("published_at") + delay)
    return frame if first is None else frame.with_columns(first=pl.lit(first))


@pytest.fixture
def store(tmp_path):
    return ArticleStore(tmp_path / "news")


def test_articles_come_back_by_known_at_across_months(store):
    ledger = store.append("GC=F", rows((20, "b", None), (0, "a", "x")), START, backfill=True)
    assert (ledger.rows_out, ledger.dropped) == (2, {})
    found = store.read("GC=F")
    assert found.schema == ARTICLES_SCHEMA
    assert found["title"].to_list() == ["a", "b"]
    assert found["article_id"].n_unique() == 2
    assert sorted(path.name for path in store.folder("GC=F").glob("*.parquet")) == ["2025-06.parquet", "2025-07.parquet"]


def test_read_includes_both_ends(store):
    store.append("GC=F", rows((0, "a", None), (12, "b", None), (13, "c", None)), START, backfill=True)
    assert store.read("GC=F", start=START + 12 * HOUR)["title"].to_list() == ["b", "c"]
    assert store.read("GC=F", end=START + 12 * HOUR)["title"].to_list() == ["a", "b"], "July's first moment"
    assert store.read("GC=F", START + HOUR, START + 2 * HOUR).is_empty()
    assert store.read("SPY").schema == ARTICLES_SCHEMA


def test_live_articles_are_known_when_seen(store):
    seen = START + 5 * HOUR
    store.append("GC=F", rows((0, "late", None), (4.9, "soon", None), delay=0.5 * HOUR), seen, backfill=False)
    assert dict(store.read("GC=F").select("title", "known_at").rows()) == {"late": seen, "soon": START + 5.4 * HOUR}


def test_first_collections_and_backfill_keep_their_known_at(store):
    store.append("GC=F", rows((0, "a", None), first=True), START + 9 * HOUR, backfill=False)
    store.append("GC=F", rows((1, "b", None)), START + 9 * HOUR, backfill=True)
    assert store.read("GC=F")["known_at"].to_list() == [START, START + HOUR]
    assert store.read("GC=F")["seen_at"].unique().to_list() == [START + 9 * HOUR]


def test_what_was_seen_before_changes_nothing(store):
    store.append("GC=F", rows((0, "Gold rises", "x"), (1, "Other", None)), START, backfill=True)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")}
    again = rows((300, "GOLD rises", "x"), (30, "OTHER!", "y"), (1, "Other", None))
    ledger = store.append("GC=F", again, START + 50 * HOUR, backfill=False)
    assert (ledger.rows_out, ledger.dropped) == (0, {"seen_before": 3})
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")} == before


def test_a_story_with_another_title_at_a_known_link_is_new_and_known_when_seen(store):
    store.append("GC=F", rows((0, "Gold rises", "x")), START, backfill=True)
    seen = START + 9 * HOUR
    assert store.append("GC=F", rows((0, "Gold falls after all", "x")), seen, backfill=False).rows_out == 1
    assert dict(store.read("GC=F").select("title", "known_at").rows()) == {"Gold rises": START, "Gold falls after all": seen}


def test_a_title_that_recurs_is_new_after_two_days(store):
    store.append("GC=F", rows((0, "Gold price today", None)), START, backfill=True)
    assert store.append("GC=F", rows((48, "Gold price today", None)), START, backfill=True).rows_out == 0
    assert store.append("GC=F", rows((48.1, "Gold price today", None)), START, backfill=True).rows_out == 1


def test_the_simulated_markets_patterns_are_all_kept_when_asked(tmp_path):
    made = SimulatedSource(load_universe(), seed=7).headlines("GC=F", START, START + 30 * 24 * HOUR)
    store = ArticleStore(tmp_path, same_title=timedelta(0))
    assert store.append("GC=F", made, START, backfill=True).rows_out == made.height
    assert store.read("GC=F").select("known_at", "title").equals(made.select("known_at", "title"))
    assert "tone" not in store.read("GC=F").columns


def test_fingerprint_sees_what_was_known_not_how_it_came(tmp_path):
    told = [(0, "a", None), (5, "b", "x"), (14, "c", None)]
    whole, pieces = ArticleStore(tmp_path / "a"), ArticleStore(tmp_path / "b")
    whole.append("GC=F", rows(*told), START, backfill=True)
    for day, row in enumerate(reversed(told)):
        pieces.append("GC=F", rows(row), START + timedelta(days=day), backfill=True)
    assert whole.fingerprint("GC=F") == pieces.fingerprint("GC=F")
    early = whole.fingerprint("GC=F", START + 6 * HOUR)
    assert early != whole.fingerprint("GC=F")
    whole.append("GC=F", rows((20, "d", None)), START, backfill=True)
    assert whole.fingerprint("GC=F", START + 6 * HOUR) == early, "later articles do not count"
    assert whole.fingerprint("GC=F", START - HOUR) == whole.fingerprint("SPY")


def test_wrong_tables_are_refused_before_anything_is_written(store):
    with pytest.raises(DataError, match="before its publication"):
        store.append("GC=F", rows((0, "a", None), delay=-HOUR), START, backfill=True)
    with pytest.raises(DataError, match="title"):
        store.append("GC=F", rows((0, "a", None)).drop("title"), START, backfill=True)
    with pytest.raises(DataError, match="nulls"):
        store.append("GC=F", rows((0, None, None)), START, backfill=True)
    with pytest.raises(DataError, match="seen_at"):
        store.append("GC=F", rows((0, "a", None)), START.replace(tzinfo=None), backfill=True)
    assert not store.root.exists()


def test_nothing_to_store(store):
    assert store.append("GC=F", rows(), START, backfill=False).rows_in == 0


def test_a_damaged_month_is_named(store):
    store.append("GC=F", rows((0, "a", None)), START, backfill=True)
    path = store.folder("GC=F") / "2025-06.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"GC=F/2025-06\.parquet.*damaged"):
        store.read("GC=F")
    with pytest.raises(DataError, match="damaged"):
        store.append("GC=F", rows((1, "b", None)), START, backfill=True)


LATER = pl.col("known_at").dt.offset_by("1mo")


@pytest.mark.parametrize(
    "change", [lambda told: told.drop("link"), lambda told: told.with_columns(x=1), lambda told: told.with_columns(LATER)]
)
def test_a_sealed_month_that_is_not_this_one_is_damage(store, change):
    store.append("GC=F", rows((0, "a", None)), START, backfill=True)
    path = store.folder("GC=F") / "2025-06.parquet"
    write_parquet(path, change(pl.read_parquet(path)))
    with pytest.raises(DataError, match=r"GC=F/2025-06\.parquet.*damaged"):
        store.read("GC=F")


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "news").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"To mend: move .*/news away"):
        ArticleStore(tmp_path / "news").append("GC=F", rows((0, "a", None)), START, backfill=True)


def _append_half(root, first):
    for number in range(first, 20, 2):
        ArticleStore(root).append("GC=F", rows((number, f"title {number}", None)), START, backfill=True)


def test_two_writers_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_half, args=(tmp_path, first)) for first in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert ArticleStore(tmp_path).read("GC=F").height == 20


told = st.tuples(st.integers(0, 90), st.sampled_from("abc"), st.sampled_from([None, "x", "y", "z"]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(told, max_size=6), max_size=5))
def test_any_sequence_against_the_oracle(tmp_path_factory, collections):
    store = ArticleStore(tmp_path_factory.mktemp("news"))
    kept: list[tuple[datetime, int, str, str | None]] = []
    for number, collection in enumerate(collections):
        seen_at = START + 40 * number * HOUR
        for hour, title, link in sorted(collection, key=lambda row: row[0]):
            same = [old for old in kept if old[2] == title and ((link and old[3] == link) or abs(old[1] - hour) <= 48)]
            if not same:
                kept.append((max(seen_at, START + hour * HOUR), hour, title, link))
        before = store.read("GC=F")
        store.append("GC=F", rows(*collection), seen_at, backfill=False)
        after = store.read("GC=F")
        assert after.join(before, on=before.columns, how="semi", nulls_equal=True).height == before.height, "nothing moved"
    found = store.read("GC=F").select("known_at", (pl.col("published_at") - START).dt.total_hours(), "title", "link").rows()
    assert sorted(found, key=str) == sorted(kept, key=str)
