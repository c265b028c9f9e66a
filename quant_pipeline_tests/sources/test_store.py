"""The raw store against a slow oracle, and what it does with late and corrected bars, damage, full disks and two writers."""

from __future__ import annotations

import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.errors import DamagedError, DataError, StorageError
from quant_pipeline.files import write_parquet, write_state
from quant_pipeline.sources import store as store_module
from quant_pipeline.sources.arrival import BEFORE_ALL
from quant_pipeline.sources.store import RawStore, month_span

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
    assert store.look() == BEFORE_ALL
    assert store.newest("GC=F", "1m", NOW).is_empty()
    assert store.last("GC=F", "1m") is None
    assert store.intervals("GC=F") == ()
    assert store.append("GC=F", "1m", bars(), NOW).rows_in == 0


def test_the_same_again_writes_nothing(store):
    store.append("GC=F", "1m", span(30), NOW)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")}
    ledger = store.append("GC=F", "1m", span(30), NOW + timedelta(hours=1))
    assert (ledger.rows_out, ledger.dropped) == (0, {"identical": 30})
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")} == before


def test_a_corrected_bar_is_the_newest_version_and_the_earlier_one_stays_on_record(store):
    store.append("GC=F", "1m", span(5), NOW)
    then, later = store.look(), NOW + timedelta(hours=1)
    ledger = store.append("GC=F", "1m", bars((3, 999.0), (4, 104.0), (5, 105.0)), later)
    assert (ledger.rows_out, ledger.dropped) == (2, {"identical": 1})
    assert ledger.notes["revised"] == 1
    assert ledger.notes["changed"].startswith("1 have other values since 2025-06-30 23:53 UTC")
    assert store.read("GC=F", "1m")["close"].to_list() == [100.0, 101.0, 102.0, 999.0, 104.0, 105.0]
    assert store.read("GC=F", "1m", seen_by=then).equals(span(5))
    assert store.read("GC=F", "1m", seen_by=later - timedelta(microseconds=1)).equals(span(5))
    assert store.read("GC=F", "1m", seen_by=later).equals(store.read("GC=F", "1m"))
    assert store.look() == later


def test_a_batch_after_somebody_looked_has_a_moment_of_its_own_though_the_clock_stands_or_goes_back(store):
    moments = []
    for price, now in ((1.0, NOW), (2.0, NOW), (3.0, NOW - timedelta(days=1)), (4.0, NOW + timedelta(days=1))):
        store.append("GC=F", "1m", bars((3, price)), now)
        moments.append(store.look())
    assert moments == [NOW, NOW + timedelta(microseconds=1), NOW + timedelta(microseconds=2), NOW + timedelta(days=1)]
    assert [store.read("GC=F", "1m", seen_by=at)["close"][0] for at in moments] == [1.0, 2.0, 3.0, 4.0]


def test_batches_between_two_looks_share_a_moment_and_the_last_one_counts(store):
    for price in (1.0, 2.0):
        store.append("GC=F", "1m", bars((3, price)), NOW)
    assert store.look() == NOW
    assert store.read("GC=F", "1m", seen_by=NOW)["close"].to_list() == store.read("GC=F", "1m")["close"].to_list() == [2.0]


def test_nothing_new_is_no_batch(store):
    store.append("GC=F", "1m", span(5), NOW)
    store.append("GC=F", "1m", span(5), NOW + timedelta(days=1))
    store.append("GC=F", "1m", bars(), NOW + timedelta(days=1))
    assert store.look() == NOW


def test_one_clock_for_all_symbols_and_intervals(store):
    store.append("GC=F", "1m", span(5), NOW)
    assert store.look() == NOW
    store.append("SPY", "1h", span(5), NOW)
    assert store.read("SPY", "1h", seen_by=NOW).is_empty()
    assert store.read("SPY", "1h", seen_by=store.look()).equals(span(5))


ALL = (datetime(2025, 6, 1, tzinfo=UTC), NOW)


