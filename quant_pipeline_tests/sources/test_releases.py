"""The store of macro releases: append-only vintages, conflicts kept apart, damage and full disks told."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.errors import DataError, StorageError
from quant_pipeline.files import write_parquet
from quant_pipeline.sources.base import RELEASES_SCHEMA
from quant_pipeline.sources.macro.releases import REVISIONS_SCHEMA, ReleaseStore, first_release, known_from, numbered

NOW = datetime(2025, 8, 1, tzinfo=UTC)
START = datetime(2024, 6, 1, tzinfo=UTC)


def releases(*rows: tuple, delay=timedelta(0)):
    """Rows of (series, month, day of release, value); the revision follows from the order."""
    table = pl.DataFrame(
        [
            (s, date(2024, month, 1), START + timedelta(days=day), START + timedelta(days=day) + delay, v)
            for s, month, day, v in rows
        ],
        schema={name: dtype for name, dtype in RELEASES_SCHEMA.items() if name != "revision"},
        orient="row",
    )
    return numbered(table)


@pytest.fixture
def store(tmp_path):
    return ReleaseStore(tmp_path / "macro")


def test_releases_come_back_sorted_by_what_was_known(store):
    table = releases(("CPI", 4, 1, 3.0), ("UNRATE", 5, 2, 4.0), ("CPI", 4, 30, 3.1), ("CPI", 5, 30, 3.3))
    ledger = store.append(table.reverse(), NOW)
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped) == (4, 4, {})
    assert store.read().equals(table)
    assert store.read(START + timedelta(days=2)).equals(table.head(2))
    assert first_release(store.read())["value"].to_list() == [3.0, 4.0, 3.3]


def test_nothing_stored_is_an_empty_table(store):
    assert (store.read().schema, store.revisions().schema) == (RELEASES_SCHEMA, REVISIONS_SCHEMA)
    assert store.append(releases(), NOW).rows_out == 0


def test_every_row_is_accounted_for(store):
    store.append(releases(("CPI", 4, 1, 3.0)), NOW)
    again = pl.concat([releases(("CPI", 4, 1, 3.0)), *[releases(("CPI", 5, 9, 3.2))] * 2, releases(("CPI", 6, 40, None))])
    ledger = store.append(again, NOW)
    assert (ledger.rows_in, ledger.rows_out) == (4, 1)
    assert ledger.dropped == {"missing": 1, "repeated": 1, "identical": 1}
    assert store.append(releases(("CPI", 6, 40, float("nan"))), NOW).dropped == {"missing": 1}


def test_another_value_for_the_same_release_is_kept_apart(store):
    store.append(releases(("CPI", 4, 1, 3.0)), NOW)
    for new in (1, 0):
        ledger = store.append(releases(("CPI", 4, 1, 9.0)), NOW + timedelta(days=1))
        assert (ledger.dropped, ledger.notes) == ({"revised": 1}, {"new_revisions": new})
    assert store.read()["value"].to_list() == [3.0]
    (row,) = store.revisions().to_dicts()
    assert (row["old_value"], row["new_value"], row["fetched_at"]) == (3.0, 9.0, NOW + timedelta(days=1))


def test_another_clock_for_the_same_release_is_kept_apart(store):
    store.append(releases(("CPI", 4, 1, 3.0), delay=timedelta(hours=24)), NOW)
    assert store.append(releases(("CPI", 4, 1, 3.0), delay=timedelta(hours=8)), NOW).dropped == {"revised": 1}
    assert store.read()["known_at"].to_list() == [START + timedelta(days=2)]


def test_the_fingerprint_is_that_of_what_was_known(store, tmp_path):
    table = releases(("CPI", 4, 1, 3.0), ("CPI", 4, 30, 3.1), ("UNRATE", 5, 2, 4.0))
    store.append(table, NOW)
    early = store.fingerprint(START + timedelta(days=29))
    other = ReleaseStore(tmp_path / "other")
    for row in range(table.height):
        other.append(table[row], NOW)
    assert other.fingerprint() == store.fingerprint() != early
    store.append(releases(("CPI", 6, 60, 3.3)), NOW)
    assert store.fingerprint(START + timedelta(days=29)) == early


def test_vintages_fetched_from_a_later_start_are_numbered_on(store):
    whole = releases(("CPI", 4, 1, 3.0), ("CPI", 4, 30, 3.1), ("CPI", 4, 60, 3.2))
    store.append(whole.head(2), NOW)
    store.append(whole.tail(1).with_columns(revision=pl.lit(1, pl.Int32)), NOW)  # the source saw one vintage before its start
    assert store.read()["revision"].to_list() == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 3), st.integers(0, 5), st.sampled_from([1.0, 2.0])), max_size=6),
        max_size=4,
    )
)
def test_the_first_seen_stays_whatever_comes_after(tmp_path_factory, batches):
    store, first = ReleaseStore(tmp_path_factory.mktemp("macro")), {}
    for batch in batches:
        table = releases(*batch)
        for row in table.rows():
            first.setdefault(row[:3], row[4])
        ledger = store.append(table, NOW)
        assert ledger.rows_in == len(batch)
    kept = store.read()
    assert {row[:3]: row[4] for row in kept.rows()} == first
    assert kept["known_at"].is_sorted()
    told = kept.sort("known_at").group_by("series", "period").agg("revision")
    assert all(numbers == list(range(len(numbers))) for numbers in told["revision"].to_list())


def _append_days(root, first):
    for day in range(first, 20, 2):
        ReleaseStore(root).append(releases(("CPI", 4, day, float(day))), NOW)


def test_two_writers_at_once_lose_nothing(store):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_days, args=(store.root, first)) for first in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.read()["value"].to_list() == [float(day) for day in range(20)]


def test_a_damaged_file_is_named(store):
    store.append(releases(("CPI", 4, 1, 3.0)), NOW)
    path = store.root / "series" / "CPI.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"CPI\.parquet: found a damaged file"):
        store.read()
    with pytest.raises(DataError, match="damaged"):
        store.append(releases(("CPI", 5, 9, 3.0)), NOW)


@pytest.mark.parametrize("change", [lambda told: told.drop("value"), lambda told: told.with_columns(series=pl.lit("PPI"))])
def test_a_sealed_series_that_is_not_this_one_is_damage(store, change):
    store.append(releases(("CPI", 4, 1, 3.0)), NOW)
    path = store.root / "series" / "CPI.parquet"
    write_parquet(path, change(pl.read_parquet(path)))
    for act in (store.read, lambda: store.append(releases(("CPI", 5, 9, 3.0)), NOW)):
        with pytest.raises(DataError, match=r"CPI\.parquet: found a damaged file \((other columns|releases of PPI)"):
            act()


def test_a_disk_that_refuses_is_told(tmp_path):
    (tmp_path / "macro").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"To mend: move .*/macro away"):
        ReleaseStore(tmp_path / "macro").append(releases(("CPI", 4, 1, 3.0)), NOW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known_at": pl.col("released_at") - timedelta(hours=1)}, "known_at not before released_at"),
        ({"series": pl.lit(None, pl.String)}, "every column filled"),
        ({"value": pl.lit(float("inf"))}, "finite"),
        ({"period": pl.col("period").cast(pl.String)}, "column 'period'.*dtype String"),
    ],
)
def test_a_table_that_is_no_releases_is_refused(store, change, message):
    with pytest.raises(DataError, match=message):
        store.append(releases(("CPI", 4, 1, 3.0)).with_columns(**change), NOW)
    with pytest.raises(DataError, match="also revision"):
        store.append(releases(("CPI", 4, 1, 3.0)).drop("revision"), NOW)


@pytest.mark.parametrize(
    ("series", "period", "known", "over"),
    [
        ("CPIAUCSL", date(2024, 6, 1), datetime(2024, 7, 1, 3, 59, tzinfo=UTC), False),
        ("CPIAUCSL", date(2024, 6, 1), datetime(2024, 7, 1, 4, tzinfo=UTC), True),
        ("PAYEMS", date(2024, 6, 1), datetime(2024, 6, 7, 12, 30, tzinfo=UTC), False),
        ("ICSA", date(2024, 6, 8), datetime(2024, 6, 9, 3, tzinfo=UTC), False),
        ("ICSA", date(2024, 6, 8), datetime(2024, 6, 13, 12, 30, tzinfo=UTC), True),
        ("ICSA", date(2024, 6, 2), datetime(2024, 6, 6, 12, 30, tzinfo=UTC), False),
        ("DGS10", date(2024, 6, 7), datetime(2024, 6, 7, 20, 15, tzinfo=UTC), False),
        ("DGS10", date(2024, 6, 7), datetime(2024, 6, 10, 20, 15, tzinfo=UTC), True),
        ("ANYTHING", date(2024, 6, 7), datetime(2024, 6, 7, 3, tzinfo=UTC), False),
    ],
)
def test_nothing_is_known_before_its_period_is_over(store, series, period, known, over):
    table = pl.DataFrame([(series, period, known, known, 1.0, 0)], schema=RELEASES_SCHEMA, orient="row")
    if over:
        assert store.append(table, NOW).rows_out == 1
        return
    with pytest.raises(DataError, match=f"macro series '{series}': found {period} released at .*which ends on"):
        store.append(table, NOW)
    assert store.read().is_empty()


def test_days_end_at_midnight_in_new_york_across_the_clock_change():
    days = pl.DataFrame({"day": [date(2025, 3, 8), date(2025, 3, 9), date(2025, 11, 2)]})
    found = days.select(known_from(pl.col("day"), None)).to_series().to_list()
    assert found == [
        datetime(2025, 3, 9, 5, tzinfo=UTC),
        datetime(2025, 3, 10, 4, tzinfo=UTC),
        datetime(2025, 11, 3, 5, tzinfo=UTC),
    ]
