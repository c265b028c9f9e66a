"""The raw store against a slow oracle, and what it does with revisions, damage, full disks and two writers."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.errors import DataError, StorageError
from quant_pipeline.sources import store as store_module
from quant_pipeline.sources.store import REVISIONS_SCHEMA, RawStore, month_span

NOW = datetime(2025, 8, 1, tzinfo=UTC)
START = datetime(2025, 6, 30, 23, 50, tzinfo=UTC)  # ten minutes before a month ends


def bars(*rows: tuple[int, float], start=START):
    """Rows of (minute, price): a flat bar each."""
    return pl.DataFrame(
        [(start + timedelta(minutes=minute), price, price, price, price, 1.0) for minute, price in rows],
        schema=BARS_SCHEMA,
        orient="row",
    )


def span(count, price=100.0):
    return bars(*((minute, price + minute) for minute in range(count)))


@pytest.fixture
def store(tmp_path):
    return RawStore(tmp_path / "raw")


def test_bars_come_back_sorted_across_months(store):
    ledger = store.append("GC=F", "1m", span(30).reverse(), NOW)
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped) == (30, 30, {})
    assert store.read("GC=F", "1m").equals(span(30))
    assert sorted(path.name for path in store.folder("GC=F", "1m").iterdir()) == ["2025-06.parquet", "2025-07.parquet"]
    assert store.first("GC=F", "1m") == START
    assert store.last("GC=F", "1m") == START + timedelta(minutes=29)
    assert store.intervals("GC=F") == ("1m",)


def test_read_takes_whole_bars_of_the_span(store):
    store.append("GC=F", "15m", bars((0, 1.0), (15, 2.0), (30, 3.0)), NOW)
    at = START + timedelta(minutes=15)
    assert store.read("GC=F", "15m", start=at)["open"].to_list() == [2.0, 3.0]
    assert store.read("GC=F", "15m", end=at + timedelta(minutes=15))["open"].to_list() == [1.0, 2.0]
    assert store.read("GC=F", "15m", end=at + timedelta(minutes=14))["open"].to_list() == [1.0]
    assert store.read("GC=F", "15m", start=at, end=at).is_empty()


def test_nothing_stored_is_an_empty_table(store):
    assert store.read("GC=F", "1m").schema == BARS_SCHEMA
    assert store.revisions("GC=F").schema == REVISIONS_SCHEMA
    assert store.last("GC=F", "1m") is None
    assert store.intervals("GC=F") == ()
    assert store.append("GC=F", "1m", bars(), NOW).rows_in == 0


def test_the_same_again_writes_nothing(store):
    store.append("GC=F", "1m", span(30), NOW)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")}
    ledger = store.append("GC=F", "1m", span(30), NOW + timedelta(hours=1))
    assert (ledger.rows_out, ledger.dropped) == (0, {"identical": 30})
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")} == before


def test_a_revision_is_recorded_and_the_stored_bar_stays(store):
    store.append("GC=F", "1m", span(5), NOW)
    later = NOW + timedelta(hours=1)
    ledger = store.append("GC=F", "1m", bars((3, 999.0), (4, 104.0), (5, 105.0)), later)
    assert ledger.dropped == {"identical": 1, "revised": 1}
    assert (ledger.rows_out, ledger.notes["new_revisions"]) == (1, 1)
    assert store.read("GC=F", "1m")["close"].to_list() == [100.0, 101.0, 102.0, 103.0, 104.0, 105.0]
    row = store.revisions("GC=F").row(0, named=True)
    assert (row["interval"], row["timestamp"], row["fetched_at"]) == ("1m", START + timedelta(minutes=3), later)
    assert (row["old_close"], row["new_close"]) == (103.0, 999.0)


def test_a_revision_is_recorded_once_per_value(store):
    store.append("GC=F", "1m", span(5), NOW)
    for price, known in ((999.0, 1), (999.0, 1), (998.0, 2), (103.0, 2), (999.0, 2)):
        store.append("GC=F", "1m", bars((3, price)), NOW)
        assert store.revisions("GC=F").height == known


def test_floats_are_compared_exactly(store):
    store.append("GC=F", "1m", bars((0, 0.3)), NOW)
    assert store.append("GC=F", "1m", bars((0, 0.1 + 0.2)), NOW).dropped == {"revised": 1}


def test_missing_values_equal_themselves(store):
    odd = bars((0, 1.0), (1, 2.0)).with_columns(open=pl.Series([None, float("nan")]), volume=pl.lit(None, pl.Float64))
    store.append("GC=F", "1m", odd, NOW)
    assert store.append("GC=F", "1m", odd, NOW).dropped == {"identical": 2}
    filled = odd.with_columns(volume=pl.lit(5.0))
    assert store.append("GC=F", "1m", filled, NOW).dropped == {"revised": 2}
    assert store.append("GC=F", "1m", filled, NOW).notes["new_revisions"] == 0


def test_repeats_within_one_answer(store):
    ledger = store.append("GC=F", "1m", bars((0, 1.0), (1, 2.0), (1, 2.0), (1, 3.0)), NOW)
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped) == (4, 2, {"repeated": 1, "revised": 1})
    assert store.read("GC=F", "1m")["open"].to_list() == [1.0, 2.0]
    assert store.revisions("GC=F")["new_open"].to_list() == [3.0]


def test_symbols_are_safe_folder_names(store):
    for symbol in ("^IRX", "BTC/USD", "DX-Y.NYB"):
        store.append(symbol, "1m", span(2), NOW)
        assert store.read(symbol, "1m").height == 2
    assert sorted(path.name for path in store.root.iterdir()) == ["BTC%2FUSD", "DX-Y.NYB", "^IRX"]


def test_fingerprint_sees_values_not_how_they_came(tmp_path):
    whole, pieces = RawStore(tmp_path / "a"), RawStore(tmp_path / "b")
    whole.append("GC=F", "1m", span(30), NOW)
    for first in (20, 0, 10):
        pieces.append("GC=F", "1m", span(30)[first : first + 10], NOW + timedelta(days=first))
    assert whole.fingerprint("GC=F") == pieces.fingerprint("GC=F") == RawStore(tmp_path / "b").fingerprint("GC=F")
    other = RawStore(tmp_path / "c")
    other.append("GC=F", "1m", span(30).with_columns(pl.col("volume") + 1e-9), NOW)
    assert other.fingerprint("GC=F") != whole.fingerprint("GC=F")


def test_fingerprint_until_ignores_what_closes_later(store):
    cuts = [START + timedelta(minutes=minute) for minute in (0, 5, 10, 11, 20, 25)]  # 10 is the end of June
    store.append("GC=F", "1m", span(20), NOW)
    before = {cut: store.fingerprint("GC=F", cut) for cut in cuts[:-1]}
    assert len(set(before.values())) == len(before)
    store.append("GC=F", "1m", span(30)[20:], NOW)
    store.append("GC=F", "1h", bars((14, 1.0)), NOW)
    assert {cut: store.fingerprint("GC=F", cut) for cut in cuts[:-1]} == before
    assert store.fingerprint("GC=F", cuts[-1]) != before[cuts[-2]]


def test_fingerprint_changes_with_older_bars(store):
    store.append("GC=F", "1m", span(30)[5:], NOW)
    before = store.fingerprint("GC=F", NOW)
    store.append("GC=F", "1m", span(30)[:5], NOW)
    assert store.fingerprint("GC=F", NOW) != before


def test_fingerprint_counts_a_bar_only_once_it_closed(store):
    store.append("GC=F", "1h", bars((-60, 1.0), (-20, 2.0)), NOW)  # the second one closes half an hour into July
    july = month_span("2025-07")[0]
    assert store.fingerprint("GC=F", july) != store.fingerprint("GC=F", july + timedelta(minutes=30))


def test_a_damaged_month_is_named(store):
    store.append("GC=F", "1m", span(30), NOW)
    path = store.folder("GC=F", "1m") / "2025-07.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"GC=F/1m/2025-07\.parquet.*damaged"):
        store.read("GC=F", "1m")
    assert store.read("GC=F", "1m", end=month_span("2025-07")[0]).height == 10


def test_wrong_tables_are_refused_before_anything_is_written(store):
    with pytest.raises(DataError, match="column 'low'"):
        store.append("GC=F", "1m", span(3).drop("low"), NOW)
    assert not store.root.exists()


def test_a_full_disk_loses_nothing_that_was_stored(store, monkeypatch):
    store.append("GC=F", "1m", span(5), NOW)
    real = store_module.write_parquet

    def full(path, frame):
        if path.stem == "2025-07":
            raise StorageError(str(path), found="no space left", wanted="room", mend="free some")
        real(path, frame)

    monkeypatch.setattr(store_module, "write_parquet", full)
    with pytest.raises(StorageError, match="2025-07"):
        store.append("GC=F", "1m", span(30), NOW)
    assert store.read("GC=F", "1m").equals(span(10)), "June was whole before July failed"
    monkeypatch.setattr(store_module, "write_parquet", real)
    assert store.append("GC=F", "1m", span(30), NOW).rows_out == 20


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="writable"):
        RawStore(tmp_path / "raw").append("GC=F", "1m", span(2), NOW)


def _append_slice(root, first):
    for minute in range(first, 60, 2):
        RawStore(root).append("GC=F", "1m", span(60)[minute : minute + 1], NOW)


def test_two_writers_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_slice, args=(tmp_path, first)) for first in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert RawStore(tmp_path).read("GC=F", "1m").equals(span(60))


moves = st.lists(st.lists(st.tuples(st.integers(0, 25), st.integers(1, 3)), max_size=8), max_size=6)


@settings(max_examples=25, deadline=None)
@given(moves)
def test_any_sequence_of_answers_against_the_oracle(tmp_path_factory, answers):
    store = RawStore(tmp_path_factory.mktemp("raw"))
    seen: dict[int, float] = {}
    refused: set[tuple[int, float]] = set()
    for answer in answers:
        rows = [(minute, float(price)) for minute, price in answer]
        counts = {"new": 0, "repeated": 0, "identical": 0, "revised": 0}
        known_before = dict(seen)
        for position, (minute, price) in enumerate(rows):
            if (minute, price) in rows[:position]:
                counts["repeated"] += 1
            elif minute not in seen:
                seen[minute] = price
                counts["new"] += 1
            elif seen[minute] == price:
                counts["identical"] += int(minute in known_before)
            else:
                counts["revised"] += 1
                refused.add((minute, price))
        ledger = store.append("GC=F", "1m", bars(*rows), NOW)
        assert {"new": ledger.rows_out} | ledger.dropped == {key: n for key, n in counts.items() if n or key == "new"}
    assert store.read("GC=F", "1m").equals(bars(*sorted(seen.items())))
    revised = store.revisions("GC=F").select((pl.col("timestamp") - START).dt.total_minutes(), "new_close").rows()
    assert sorted(revised) == sorted(refused)