def test_what_a_whole_source_no_longer_tells_is_withdrawn_and_stays_on_record(store):
    store.append("GC=F", "1m", span(30), NOW, whole=ALL)
    then = store.look()
    shifted = bars(*((minute, 100.0 + minute) for minute in range(30)), start=START + timedelta(minutes=7))  # another zone
    ledger = store.append("GC=F", "1m", shifted, NOW, whole=ALL)
    assert (ledger.notes["revised"], ledger.notes["withdrawn"], ledger.rows_out) == (23, 7, 30)
    assert "7 are gone since 2025-06-30 23:50 UTC" in ledger.notes["changed"]
    assert "7 bars are new after it" in ledger.notes["changed"]
    assert store.read("GC=F", "1m").equals(shifted)
    assert (store.first("GC=F", "1m"), store.last("GC=F", "1m")) == (shifted["timestamp"][0], shifted["timestamp"][-1])
    assert store.read("GC=F", "1m", seen_by=then).equals(span(30))
    assert store.append("GC=F", "1m", shifted, NOW, whole=ALL).rows_out == 0
    store.append("GC=F", "1m", span(30), NOW, whole=ALL)
    assert store.read("GC=F", "1m").equals(span(30)), "told again"


def test_only_the_span_that_was_asked_for_is_compared(store):
    store.append("GC=F", "1m", span(30), NOW)
    begin, end = START + timedelta(minutes=5), START + timedelta(minutes=20)
    store.append("GC=F", "1m", bars((7, 107.0)), NOW, whole=(begin, end))
    assert store.read("GC=F", "1m")["close"].to_list() == [*map(float, range(100, 105)), 107.0, *map(float, range(120, 130))]


def test_what_a_provider_no_longer_tells_stays(store):
    store.append("GC=F", "1m", span(30), NOW)
    store.append("GC=F", "1m", span(30)[::2], NOW)
    assert store.read("GC=F", "1m").equals(span(30))


def scaled(factor, *, digits=6):
    return span(30).with_columns((pl.col("open", "high", "low", "close") * factor).round(digits))


@pytest.mark.parametrize(("factor", "digits"), [(0.25, 6), (2.0, 6), (0.25, 2), (0.995, 4), (10.0, 2)])
def test_an_overlap_on_another_scale_stops_and_names_split_or_adjustment(store, factor, digits):
    store.append("GC=F", "1m", span(30), NOW)
    with pytest.raises(DataError, match=r"times .*a split or adjustment.*move the folder .*GC=F away and run again"):
        store.append("GC=F", "1m", pl.concat([scaled(factor, digits=digits)[10:], span(35)[30:]]), NOW)
    assert store.read("GC=F", "1m").equals(span(30))
    assert store.append("GC=F", "1m", scaled(factor, digits=digits), NOW, whole=ALL).notes["revised"] == 30, (
        "a file says so itself"
    )


@pytest.mark.parametrize(
    "told",
    [
        span(30).with_columns(pl.col("close") * 4),  # one price of each bar
        span(30).with_columns(pl.col("volume") * 4),
        pl.concat([scaled(4)[:4], span(30)[4:]]),  # single bars
        scaled(1.0002),  # less than any split or dividend
        span(30).with_columns(pl.col("open", "high", "low", "close") * (1 + 0.3 * pl.int_range(30) / 30)),  # not one factor
    ],
)
def test_other_revisions_are_taken_as_such(store, told):
    store.append("GC=F", "1m", span(30), NOW)
    store.append("GC=F", "1m", told, NOW)
    assert store.read("GC=F", "1m").equals(told)


def test_floats_are_compared_exactly(store):
    store.append("GC=F", "1m", bars((0, 0.3)), NOW)
    assert store.append("GC=F", "1m", bars((0, 0.1 + 0.2)), NOW).notes["revised"] == 1


def test_missing_values_equal_themselves(store):
    odd = bars((0, 1.0), (1, 2.0)).with_columns(open=pl.Series([None, float("nan")]), volume=pl.lit(None, pl.Float64))
    store.append("GC=F", "1m", odd, NOW)
    assert store.append("GC=F", "1m", odd, NOW).dropped == {"identical": 2}
    filled = odd.with_columns(volume=pl.lit(5.0))
    assert store.append("GC=F", "1m", filled, NOW).notes["revised"] == 2
    assert store.append("GC=F", "1m", filled, NOW).dropped == {"identical": 2}


