"""The signal's canonical bytes and the store: once per moment, nothing overwritten in silence, safe when killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.errors import DataError, StorageError
from quant_pipeline.files import locked, write_parquet
from quant_pipeline.inference.signals import Signal, SignalStore

HOUR = timedelta(hours=1)
AT = datetime(2026, 11, 16, 14, tzinfo=UTC)


def signal(**changes: object):
    made = {
        "symbol": "GC=F", "as_of": AT, "decision_at": AT, "last_bar_at": AT, "entry_from": AT, "status": "ok", "action": 1,
        "p_short": 0.2, "p_neutral": 0.3, "p_long": 0.5, "p_up": 0.1 + 0.2, "e_r": 1e-17, "e_long": 0.001, "e_short": -0.002,
        "confidence": 0.5, "position_size": 1.4, "reason": "long pays", "breakers": ("drawdown",),
        "bundle_id": "b1", "data_hash": "ab", "experiment": "default", "profile": "simulated", "simulated": True,
    }  # fmt: skip
    return Signal(**{**made, **changes})


def silent(status="stale", **changes: object):
    return signal(status=status, action=0, position_size=0.0, reason="newest bar is old", **changes)


@pytest.fixture
def store(tmp_path):
    return SignalStore(tmp_path / "signals")


def test_canonical_bytes_are_sorted_full_precision_and_utc():
    text = signal().canonical().decode()
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    assert text.endswith("}\n")
    assert '"p_up": 0.30000000000000004' in text
    assert '"as_of": "2026-11-16T14:00:00.000000Z"' in text
    elsewhere = timezone(timedelta(hours=-6))
    assert signal(as_of=AT.astimezone(elsewhere)).canonical() == signal().canonical()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1), st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 100, exclude_min=True), st.text(max_size=20),
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- hypothesis adds the zone
)  # fmt: skip
def test_bytes_round_trip(p, e, size, reason, at):
    made = signal(p_up=p, e_r=e, position_size=size, reason=reason, decision_at=at)
    assert Signal.from_bytes(made.canonical(), "x") == made
    assert Signal.from_bytes(made.canonical(), "x").canonical() == made.canonical()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "stale"}, {"position_size": 0.0}, {"action": 0}, {"action": 2}, {"p_long": 1.5}, {"e_r": float("nan")},
        {"as_of": AT.replace(tzinfo=None)}, {"schema_version": 2}, {"position_size": -1.0}, {"unknown": 1},
    ],
)  # fmt: skip
def test_impossible_signals_are_refused(changes):
    with pytest.raises(ValueError, match="validation error"):
        signal(**changes)


def test_a_damaged_file_is_named(store):
    store.write(signal())
    path = next(store.root.glob("GC=F/2026/11/*.json"))
    assert path.name == "20261116T1400Z.json"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"20261116T1400Z\.json"):
        store.read("GC=F")


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to("/nowhere")], ids=["folder", "link to nothing"])
def test_what_is_no_file_in_its_place_is_named(store, put):
    store.write(signal())
    path = next(store.root.glob("GC=F/2026/11/*.json"))
    path.unlink()
    put(path)
    for touch in (store.read, store.latest, store.table, lambda _: store.write(signal())):
        with pytest.raises(DataError, match=r"20261116T1400Z\.json"):
            touch("GC=F")


def test_the_same_signal_twice_is_one(store):
    assert store.write(signal()) == "written"
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
    assert store.write(signal()) == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")} == before
    assert store.table("GC=F").height == 1


def test_a_differing_signal_is_kept_aside_and_the_first_stands(store, caplog):
    store.write(signal())
    assert store.write(signal(action=-1)) == "conflict"
    assert store.write(signal(action=-1)) == "conflict"
    assert store.read("GC=F") == [signal()]
    assert store.table("GC=F")["action"].to_list() == [1]
    aside = list(store.root.glob("GC=F/other/*.json"))
    assert [Signal.from_bytes(path.read_bytes(), "x").action for path in aside] == [-1]
    assert "differs from the one emitted" in caplog.text


@pytest.mark.parametrize("status", ["stale", "no_data", "no_model", "failed"])
def test_an_ok_signal_takes_the_place_of_one_that_said_nothing(store, status):
    store.write(silent(status))
    assert store.table("GC=F")["status"].to_list() == [status]
    assert store.write(signal()) == "replaced"
    assert store.latest("GC=F") == signal()
    assert pl.read_parquet(store.root / "GC=F.parquet")["status"].to_list() == ["ok"]
    assert [Signal.from_bytes(path.read_bytes(), "x").status for path in store.root.glob("GC=F/other/*")] == [status]
    assert store.write(silent(status)) == "conflict"


def test_a_missed_hour_stands_against_an_answer_that_comes_too_late(store):
    store.write(silent("late"))
    assert store.write(signal()) == "conflict"
    assert store.latest("GC=F").status == "late"


def test_one_silence_does_not_replace_another(store):
    store.write(silent("no_model"))
    assert store.write(silent("stale")) == "conflict"
    assert store.latest("GC=F").status == "no_model"


def test_a_replaced_signal_shows_though_its_file_looks_older_than_the_table(store):
    store.write(silent())
    table = store.root / "GC=F.parquet"
    os.utime(table, (table.stat().st_mtime + 100,) * 2)
    store.write(signal())
    assert pl.read_parquet(table)["status"].to_list() == ["ok"]


def test_one_writer_of_a_table_at_a_time(store):
    store.write(signal())
    writer = threading.Thread(target=store.write, args=[signal(as_of=AT + HOUR)])
    with locked(store.root / "GC=F" / ".lock"):
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        assert pl.read_parquet(store.root / "GC=F.parquet").height == 1
    writer.join()
    assert pl.read_parquet(store.root / "GC=F.parquet").height == 2


def test_a_signal_in_the_place_of_another_is_named(store):
    store.write(signal())
    path = next(store.root.glob("GC=F/2026/11/*.json"))
    for place in (path.with_name("20261116T1300Z.json"), store.root / "SPY" / "2026" / "11" / path.name):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
        with pytest.raises(DataError, match=r"found the signal of GC=F at 20261116T1400Z, wanted that of"):
            store.read(place.parents[2].name)


def test_a_table_of_another_version_is_made_again_from_the_signals(store):
    store.write(signal())
    path = store.root / "GC=F.parquet"
    write_parquet(path, store.table("GC=F").drop("simulated"))
    store.write(signal(as_of=AT + HOUR))
    assert store.table("GC=F")["simulated"].to_list() == [True, True]


def test_a_damaged_table_is_made_again_from_the_signals(store):
    for hour in range(3):
        store.write(signal(as_of=AT + hour * HOUR))
    path = store.root / "GC=F.parquet"
    whole = store.table("GC=F")
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    assert store.table("GC=F").equals(whole)
    assert pl.read_parquet(path).equals(whole)


def test_reading_by_span_and_the_latest(store):
    moments = [AT + hours * HOUR for hours in (-400, -1, 0, 1, 2_000)]
    for at in reversed(moments):
        store.write(signal(as_of=at))
    assert [one.as_of for one in store.read("GC=F")] == moments
    assert [one.as_of for one in store.read("GC=F", AT - HOUR, AT)] == moments[1:3]
    assert [one.as_of for one in store.read("GC=F", AT + timedelta(seconds=1))] == moments[3:]
    assert store.latest("GC=F", moments[-1]).as_of == moments[-1]
    assert store.latest("GC=F", AT - HOUR / 2).as_of == store.latest("GC=F", AT - HOUR).as_of == AT - HOUR
    assert store.latest("GC=F", moments[0] - HOUR) is None
    assert store.latest("SPY") is None
    assert store.read("SPY") == []
    assert store.symbols() == ["GC=F"]


def test_a_clock_that_was_wrong_once_does_not_hide_real_signals(store):
    for at in (AT, datetime(2089, 1, 1, tzinfo=UTC)):
        store.write(signal(as_of=at))
    assert store.latest("GC=F").as_of == AT


def test_a_symbol_with_a_slash_stays_inside_the_root(store):
    store.write(signal(symbol="../EUR/USD"))
    assert store.symbols() == ["../EUR/USD"]
    assert store.latest("../EUR/USD").symbol == "../EUR/USD"
    assert {path.parent for path in store.root.parent.glob("**/*.parquet")} == {store.root}


def test_the_table_has_every_field(store):
    store.write(signal())
    store.write(silent(as_of=AT + HOUR, decision_at=None, p_long=None, breakers=()))
    table = store.table("GC=F")
    assert set(table.columns) == set(Signal.model_fields)
    assert [Signal(**row) for row in table.iter_rows(named=True)] == store.read("GC=F")
    assert pl.read_parquet(store.root / "GC=F.parquet").equals(table)


def test_killed_between_the_file_and_the_table(store, monkeypatch):
    store.write(signal())
    monkeypatch.setattr(SignalStore, "_sync", lambda *_: pytest.fail("killed"))
    for late in (signal(as_of=AT + HOUR), signal(as_of=AT + 2 * HOUR)):
        with pytest.raises(pytest.fail.Exception):
            store.write(late)
    monkeypatch.undo()
    assert pl.read_parquet(store.root / "GC=F.parquet").height == 1
    assert store.write(signal(as_of=AT + HOUR)) == "unchanged"
    assert pl.read_parquet(store.root / "GC=F.parquet")["as_of"].to_list() == [AT, AT + HOUR, AT + 2 * HOUR]


def test_killed_while_replacing(store, monkeypatch):
    store.write(silent())
    monkeypatch.setattr(SignalStore, "_sync", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        store.write(signal())
    monkeypatch.undo()
    assert store.write(signal()) == "unchanged"
    assert store.table("GC=F")["status"].to_list() == ["ok"]


def test_a_lost_or_missing_table_is_rebuilt(store):
    for hour in range(3):
        store.write(signal(as_of=AT + hour * HOUR))
    (store.root / "GC=F.parquet").unlink()
    assert store.table("GC=F").height == 3


def test_a_full_disk_leaves_nothing_half_written(store, monkeypatch):
    def full(*_: object):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StorageError, match="No space left"):
        store.write(signal())
    assert list(store.root.rglob("*.json")) == []


def _race(root, worker):
    store = SignalStore(root)
    return [store.write(signal(as_of=AT + hour * HOUR, reason=f"worker {worker}")) for hour in range(12)]


def test_parallel_writers_agree(store):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        outcomes = pool.starmap(_race, [(store.root, worker) for worker in range(3)])
    assert [sorted(per_hour) for per_hour in zip(*outcomes, strict=True)] == [["conflict", "conflict", "written"]] * 12
    assert pl.read_parquet(store.root / "GC=F.parquet").height == 12
    assert not list(store.root.rglob(".partial-*"))