def test_repeats_within_one_answer(store):
    ledger = store.append("GC=F", "1m", bars((0, 1.0), (1, 2.0), (1, 2.0), (1, 3.0)), NOW)
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped) == (4, 2, {"repeated": 1, "conflicting": 1})
    assert store.read("GC=F", "1m")["open"].to_list() == [1.0, 3.0], "the last one told, as clean_bars takes it"


def test_symbols_are_safe_folder_names(store):
    for symbol in ("^IRX", "BTC/USD", "DX-Y.NYB"):
        store.append(symbol, "1m", span(2), NOW)
        assert store.read(symbol, "1m").height == 2
    assert sorted(path.name for path in store.root.iterdir() if path.is_dir()) == ["BTC%2FUSD", "DX-Y.NYB", "^IRX"]


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


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: rows.drop("open"), "open"),
        (lambda rows: rows.with_columns(pl.col("close").cast(pl.Float32)), "other columns.*: close"),
        (lambda rows: rows.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), "other columns.*: timestamp"),
        (lambda rows: rows.reverse(), "rows out of order"),
        (lambda rows: rows.with_columns(pl.col("timestamp").dt.offset_by("1mo")), "another month's"),
    ],
)
def test_a_sealed_month_that_is_not_this_one_is_damage(store, change, found):
    store.append("GC=F", "1m", span(30), NOW)
    path = store.folder("GC=F", "1m") / "2025-07.parquet"
    write_parquet(path, change(pl.read_parquet(path)))
    for act in (
        lambda: store.read("GC=F", "1m"),
        lambda: store.intervals("GC=F", NOW),
        lambda: store.append("GC=F", "1m", span(31), NOW),
    ):
        with pytest.raises(DamagedError, match=rf"2025-07\.parquet.*{found}"):
            act()


def test_what_was_moved_aside_is_no_part_of_the_store(store):
    store.append("GC=F", "1m", span(30), NOW)
    shutil.copytree(store.folder("GC=F", "1m"), store.folder("GC=F", "1m.old"))
    shutil.copy(store.folder("GC=F", "1m") / "2025-07.parquet", store.folder("GC=F", "1m") / "2025-13.parquet")
    assert store.intervals("GC=F") == ("1m",)
    assert store.read("GC=F", "1m").height == 30


@pytest.mark.parametrize("told", [{}, {"asked": 5}, {"asked": "2025-08-01T00:00:00"}])
def test_when_a_source_answered_is_a_moment_or_damage(store, told):
    write_state(store.folder("GC=F") / "asked.json", told)
    with pytest.raises(DamagedError, match=r"asked\.json.*delete it"):
        store.note_asked("GC=F", NOW)


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
    with pytest.raises(StorageError, match=r"To mend: move .*/raw away"):
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


answers = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 25), st.integers(1, 3)), max_size=8),  # minute, price
        st.none() | st.tuples(st.integers(0, 26), st.integers(0, 26)),  # the span of which this is all there is
        st.integers(-2, 2),  # hours by which the clock moves
        st.booleans(),  # whether somebody looks
    ),
    max_size=7,
)


@settings(max_examples=40, deadline=None)
@given(answers)
def test_any_sequence_of_answers_against_the_oracle(tmp_path_factory, told):
    """A dict of minute to price; after each answer a copy of it, which reading by that moment must give for ever."""
    store, now = RawStore(tmp_path_factory.mktemp("raw")), NOW
    held: dict[int, float] = {}
    history = []
    for answer, span_told, hours, looks in told:
        now += timedelta(hours=hours)
        rows, whole = [(minute, float(price)) for minute, price in answer], None
        if span_told is not None:
            low, high = min(span_told), max(span_told)
            whole = (START + timedelta(minutes=low), START + timedelta(minutes=high))
            rows = [(minute, price) for minute, price in rows if low <= minute < high]
            held = {minute: price for minute, price in held.items() if not low <= minute < high}
        store.append("GC=F", "1m", bars(*rows), now, whole=whole or (START, START))  # an empty span: nothing is withdrawn
        held |= dict(rows)
        if looks:
            history.append((store.look(), dict(held)))
    assert store.read("GC=F", "1m").equals(bars(*sorted(held.items())))
    for seen_by, then in history:
        assert store.read("GC=F", "1m", seen_by=seen_by).equals(bars(*sorted(then.items())))
